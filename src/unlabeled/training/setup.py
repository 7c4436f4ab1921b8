"""Preparations for a training that every kind of data shares."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import TypeAdapter, ValidationError

from unlabeled.config import Block, Pretraining
from unlabeled.errors import ConfigError, TrainingError
from unlabeled.method import load_method
from unlabeled.storage.freshness import digest_of

LOOP = 2
"""Raised where the code makes other weights of the same parameters, so that nothing is resumed across it."""


def rows_to_train_on(
    manifest: pd.DataFrame, count: int, config: Pretraining, unit: str, supervised: bool = False
) -> np.ndarray:
    """The rows of the train split, int64; those with a label, where the method is supervised.

    Args:
        count: How many data there are, and should be rows.
        unit: What they are, in the plural.

    Raises:
        TrainingError: There are more, or fewer; or fewer to train on than a batch has.
    """
    if len(manifest) != count:
        raise TrainingError(f"the manifest has {len(manifest)} rows for {count} {unit}: run the stage ingestion again")
    rows = np.flatnonzero((manifest.split == "train") & ((manifest.target >= 0) | (not supervised)))
    if config.batch_size > len(rows):
        raise TrainingError(
            f"pretraining.batch_size: received {config.batch_size}, but there are {len(rows)} {unit} to train on: "
            f"lower it, or add {unit}"
        )
    return rows


@contextmanager
def tentatively() -> Iterator[None]:
    """For what is built only to see whether it can be: on meta tensors, which have shapes and no numbers."""
    with torch.device("meta"), torch.random.fork_rng([]), torch.no_grad():
        yield


def constants_of(method: str, config: Pretraining) -> dict[str, Any]:
    """`pretraining.method`, its names and types those of the method's constructor."""
    parameters = inspect.signature(load_method(method)).parameters
    expected = {name: p.annotation for name, p in parameters.items() if name not in ("encoder", "classes")}
    constants = {}
    for name, value in config.method.items():
        if name not in expected:
            allowed = ", ".join(expected) or "none: it has no constants"
            raise ConfigError(f"pretraining.method.{name} is not a constant of {method}: choose from {allowed}")
        try:
            constants[name] = TypeAdapter(expected[name]).validate_python(value)
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Input should be ")
            raise ConfigError(f"pretraining.method.{name}: received {value!r}, expected {message}") from error
    return constants


@contextmanager
def as_config_error() -> Iterator[None]:
    """What a method or a network says of its constants, with the key to change."""
    try:
        yield
    except ValueError as error:
        key, _, _ = str(error).partition(":")
        place = "pretraining." if key == "encoder" else "pretraining.method." if key.isidentifier() else ""
        raise ConfigError(f"{place}{error}") from error


def fingerprint_of(method: str, summary: dict[str, Any], config: Pretraining, recipe: Block, **more: Any) -> str:
    """Of what decides the weights for every kind of data, and of what more does for one of them."""
    what = {
        "method": method,
        "data": summary["data_digest"],
        "torch": torch.__version__,
        "loop": LOOP,
        "config": config.model_dump(exclude={"monitor_every", "checkpoint_seconds", "min_embedding_std"}),
        "recipe": recipe.model_dump(),
        **more,
    }
    return digest_of(what)
