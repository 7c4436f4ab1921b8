"""The wiring of the package `unlabeled`: Kedro orchestrates it, MLflow tracks its runs, DVC versions its data."""

import os

from pipelines.interrupts import hide_interrupts
from pipelines.masking import mask_logs

# Set before any dependency is imported: none of them sends usage statistics.
for variable in ("DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "DVC_NO_ANALYTICS", "KEDRO_DISABLE_TELEMETRY"):
    os.environ.setdefault(variable, "true")
# A tracking server that is down should cost seconds, not MLflow's default of minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
hide_interrupts()
mask_logs()
