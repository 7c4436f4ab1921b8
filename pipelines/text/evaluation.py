"""Stage 4 of text: measures the encoder and its baselines by the same protocol, and its predictions of unseen text."""

from typing import Any

import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.stages.evaluation import complete
from pipelines.stages.freshness import check_train_split_current
from pipelines.stages.stage import stage
from unlabeled.config import Evaluation
from unlabeled.records import RunRecord, Summary


def evaluate(
    encoder: Any,
    manifest: pd.DataFrame,
    summary: Summary,
    history: pd.DataFrame,
    run: RunRecord,
    config: Evaluation,
) -> dict[str, Any]:
    from unlabeled.text.evaluate import evaluate  # imports torch

    check_train_split_current(run, manifest)
    metrics, features, probe, shown = evaluate(encoder, run["method"], manifest, config)
    return {**complete(metrics, features, probe, manifest, summary, history, run, config), "shown": shown}


def create_pipeline() -> Pipeline:
    outputs = ("metrics", "features", "probe", "predictions", "shown")
    return stage("evaluation", evaluate, outputs)
