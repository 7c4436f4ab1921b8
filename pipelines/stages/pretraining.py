"""The pretraining stage, as far as all kinds of data share it: live metrics, and the record of the training."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from kedro.io import DatasetError
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset

from pipelines.clients.tracking import LiveMetrics, active_run_id
from pipelines.datasets.encoder import EncoderDataset
from pipelines.datasets.files import CsvDataset, JsonDataset, PicturesDataset
from pipelines.registry.provenance import CODE, hardware
from pipelines.registry.starts import pinned, resolved
from pipelines.stages.freshness import WEIGHTS
from unlabeled.catalogue import IMAGE_METHODS
from unlabeled.config import Block, Pretraining
from unlabeled.errors import DataError
from unlabeled.records import RunRecord, Summary
from unlabeled.storage.freshness import contents_of
from unlabeled.storage.intact import check_weights

logger = logging.getLogger(__name__)

CHECKPOINT = "resume.safetensors"
"""The checkpoint in a method's folder. It is kept until the run succeeds, so that no later failure repeats training."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What every training is given, beside its data.

    Attributes:
        config: Parameters of the block pretraining.
        recipe: Parameters of the block augmentation.
        folder: Folder of the method, which holds its encoder and its checkpoint.
        reporting_folder: Folder with the reports of all methods.
    """

    method: str
    manifest: pd.DataFrame
    summary: Summary
    config: Pretraining
    recipe: Block
    folder: Path
    reporting_folder: Path


def track(
    training: Training, train: Callable[..., tuple], fingerprint: str, start: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Trains with live metrics in MLflow, and returns the outputs of the stage.

    Where only labels have changed since the last training, from which it has not learned, its outputs are kept.

    Args:
        train: `pretrain_encoder` with its data, which lacks the arguments that all kinds of data share. Returns the
            encoder, its history and, for images, `examples`.
        start: The digest of the weights that it starts from, by its key in run.json; None: they are random.
    """
    from unlabeled.encoders import weights_digest  # imports torch
    from unlabeled.training.setup import lesson_of

    shared = {name: getattr(training, name) for name in ("method", "manifest", "summary", "config", "recipe")}
    shared["config"] = resolved(training.config)
    _log_data(training.summary)
    lesson = lesson_of(**shared, **(start or {}))
    if kept := _kept(training, lesson):
        return kept
    with LiveMetrics(active_run_id()) as report:
        made = train(**shared, resume=training.folder / CHECKPOINT, report=report)
    outputs = dict(zip(("encoder", "history", "examples"), made, strict=False))
    record = _record(training, fingerprint, weights_digest(outputs["encoder"]))
    record |= {**(start or {}), "lesson": lesson, "data_digest": training.summary["data_digest"]}
    return outputs | {"history": pd.DataFrame(outputs["history"]), "run": record}


def _kept(training: Training, lesson: str) -> dict[str, Any] | None:
    """The outputs of the last training, where it learned the same from data with other labels; None: train.

    Where the labels are the same as well, somebody has asked for another training.
    """
    folder, reports = training.folder, training.reporting_folder / training.method
    weights, history = folder / "encoder.safetensors", reports / "history.csv"
    datasets: dict[str, Any] = {"encoder": EncoderDataset(str(weights)), "history": CsvDataset(str(history))}
    if training.method in IMAGE_METHODS:
        datasets["examples"] = PicturesDataset(f"{reports}/examples.npz")
    try:
        run: RunRecord = JsonDataset(f"{folder}/run.json").load()
        today = training.summary["data_digest"]
        before = run.get("data_digest", today)
        if run.get("lesson") != lesson or before == today:
            return None
        check_weights(weights, run.get(WEIGHTS), "it is trained again")
        kept = {name: dataset.load() for name, dataset in datasets.items()}
    except (DataError, DatasetError):  # missing, damaged, or not all of one training
        return None
    logger.info(
        "only labels have changed since %s was trained, and it has not learned from them: the encoder and its history "
        "are kept (run it once more to train it again)",
        training.method,
    )
    record = {**run, "data_digest": today, "labels_before": run.get("labels_before", before)}
    return kept | {"run": record}


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
        block.block: block.model_dump(mode="json", exclude_unset=True)
        for block in (pinned(training.config), training.recipe)
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
