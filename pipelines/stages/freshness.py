"""Checks that the outputs of earlier runs fit the present data and parameters, as stages can run one by one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from unlabeled.config import Evaluation
from unlabeled.errors import ConfigError
from unlabeled.records import Summary
from unlabeled.storage.freshness import Parts, contents_of, difference, is_other
from unlabeled.storage.intact import check_array, check_rows, check_weights
from unlabeled.storage.reuse import checksum

TRAINED_ON, WEIGHTS = "trained_on", "weights"
"""Keys in run.json: the digest of the train split, and the digest of all weights."""
CHECKSUMS = "checksums"
"""Key in the record of a stage: the checksum of each array that it wrote."""
OTHER_DATA = {"data_digest": "other data", "order": "data in another order"}
OTHER_METRICS = {
    WEIGHTS: "another encoder than is here",
    "data_digest": "other data than today's",
    "protocol": "another evaluation than the parameters ask for",
}
"""The origin of outdated arrays and metrics in words, by the part in which they differ from the present run."""


class Recorder(NamedTuple):
    """The dataset that holds the checksums of another dataset, and the stage that writes both."""

    record: str
    stage: str


RECORDERS = {
    "encoder": Recorder("run", "pretraining"),
    "images": Recorder("manifest", "ingestion"),
    "frames": Recorder("manifest", "ingestion"),
    "sounds": Recorder("summary", "ingestion"),
    "views": Recorder("views", "augmentation"),
    "sequences": Recorder("sequences_of", "augmentation"),
    "caption_tokens": Recorder("views_of", "augmentation"),
    "caption_starts": Recorder("views_of", "augmentation"),
    "spectrograms": Recorder("spectrograms_of", "augmentation"),
    "features": Recorder("metrics", "evaluation"),
}
"""The recorder of each dataset of arrays or weights that later stages read."""


def check_intact(name: str, data: Any, dataset: Any, load: Callable[[str], Any]) -> None:
    """Raises DataError where a dataset that a run starts from does not match the checksums in its record.

    Args:
        name: Name of the dataset, with the method as prefix where it has one.
        data: The loaded content.
        dataset: The Kedro dataset.
        load: Loads a dataset by its name.
    """
    method, dot, kind = name.rpartition(".")
    if kind not in RECORDERS:
        return
    bond, file = RECORDERS[kind], dataset._filepath
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
    """The record of a stage with the checksums of its arrays, by the names of their datasets."""
    return {**record, CHECKSUMS: {name: checksum(array) for name, array in arrays.items()}}


def check_crops_current(cached: Parts, asked: Parts) -> None:
    """Raises ConfigError where the cached crops are of other images or another recipe; all methods share one recipe."""
    if asked["views"] != "fresh":
        check_cache_current(
            "crops", cached, asked, " with it for all methods, or set augmentation.views=fresh for this one"
        )


def check_cache_current(arrays: str, cached: Parts, asked: Parts, remedy: str = "") -> None:
    """Raises ConfigError where arrays that augmentation cached are of other data or other parameters.

    Args:
        arrays: The arrays in words.
        remedy: Words that follow the advice to run augmentation again.
    """
    other = difference(asked, cached)
    if other is None:
        return
    again = "run the stage augmentation again"
    if other.part in OTHER_DATA:
        raise ConfigError(f"the cached {arrays} are of {OTHER_DATA[other.part]}: {again}")
    raise ConfigError(
        f"augmentation.{other.part}: received {other.asked!r}, but the {arrays} were cached with {other.found!r}: "
        f"{again}{remedy}"
    )


def check_train_split_current(run: Parts, manifest: pd.DataFrame) -> None:
    """Raises ConfigError where the train split has changed since training, as test images may have been trained on."""
    if is_other(contents_of(manifest, "train"), run.get(TRAINED_ON)):
        raise ConfigError(
            "the encoder was trained on other data than today's train split: run the stage pretraining again"
        )


def check_resize_current(trained: str, summary: Summary) -> None:
    """Raises ConfigError where today's images became squares in another way than those that the encoder was trained on.

    Args:
        trained: The encoder's `ingestion.resize`.
    """
    stored = summary.get("resize", "crop")  # absent from summaries of earlier releases
    if trained != stored:
        raise ConfigError(
            f"the encoder was trained with ingestion.resize={trained}, and today's images are stored with {stored}: "
            f"run the stage pretraining again"
        )


def check_metrics_current(metrics: Parts, summary: Parts, config: Evaluation, run: Parts) -> None:
    """Raises ConfigError where the metrics are of other data, another protocol or other weights than the present."""
    asked = {WEIGHTS: run.get(WEIGHTS), "data_digest": summary["data_digest"], "protocol": config.digest()}
    if other := difference(asked, metrics):
        raise ConfigError(f"the metrics are of {OTHER_METRICS[other.part]}: run the stage evaluation again")
