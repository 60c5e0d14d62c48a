"""The fit: its parts, its steps, its checkpoints, its end. Lightning is known here."""
