"""Measurements: `python -m bench` beside the usual way; the others say how they are called."""
