"""The run folder: whose it is, what it holds, and how that is read and written."""
