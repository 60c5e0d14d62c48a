"""Logits → answers → figures; knows neither the model nor Lightning."""
