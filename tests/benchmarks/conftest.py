"""Benchmarks leave the process as they found it, for the tests that follow."""

import logging
import warnings

import pytest

from unlabeled.runtime.progress import LOGGERS

with warnings.catch_warnings():  # Kedro's plugin for MLflow warns of its own classes on import
    warnings.simplefilter("ignore")
    import kedro_mlflow.framework.hooks  # noqa: F401


@pytest.fixture(scope="module", autouse=True)
def _as_loud_as_before():
    """A benchmark turns messages off, and later tests read what a run says."""
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
