"""Stage 4: what the encoder is worth, beside honest baselines."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.stages.evaluation import completed
from pipelines.stages.freshness import stop_if_trained_on_others
from pipelines.stages.stage import stage
from unlabeled.config import Evaluation


def evaluate(
    encoder: Any,
    images: np.ndarray,
    manifest: pd.DataFrame,
    summary: dict[str, Any],
    history: pd.DataFrame,
    run: dict[str, Any],
    folder: Path,
    config: Evaluation,
) -> dict[str, Any]:
    from unlabeled.images.evaluate import evaluate  # imports torch

    stop_if_trained_on_others(run, manifest)
    return completed(*evaluate(encoder, images, manifest, config, folder), manifest, summary, history, run, config)


def create_pipeline() -> Pipeline:
    inputs = ("encoder", "images", "manifest", "summary", "history", "run")
    outputs = ("metrics", "features", "probe", "predictions")
    return stage("evaluation", evaluate, inputs, outputs, folder="baselines_folder", config="params:evaluation")
