"""The pretraining stage, as far as all kinds of data share it: live metrics, and the record of the training."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
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


@dataclass(frozen=True, kw_only=True)
class Training:
    """What every training is given, beside its data.

    Attributes:
        config: Parameters of the block pretraining.
        recipe: Parameters of the block augmentation.
        folder: Folder of the method, which holds its checkpoint.
    """

    method: str
    manifest: pd.DataFrame
    summary: Summary
    config: Pretraining
    recipe: Block
    folder: Path


def track(training: Training, train: Callable[..., tuple], fingerprint: str) -> dict[str, Any]:
    """Trains with live metrics in MLflow, and returns the outputs of the stage.

    Args:
        train: `pretrain_encoder` with its data, which lacks the arguments that all kinds of data share. Returns the
            encoder, its history and, for images, `examples`.
    """
    from unlabeled.encoders import weights_digest  # imports torch

    shared = {name: getattr(training, name) for name in ("method", "manifest", "summary", "config", "recipe")}
    _log_data(training.summary)
    with LiveMetrics(active_run_id()) as report:
        made = train(**shared, resume=training.folder / CHECKPOINT, report=report)
    outputs = dict(zip(("encoder", "history", "examples"), made, strict=False))
    record = _record(training, fingerprint, weights_digest(outputs["encoder"]))
    return outputs | {"history": pd.DataFrame(outputs["history"]), "run": record}


def _log_data(summary: Summary) -> None:
    """Logs the data set as an input of the active run."""
    source = CodeDatasetSource({"source": summary["source"]})
    data = MetaDataset(source, summary["source"], summary["data_digest"])  # ty: ignore[abstract-class-instantiation]
    mlflow.log_input(data, context="pretraining")


def _record(training: Training, fingerprint: str, weights: str) -> RunRecord:
    """The record of a training, kept beside its encoder as run.json."""
    from unlabeled.training.devices import choose_device  # imports torch

    run_id = active_run_id()
    code = mlflow.get_run(run_id).data.tags.get(CODE)  # mlflow.active_run() does not hold tags that were set later
    blocks = {
        block.block: block.model_dump(mode="json", exclude_unset=True) for block in (training.config, training.recipe)
    }
    return {
        "run_id": run_id,
        "method": training.method,
        "seed": training.config.seed,
        "fingerprint": fingerprint,
        "trained_on": contents_of(training.manifest, "train"),
        "weights": weights,
        "parameters": blocks,
        "code": code,
        "hardware": hardware(choose_device(training.config.device).type),
    }
