"""Kedro's plugin for MLflow warns of its own classes on import, which is no fault of a benchmark."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import kedro_mlflow.framework.hooks  # noqa: F401
