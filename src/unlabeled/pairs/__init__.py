"""Data of two kinds that belong together, such as images and their captions: what the stages do of their own."""
