"""Versions in MLflow's registry: what a version records, whether it can be trusted, how a champion is chosen."""
