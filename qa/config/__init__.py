"""The configuration: settings checked, errors explained, the start and the end of train.py. Hydra is known here."""
