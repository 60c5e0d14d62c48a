"""What is wrong with files of questions, and files without it (`python -m qa.check`)."""
