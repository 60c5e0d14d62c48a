"""Files → records → examples → windows → batches."""
