"""The run folder: its owner, its contents, and how they are read and written."""
