"""Examples → windows: texts tokenized and cut, the windows cached."""
