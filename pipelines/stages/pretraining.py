"""The pretraining stage, as far as all kinds of data share it: live metrics, and the record of the training."""

import logging
from collections.abc import Callable
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


def track(
    train: Callable[..., tuple],
    method: str,
    manifest: pd.DataFrame,
    summary: Summary,
    config: Pretraining,
    recipe: Block,
    fingerprint: str,
    folder: Path,
    reporting_folder: Path,
) -> dict[str, Any]:
    """Trains with live metrics in MLflow, and returns the outputs of the stage.

    Where only labels have changed since the last training, from which it has not learned, its outputs are kept.

    Args:
        train: Takes `report`, and returns the encoder, its history and, for images, `examples`.
        folder: Folder of the method's model.
        reporting_folder: Folder with the reports of all methods.
    """
    from unlabeled.encoders import weights_digest  # imports torch
    from unlabeled.training.setup import lesson_of

    _log_data(summary)
    lesson = lesson_of(method, manifest, summary, config, recipe)
    if kept := _kept(method, lesson, summary["data_digest"], folder, reporting_folder / method):
        return kept
    with LiveMetrics(active_run_id()) as report:
        made = dict(zip(("encoder", "history", "examples"), train(report=report), strict=False))
    weights = weights_digest(made["encoder"])
    record = _record(method, manifest, config, recipe, fingerprint, weights)
    record |= {"lesson": lesson, "data_digest": summary["data_digest"]}
    return made | {"history": pd.DataFrame(made["history"]), "run": record}


def _kept(method: str, lesson: str, data_digest: str, folder: Path, reports: Path) -> dict[str, Any] | None:
    """The outputs of the last training, where it learned the same from data with other labels; None: train.

    Where the labels are the same as well, somebody has asked for another training.
    """
    weights, history = folder / "encoder.safetensors", reports / "history.csv"
    datasets: dict[str, Any] = {"encoder": EncoderDataset(str(weights)), "history": CsvDataset(str(history))}
    if method in IMAGE_METHODS:
        datasets["examples"] = PicturesDataset(f"{reports}/examples.npz")
    try:
        run: RunRecord = JsonDataset(f"{folder}/run.json").load()
        before = run.get("data_digest", data_digest)
        if run.get("lesson") != lesson or before == data_digest:
            return None
        check_weights(weights, run.get(WEIGHTS), "it is trained again")
        kept = {name: dataset.load() for name, dataset in datasets.items()}
    except (DataError, DatasetError):  # missing, damaged, or not all of one training
        return None
    logger.info(
        "only labels have changed since %s was trained, and it has not learned from them: the encoder and its history "
        "are kept (run it once more to train it again)",
        method,
    )
    record = {**run, "data_digest": data_digest, "labels_before": run.get("labels_before", before)}
    return kept | {"run": record}


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
