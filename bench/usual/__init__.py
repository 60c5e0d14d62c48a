"""What this project does, in the usual way, to be measured beside it."""
