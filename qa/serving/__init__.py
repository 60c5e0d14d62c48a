"""Answers over HTTP: the service, and the texts and questions of the files that it is sent."""
