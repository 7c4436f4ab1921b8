"""Git, DVC and MLflow's store."""
