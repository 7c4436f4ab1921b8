"""The six stages of images, and their registered model."""
