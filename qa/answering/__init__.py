"""Questions and texts → answers, with a model as training leaves it; knows neither Lightning nor run folders."""
