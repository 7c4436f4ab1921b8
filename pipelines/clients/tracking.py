"""Sends metrics to MLflow while a training runs."""

import logging
import time
from typing import Any

import mlflow
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from requests.exceptions import RequestException

logger = logging.getLogger(__name__)


def active_run_id() -> str:
    """The id of the MLflow run that is active in this thread."""
    run = mlflow.active_run()
    if run is None:
        raise RuntimeError("no run of MLflow is active")
    return run.info.run_id


class LiveMetrics:
    """Called like `mlflow.log_metrics(metrics, step)`; sends the collected metrics every few seconds, and at the end.

    A server that does not answer delays metrics: it does not stop the training, and takes at most a tenth of its time.
    Metrics that it has not accepted by the end are in the history, which a resumed training sends as a whole.
    """

    def __init__(self, run_id: str, every_seconds: float = 3.0):
        self._client, self._run_id, self._every = MlflowClient(), run_id, every_seconds
        self._waiting: list[Metric] = []
        self._next = time.monotonic() + every_seconds

    def __call__(self, metrics: dict[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        self._waiting += [Metric(name, float(value), now, step) for name, value in metrics.items() if value is not None]
        if time.monotonic() >= self._next:
            self.send()

    def send(self) -> None:
        began = time.monotonic()
        try:
            for start in range(0, len(self._waiting), 1000):  # MLflow's limit for one call
                self._client.log_batch(self._run_id, metrics=self._waiting[start : start + 1000])
            self._waiting = []
        except (MlflowException, RequestException) as error:
            logger.warning("MLflow did not accept the metrics: they are kept and sent again: %s", error)
        now = time.monotonic()
        self._next = now + max(self._every, 10 * (now - began))

    def __enter__(self) -> "LiveMetrics":
        return self

    def __exit__(self, *error: Any) -> None:
        self.send()
