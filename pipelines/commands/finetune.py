"""Fine-tunes the encoder of a method on all or on a few labels, and trains the same network from scratch."""

import logging
from pathlib import Path
from typing import cast

import mlflow
import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.datasets.files import read_json
from pipelines.stages.freshness import WEIGHTS, check_resize_current, check_train_split_current
from pipelines.stages.stage import stage
from unlabeled.config import Augmentation, Finetuning
from unlabeled.errors import ConfigError
from unlabeled.records import Finetuned, Summary

logger = logging.getLogger(__name__)


def finetune(
    images: np.ndarray,
    manifest: pd.DataFrame,
    summary: Summary,
    models_folder: Path,
    config: Finetuning,
    recipe: Augmentation,
) -> Finetuned:
    from unlabeled.downstream.finetune import finetune
    from unlabeled.encoders import load_encoder
    from unlabeled.images.encoder import ImageEncoder  # imports torch

    folder = models_folder / config.method
    if not (folder / "encoder.safetensors").exists():
        raise ConfigError(
            f"finetune.method: received {config.method!r}, which has no encoder yet: run kedro run "
            f"--pipeline={config.method} first"
        )
    record = folder / "run.json"
    run = read_json(record) if record.exists() else {}
    check_train_split_current(run, manifest)
    remedy = f"run the stage pretraining of {config.method} again, or restore it (dvc checkout)"
    encoder = cast(ImageEncoder, load_encoder(folder, run.get(WEIGHTS), remedy))  # the method is one of images
    check_resize_current(encoder.normalisation.resize, summary)
    results = finetune(encoder, images, manifest, config, recipe.model_copy(update={"views": "fresh"}))
    for setting, starts in results.items():
        for start, each in starts.items():
            mlflow.log_metric(f"{start}.{setting}", each["mean"])
        tuned, scratch = (f"{100 * each['mean']:.1f} ± {100 * each['std']:.1f}%" for each in starts.values())
        logger.info("%s labels a class: %s fine-tuned, %s from scratch", setting, tuned, scratch)
    return {"method": config.method, "data_digest": summary["data_digest"], "labels": results}


def create_pipeline() -> Pipeline:
    return stage("finetune", finetune, "finetune_metrics")
