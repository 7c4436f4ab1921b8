"""Stage 3: an encoder without labels. They are used here to watch it, never to train it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline, node

from pipelines.tracking import LiveMetrics
from unlabeled.config import Augmentation, Pretraining


def pretrain_with(method: str) -> Callable[..., dict[str, Any]]:
    """The node function of a method."""

    def pretrain(
        images: np.ndarray,
        views: np.ndarray,
        manifest: pd.DataFrame,
        summary: dict[str, Any],
        config: Pretraining,
        recipe: Augmentation,
        folder: Path,
    ) -> dict[str, Any]:
        from unlabeled.pretrain import pretrain_encoder  # imports torch

        run = mlflow.active_run()
        with LiveMetrics(run.info.run_id) as report:
            encoder, history = pretrain_encoder(
                method,
                images,
                views,
                manifest,
                summary,
                config,
                recipe,
                resume=folder / "resume.safetensors",
                report=report,
            )
        made = {"run_id": run.info.run_id, "seed": config.seed}
        return {"encoder": encoder, "run": made, "history": pd.DataFrame(history)}

    return pretrain


def create_pipeline(method: str) -> Pipeline:
    inputs = {name: name for name in ("images", "views", "manifest", "summary")}
    parameters = {"config": "params:pretraining", "recipe": "params:augmentation"}
    return Pipeline(
        [
            node(
                pretrain_with(method),
                inputs={**inputs, **parameters, "folder": "model_folder"},
                outputs={name: name for name in ("encoder", "run", "history")},
                name="pretraining",
                tags="pretraining",
            )
        ]
    )
