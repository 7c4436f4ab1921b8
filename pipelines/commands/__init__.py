"""Commands and pipelines beyond the six stages."""
