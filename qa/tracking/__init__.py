"""Where figures go while a run trains: metrics.csv, Weights & Biases, TensorBoard."""
