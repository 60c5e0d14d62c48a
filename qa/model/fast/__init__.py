"""The encoder without padding, on a CPU and on a GPU: the same mathematics, faster."""
