"""The service: HTTP → questions → batches → answers, and the page."""
