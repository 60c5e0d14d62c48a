"""Files → records → examples: each kind of file read and each record checked."""
