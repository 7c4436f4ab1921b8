"""The evaluation stage, as far as all kinds of data share it."""

from typing import Any

import mlflow
import numpy as np
import pandas as pd

from pipelines.datasets.probe import NO_PROBE
from pipelines.parameters import flatten
from pipelines.stages.freshness import WEIGHTS, with_checksums
from unlabeled.config import Evaluation
from unlabeled.records import Measured, RunRecord, Summary

MEASURED_WHILE_TRAINING = ("alignment", "untrained_embedding_std", "validation_loss", "seconds")
MEASURED_WHILE_TRAINING += tuple(f"{unit}_per_second" for unit in ("images", "sequences", "pairs", "clips"))
"""Columns of the history whose last value becomes a metric."""


def complete(
    measured: Measured,
    features: np.ndarray,
    probe: Any,
    manifest: pd.DataFrame,
    summary: Summary,
    history: pd.DataFrame,
    run: RunRecord,
    config: Evaluation,
) -> dict[str, Any]:
    """The outputs of the stage: metrics, with those of the training and digests, and the probe's predictions."""
    from unlabeled.evaluation.protocol import predict  # imports torch

    metrics: dict[str, Any] = {**measured}
    last = history.iloc[-1]
    # These need the views of the last epoch, which only the training has.
    metrics |= {key: float(last[key]) for key in MEASURED_WHILE_TRAINING if key in last}
    metrics |= {"data_digest": summary["data_digest"], "protocol": config.digest(), "seed": run["seed"]}
    metrics |= {WEIGHTS: run[WEIGHTS]} if WEIGHTS in run else {}  # an earlier release has none
    numbers = {name: value for name, value in flatten(metrics) if isinstance(value, float)}
    mlflow.log_metrics({name.replace("%", "pct"): value for name, value in numbers.items()})  # MLflow takes no %
    predictions = predict(probe, features, manifest)
    metrics = with_checksums(metrics, features=features)
    return {"metrics": metrics, "features": features, "probe": probe or NO_PROBE, "predictions": predictions}
