"""The jobs of a sweep: run, ranked, searched. Jobs are commands."""
