"""The pretraining stage, as far as all kinds of data share it: live metrics, and the record of the training."""

from collections.abc import Callable
from typing import Any

import mlflow
import pandas as pd
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset

from pipelines.clients.tracking import LiveMetrics, active_run_id
from pipelines.registry.provenance import CODE, hardware
from unlabeled.config import Block, Pretraining
from unlabeled.records import RunRecord, Summary
from unlabeled.storage.freshness import contents_of

CHECKPOINT = "resume.safetensors"
"""The checkpoint in a method's folder. It is kept until the run succeeds, so that no later failure repeats training."""


def track(
    train: Callable[..., tuple],
    method: str,
    manifest: pd.DataFrame,
    summary: Summary,
    config: Pretraining,
    recipe: Block,
    fingerprint: str,
) -> dict[str, Any]:
    """Trains with live metrics in MLflow, and returns the outputs of the stage.

    Args:
        train: Takes `report`, and returns the encoder, its history and, for images, `examples`.
    """
    from unlabeled.encoders import weights_digest  # imports torch

    _log_data(summary)
    with LiveMetrics(active_run_id()) as report:
        made = dict(zip(("encoder", "history", "examples"), train(report=report), strict=False))
    weights = weights_digest(made["encoder"])
    record = _record(method, manifest, config, recipe, fingerprint, weights)
    return made | {"history": pd.DataFrame(made["history"]), "run": record}


def _log_data(summary: Summary) -> None:
    """Logs the data set as an input of the active run."""
    source = CodeDatasetSource({"source": summary["source"]})
    data = MetaDataset(source, summary["source"], summary["data_digest"])  # ty: ignore[abstract-class-instantiation]
    mlflow.log_input(data, context="pretraining")


def _record(
    method: str, manifest: pd.DataFrame, config: Pretraining, recipe: Block, fingerprint: str, weights: str
) -> RunRecord:
    """The record of a training, kept beside its encoder as run.json."""
    from unlabeled.training.devices import choose_device  # imports torch

    run_id = active_run_id()
    code = mlflow.get_run(run_id).data.tags.get(CODE)  # mlflow.active_run() does not hold tags that were set later
    blocks = {block.block: block.model_dump(mode="json", exclude_unset=True) for block in (config, recipe)}
    return {
        "run_id": run_id,
        "method": method,
        "seed": config.seed,
        "fingerprint": fingerprint,
        "trained_on": contents_of(manifest, "train"),
        "weights": weights,
        "parameters": blocks,
        "code": code,
        "hardware": hardware(choose_device(config.device).type),
    }
