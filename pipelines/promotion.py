"""Whether a challenger becomes the champion: better, on the same data and by the same protocol, and not collapsed."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from unlabeled.config import Evaluation, Pretraining, Registration
from unlabeled.errors import UnlabeledError

NO_SUCH_ALIAS = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""How backends say that a model or its alias is not there; everything else is an outage."""


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
    spread = metrics["embedding_std"]
    if pretraining.is_collapsed(spread, metrics.get("untrained_embedding_std")):
        return False, f"its embedding has collapsed (standard deviation {spread:.3f})"
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
    except UnlabeledError as error:  # made for other images than today's
        return True, f"version {champion.version} cannot be measured on today's data ({error})"
    except (MlflowException, OSError) as error:  # an outage crowns nobody
        return False, f"version {champion.version} could not be fetched to be measured ({error})"
    where = "" if same else ", measured again on today's data and protocol"
    numbers = f"{config.metric} {score:.4f} against {incumbent:.4f} of version {champion.version}{where}"
    return score > incumbent + config.min_gain, numbers


def _champion(client: MlflowClient, name: str) -> Any:
    try:
        return client.get_model_version_by_alias(name, "champion")
    except MlflowException as error:
        if error.error_code not in NO_SUCH_ALIAS:
            raise
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
