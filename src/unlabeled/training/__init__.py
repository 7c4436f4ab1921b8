"""The training loop and its parts, for every method."""
