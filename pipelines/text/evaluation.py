"""Stage 4 of text: what the encoder is worth, and what it makes of unseen text, beside honest baselines."""

from typing import Any

import pandas as pd
from kedro.pipeline import Pipeline, node

from pipelines.agreement import stop_if_trained_on_others
from pipelines.evaluation import completed
from unlabeled.config import Evaluation


def evaluate(
    encoder: Any,
    manifest: pd.DataFrame,
    summary: dict[str, Any],
    history: pd.DataFrame,
    run: dict[str, Any],
    config: Evaluation,
) -> dict[str, Any]:
    from unlabeled.text.evaluate import evaluate  # imports torch

    stop_if_trained_on_others(run, manifest)
    metrics, features, probe, shown = evaluate(encoder, run["method"], manifest, config)
    return {**completed(metrics, features, probe, manifest, summary, history, run, config), "shown": shown}


def create_pipeline() -> Pipeline:
    inputs = {name: name for name in ("encoder", "manifest", "summary", "history", "run")}
    return Pipeline(
        [
            node(
                evaluate,
                inputs={**inputs, "config": "params:evaluation"},
                outputs={name: name for name in ("metrics", "features", "probe", "predictions", "shown")},
                name="evaluation",
                tags="evaluation",
            )
        ]
    )
