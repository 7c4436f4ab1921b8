"""Whether what earlier runs have left fits what is asked of it today: stages can be run one by one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from unlabeled.config import Evaluation
from unlabeled.errors import ConfigError
from unlabeled.storage.intact import check_array, check_rows, check_weights
from unlabeled.storage.reuse import checksum, contents_of

TRAINED_ON, WEIGHTS = "trained_on", "weights"
"""In a training's record: the digest of its train split, and that of the weights that it left."""
CHECKSUMS = "checksums"
"""In a stage's record: the checksum of each array that it left."""


class Bond(NamedTuple):
    """The dataset whose record vouches for another, and the stage that writes both."""

    record: str
    stage: str


BONDS = {
    "encoder": Bond("run", "pretraining"),
    "images": Bond("manifest", "ingestion"),
    "frames": Bond("manifest", "ingestion"),
    "sounds": Bond("summary", "ingestion"),
    "views": Bond("views", "augmentation"),
    "sequences": Bond("sequences_of", "augmentation"),
    "caption_tokens": Bond("views_of", "augmentation"),
    "caption_starts": Bond("views_of", "augmentation"),
    "spectrograms": Bond("spectrograms_of", "augmentation"),
    "features": Bond("metrics", "evaluation"),
}
"""Arrays and weights that a stage leaves for others, by the names of their datasets."""


def stop_if_damaged(name: str, data: Any, dataset: Any, load: Callable[[str], Any]) -> None:
    """Raises DataError where a dataset that a run starts from is not what its record says.

    Args:
        name: Of the dataset, with its method before it where it has one.
        data: What was loaded.
        dataset: Kedro's, that has loaded it.
        load: Gives the content of a dataset by its name, as the records are.
    """
    method, dot, kind = name.rpartition(".")
    if kind not in BONDS:
        return
    bond, file = BONDS[kind], dataset._filepath
    remedy = f"run the stage {bond.stage} again, or restore it (dvc checkout)"
    if kind == "views":
        check_rows(data, dataset.checksums(), file, remedy)
        return
    record = load(f"{method}{dot}{bond.record}")
    if kind == "encoder":
        check_weights(file, record.get(WEIGHTS), remedy)
    elif bond.record == "manifest":
        check_rows(data, record.checksum.to_numpy(), file, remedy)
    else:
        check_array(data, record.get(CHECKSUMS, {}).get(kind), file, remedy)


def with_checksums(record: dict[str, Any], **arrays: np.ndarray) -> dict[str, Any]:
    """A stage's record, with the checksums of arrays by the names of their datasets."""
    return {**record, CHECKSUMS: {name: checksum(array) for name, array in arrays.items()}}


def stop_if_stale(cached: dict[str, Any], asked: dict[str, Any]) -> None:
    """Crops of other images, or cut by another recipe than the training's: it has to be the same for all methods."""
    if asked["views"] == "fresh" or asked.items() <= cached.items():
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


def stop_if_of_others(
    metrics: dict[str, Any], summary: dict[str, Any], config: Evaluation, run: dict[str, Any]
) -> None:
    """Raises ConfigError where metrics are not of these data by this protocol, or not of this training's weights."""
    if metrics.get(WEIGHTS) != run.get(WEIGHTS):
        raise ConfigError("the metrics are of another encoder than is here: run the stage evaluation again")
    for key, today, what in (
        ("data_digest", summary["data_digest"], "other data than today's"),
        ("protocol", config.digest(), "another evaluation than the parameters ask for"),
    ):
        if metrics[key] != today:
            raise ConfigError(f"the metrics are of {what}: run the stage evaluation again")
