"""Stage 4 of captioned images: measures the image tower, and retrieval between images and texts."""

from typing import Any

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.stages.evaluation import complete
from pipelines.stages.freshness import check_resize_current, check_train_split_current
from pipelines.stages.stage import stage
from unlabeled.pairs.config import PairEvaluation
from unlabeled.records import RunRecord, Summary


def evaluate(
    encoder: Any,
    images: np.ndarray,
    manifest: pd.DataFrame,
    summary: Summary,
    history: pd.DataFrame,
    run: RunRecord,
    config: PairEvaluation,
) -> dict[str, Any]:
    from unlabeled.pairs.evaluate import evaluate  # imports torch

    check_train_split_current(run, manifest)
    check_resize_current(encoder.first.normalisation.resize, summary)
    metrics, features, probe, shown = evaluate(encoder, images, manifest, summary["classes"], config)
    return {**complete(metrics, features, probe, manifest, summary, history, run, config), "shown": shown}


def create_pipeline() -> Pipeline:
    outputs = ("metrics", "features", "probe", "predictions", "shown")
    return stage("evaluation", evaluate, outputs)
