"""Targets of the figures while a run trains: metrics.csv, Weights & Biases, TensorBoard."""
