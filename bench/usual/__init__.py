"""Question answering the usual way, as the example scripts and the course of Hugging Face describe it."""
