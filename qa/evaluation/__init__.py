"""Logits → answers → figures, with what they are worth; knows neither the model nor Lightning."""
