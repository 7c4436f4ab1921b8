"""Stage 4: measures the encoder and its baselines by the same protocol."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.stages.evaluation import complete
from pipelines.stages.freshness import check_resize_current, check_train_split_current
from pipelines.stages.stage import stage
from unlabeled.config import Evaluation
from unlabeled.records import RunRecord, Summary


def evaluate(
    encoder: Any,
    images: np.ndarray,
    manifest: pd.DataFrame,
    summary: Summary,
    history: pd.DataFrame,
    run: RunRecord,
    folder: Path,
    config: Evaluation,
) -> dict[str, Any]:
    from unlabeled.images.evaluate import evaluate  # imports torch

    check_train_split_current(run, manifest)
    check_resize_current(encoder.normalisation.resize, summary)
    return complete(*evaluate(encoder, images, manifest, config, folder), manifest, summary, history, run, config)


def create_pipeline() -> Pipeline:
    outputs = ("metrics", "features", "probe", "predictions")
    return stage("evaluation", evaluate, outputs, folder="baselines_folder")
