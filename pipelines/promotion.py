"""Whether a challenger becomes the champion: better, on the same data and by the same protocol, and not collapsed."""

import hashlib
import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from unlabeled.config import Evaluation, Pretraining, Registration
from unlabeled.errors import UnlabeledError


def protocol_digest(evaluation: Evaluation) -> str:
    """Two numbers compare only where this is the same."""
    return hashlib.sha256(json.dumps(evaluation.model_dump(), sort_keys=True).encode()).hexdigest()[:16]


def judge(
    client: MlflowClient,
    name: str,
    metrics: dict[str, Any],
    images: np.ndarray,
    manifest: pd.DataFrame,
    tags: dict[str, Any],
    pretraining: Pretraining,
    evaluation: Evaluation,
    config: Registration,
) -> tuple[bool, str]:
    """Whether the model with these metrics and tags beats the champion of `name`, and why, in words."""
    if metrics["embedding_std"] < pretraining.min_embedding_std:
        return False, f"its embedding has collapsed (standard deviation {metrics['embedding_std']:.3f})"
    champion = _champion(client, name)
    if champion is None:
        return True, "there was no champion"
    score = metrics[config.metric]
    if score is None:
        return False, f"without labels it cannot be compared with version {champion.version}"
    same = all(champion.tags.get(key) == str(tags[key]) for key in ("data_digest", "protocol"))
    held = champion.tags.get(config.metric)
    try:
        incumbent = float(held) if same and held else _remeasure(champion, images, manifest, evaluation, config)
    except (UnlabeledError, MlflowException, OSError) as error:
        return True, f"version {champion.version} cannot be measured on today's data ({error})"
    where = "" if same else ", measured again on today's data and protocol"
    numbers = f"{config.metric} {score:.4f} against {incumbent:.4f} of version {champion.version}{where}"
    return score > incumbent + config.min_gain, numbers


def _champion(client: MlflowClient, name: str) -> Any:
    try:
        return client.get_model_version_by_alias(name, "champion")
    except MlflowException:  # its error codes differ between backends, and all mean that there is none
        return None


def _remeasure(
    champion: Any, images: np.ndarray, manifest: pd.DataFrame, evaluation: Evaluation, config: Registration
) -> float:
    from unlabeled.encoders import load_encoder  # imports torch
    from unlabeled.probe import Labels, measure

    folder = mlflow.artifacts.download_artifacts(f"models:/{champion.name}/{champion.version}")
    encoder = load_encoder(Path(folder) / "artifacts" / "model")
    numbers, _ = measure(encoder.embed(images), Labels.of(manifest), evaluation)
    return numbers[config.metric]
