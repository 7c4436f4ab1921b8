"""Stage 4 of text: what the encoder is worth, and what it makes of unseen text, beside honest baselines."""

from typing import Any

import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.stages.evaluation import completed
from pipelines.stages.freshness import stop_if_trained_on_others
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

    stop_if_trained_on_others(run, manifest)
    metrics, features, probe, shown = evaluate(encoder, run["method"], manifest, config)
    return {**completed(metrics, features, probe, manifest, summary, history, run, config), "shown": shown}


def create_pipeline() -> Pipeline:
    outputs = ("metrics", "features", "probe", "predictions", "shown")
    return stage("evaluation", evaluate, outputs)
