"""Stage 4 of video: measures the towers, and whether they match sounds to videos."""

from typing import Any

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.stages.evaluation import complete
from pipelines.stages.freshness import check_train_split_current
from pipelines.stages.stage import stage
from unlabeled.config import Evaluation
from unlabeled.records import RunRecord, Summary


def evaluate(
    encoder: Any,
    frames: np.ndarray,
    sounds: np.ndarray,
    manifest: pd.DataFrame,
    summary: Summary,
    history: pd.DataFrame,
    run: RunRecord,
    config: Evaluation,
) -> dict[str, Any]:
    from unlabeled.video.evaluate import evaluate  # imports torch

    check_train_split_current(run, manifest)
    metrics, features, probe, shown = evaluate(encoder, frames, sounds, manifest, config)
    return {**complete(metrics, features, probe, manifest, summary, history, run, config), "shown": shown}


def create_pipeline() -> Pipeline:
    outputs = ("metrics", "features", "probe", "predictions", "shown")
    return stage("evaluation", evaluate, outputs)
