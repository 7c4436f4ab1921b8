"""Whether what earlier runs have left fits what is asked of it today: stages can be run one by one."""

from typing import Any

import pandas as pd

from unlabeled.config import Evaluation
from unlabeled.errors import ConfigError
from unlabeled.reuse import contents_of

TRAINED_ON = "trained_on"
"""Of a training's record: the digest of its train split."""


def stop_if_stale(cached: dict[str, Any], asked: dict[str, Any]) -> None:
    """Crops of other images, or cut by another recipe than the training's: it has to be the same for all methods."""
    if asked["views"] == "fresh" or cached == asked:
        return
    key = next(key for key in asked if cached.get(key) != asked[key])
    if key in ("data_digest", "order"):
        which = "other images" if key == "data_digest" else "images in another order"
        raise ConfigError(f"the crops were cut from {which}: run the stage augmentation again")
    raise ConfigError(
        f"augmentation.{key}: received {asked[key]!r}, but the crops were cached with {cached.get(key)!r}: run the "
        f"stage augmentation again with it for all methods, or set augmentation.views=fresh for this one"
    )


def stop_if_trained_on_others(run: dict[str, Any], manifest: pd.DataFrame) -> None:
    """Today's test split may be what the encoder was trained on: raises ConfigError."""
    if run.get(TRAINED_ON) not in (None, contents_of(manifest, "train")):  # None: by an earlier release
        raise ConfigError(
            "the encoder was trained on other data than today's train split: run the stage pretraining again"
        )


def stop_if_of_others(metrics: dict[str, Any], summary: dict[str, Any], config: Evaluation) -> None:
    """Raises ConfigError where metrics are not of these data by this protocol."""
    for key, today, what in (
        ("data_digest", summary["data_digest"], "other data than today's"),
        ("protocol", config.digest(), "another evaluation than the parameters ask for"),
    ):
        if metrics[key] != today:
            raise ConfigError(f"the metrics are of {what}: run the stage evaluation again")
