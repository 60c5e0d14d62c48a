"""The pretrained encoder with its span head: loaded, checked, and what a training step computes with it."""
