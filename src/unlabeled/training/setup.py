"""Preparations of a training that every kind of data shares."""

import inspect
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import TypeAdapter, ValidationError

from unlabeled.catalogue import METHODS
from unlabeled.config import Block, Pretraining
from unlabeled.errors import ConfigError, TrainingError
from unlabeled.method import load_method
from unlabeled.records import Summary
from unlabeled.storage.freshness import code_digest, digest_of, rows_digest

LOOP_VERSION = 3
"""Version of the training code, to be raised where the same parameters lead to other weights, so that no checkpoint is
resumed across the change."""

UNDECISIVE = {"monitor_every", "checkpoint_seconds", "min_embedding_std", "weights"}
"""Parameters of pretraining that do not decide the weights. Of `weights`, the digest of its file decides."""
LEARNED_FROM = ("sha256", "checksum", "text", "split")
"""Columns of a manifest that a training without labels depends on."""
STORED_AS = ("channels", "image_size", "pixel_range", "resize", "mean", "std", "tokenizer", "vocabulary")
STORED_AS += ("frames", "seconds", "rate")
"""Keys of a summary that say how the data are stored."""


def rows_to_train_on(
    manifest: pd.DataFrame, count: int, config: Pretraining, unit: str, supervised: bool = False
) -> np.ndarray:
    """The rows of the train split, int64; only those with a label, where the method is supervised.

    Args:
        count: Number of stored data, which the manifest's rows should match.
        unit: Name of the data in the plural.

    Raises:
        TrainingError: The number of rows is another one, or there are fewer to train on than a batch has.
    """
    if len(manifest) != count:
        raise TrainingError(f"the manifest has {len(manifest)} rows for {count} {unit}: run the stage ingestion again")
    rows = np.flatnonzero((manifest.split == "train") & ((manifest.target >= 0) | (not supervised)))
    check_batch(config, len(rows), unit)
    return rows


def check_batch(config: Pretraining, count: int, unit: str) -> None:
    """Raises TrainingError where there are fewer rows to train on than a batch has."""
    if config.batch_size > count:
        raise TrainingError(
            f"pretraining.batch_size: received {config.batch_size}, but there are {count} {unit} to train on: lower "
            f"it, or add {unit}"
        )


@contextmanager
def tentatively() -> Generator[None]:
    """Context for networks that are built only as a check: on meta tensors, which have shapes but no values."""
    with torch.device("meta"), torch.random.fork_rng([]), torch.no_grad():
        yield


def constants_of(method: str, config: Pretraining) -> dict[str, Any]:
    """The constants of `pretraining.method`, checked against the names and types of the method's constructor."""
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
def as_config_error() -> Generator[None]:
    """Context in which a ValueError of a method or network about its constants becomes a ConfigError that names the
    key."""
    try:
        yield
    except ValueError as error:
        key, _, _ = str(error).partition(":")
        place = "pretraining." if key in ("encoder", "freeze") else "pretraining.method." if key.isidentifier() else ""
        raise ConfigError(f"{place}{error}") from error


def fingerprint_of(method: str, summary: Summary, config: Pretraining, recipe: Block, **more: Any) -> str:
    """Digest of everything that decides the weights.

    Args:
        more: Inputs that only one kind of data has, such as the digest of the weights that a training starts from.
    """
    what = {
        "method": method,
        "data": summary["data_digest"],
        "torch": torch.__version__,
        "loop": LOOP_VERSION,
        "config": config.model_dump(exclude=UNDECISIVE),
        "recipe": recipe.model_dump(),
        **more,
    }
    return digest_of(what)


def lesson_of(
    method: str, manifest: pd.DataFrame, summary: Summary, config: Pretraining, recipe: Block, **more: Any
) -> str:
    """Digest of everything that a training learns from, its code included; `more`: as in `fingerprint_of`.

    It differs from the fingerprint in that it leaves out labels, unless the method is supervised, and the paths and
    the order of the rows, which a relabelling may change.
    """
    supervised = load_method(method).supervised
    rows = rows_digest(manifest, [*LEARNED_FROM, *(["label"] if supervised else [])])
    stored = {key: summary.get(key) for key in STORED_AS}
    code = [code_digest("unlabeled"), code_digest(METHODS[method])]
    return fingerprint_of(method, {**summary, "data_digest": rows}, config, recipe, stored=stored, code=code, **more)
