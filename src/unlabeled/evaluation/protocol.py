"""The measurement of features beside baselines, for every kind of data."""

import json
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from xxhash import xxh3_128_hexdigest

from unlabeled.config import Evaluation, in_words
from unlabeled.encoders import Saved, untrained
from unlabeled.evaluation import health
from unlabeled.evaluation import probe as protocol
from unlabeled.evaluation.probe import Labels, LinearProbe, measure, why_untested
from unlabeled.evaluation.verdict import BASELINE_NAMES
from unlabeled.nn.small_networks import random_rotation
from unlabeled.records import Accuracies, Measured
from unlabeled.runtime.progress import bar
from unlabeled.storage.arrays import replace_file
from unlabeled.storage.freshness import made_by

logger = logging.getLogger(__name__)

PIXEL_SIDE = 32
"""Largest side of an image for the baselines on pixels; larger images are averaged down to it: 3,072 numbers an RGB
image."""


def measure_all(
    features: np.ndarray,
    manifest: pd.DataFrame,
    config: Evaluation,
    baselines: dict[str, Callable[[], np.ndarray]],
    memory: Path | None = None,
    unit: str = "images",
) -> tuple[Measured, np.ndarray, LinearProbe | None]:
    """Measures features (N, D) and the named baselines; returns the results of `evaluate`."""
    train = features[(manifest.split == "train").to_numpy()]
    accuracies: Accuracies = {"linear_probe_accuracy": None, "knn_accuracy": None, "few_label": {}}
    others: dict[str, Accuracies] = {}
    probe, labels = None, Labels.of(manifest)
    if labels.suffice():
        with bar("probing", 1 + len(baselines), "kinds of features") as progress:
            accuracies, probe = measure(features, labels, config)
            progress.advance(1, f"· encoder {accuracies['linear_probe_accuracy']:.1%}")
            for name, compute in baselines.items():
                others[name] = numbers = _remembered(compute(), labels, config, memory)
                progress.advance(1, f"· {name} {numbers['linear_probe_accuracy']:.1%}")
        _tell({"encoder": accuracies, **others}, config)
    else:
        logger.info("no accuracy is measured, and the encoder is kept all the same: %s", why_untested(manifest, unit))
    tensor = torch.from_numpy(train)
    metrics: Measured = {
        **accuracies,
        "baselines": others,
        "embedding_std": health.embedding_std(tensor),
        "rankme": health.rankme(tensor),
        "uniformity": health.uniformity(tensor),
    }
    return metrics, features, probe


def _remembered(features: np.ndarray, labels: Labels, config: Evaluation, memory: Path | None) -> Accuracies:
    """The numbers of `measure`, read from `memory` where the same code has measured the same features."""
    if memory is None:
        return measure(features, labels, config)[0]
    arrays = [features, *(array for array in vars(labels).values() if array is not None)]
    contents = [(xxh3_128_hexdigest(np.ascontiguousarray(array).data), array.shape) for array in arrays]
    key = made_by([protocol], contents=contents, scikit_learn=version("scikit-learn"), protocol=config.digest())
    file = memory / f"{key}.json"
    with suppress(OSError, ValueError):  # not there, or damaged: measured anew
        return json.loads(file.read_text())
    numbers, _ = measure(features, labels, config)
    replace_file(file, lambda partial: partial.write_text(json.dumps(numbers)))
    return numbers


def predict(probe: LinearProbe | None, features: np.ndarray, manifest: pd.DataFrame) -> pd.DataFrame:
    """The linear probe's prediction for each labelled test image.

    Returns:
        Columns `row` (of the features), `sha256`, `target`, `predicted`, `confidence` (the probability of `predicted`),
        and `group`, where the manifest has it; no rows without a probe.
    """
    rows = Labels.of(manifest).test if probe else np.empty(0, np.int64)
    columns = {"row": rows, "sha256": manifest.sha256.to_numpy()[rows], "target": manifest.target.to_numpy()[rows]}
    probabilities = probe.probabilities(features[rows]) if probe else np.empty((0, 1), np.float32)
    predicted = probe.classes[probabilities.argmax(1)] if probe else rows
    columns |= {"predicted": predicted, "confidence": probabilities.max(1, initial=0)}
    return pd.DataFrame(columns | ({"group": manifest.group.to_numpy()[rows]} if "group" in manifest else {}))


def in_order(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions of `predict` sorted by the images' content, with a column `right`: whether each prediction is right.

    The sorted predictions of two encoders for the same images correspond row by row. Groups become numbers; in
    predictions that were recorded without groups, each image is its own group.
    """
    answers = predictions.sort_values(["sha256", "row"], kind="stable", ignore_index=True)
    groups = pd.factorize(answers.group)[0] if "group" in answers else np.arange(len(answers))
    return answers.assign(right=answers.target == answers.predicted, group=groups)


def baselines_of(
    encoder: Saved, data: np.ndarray, pixels: Callable[[], np.ndarray], manifest: pd.DataFrame, config: Evaluation
) -> dict[str, Callable[[], np.ndarray]]:
    """Functions that compute the baselines' features (N, D) of the data, by name.

    Args:
        pixels: Returns the raw data as float32 (N, …).
    """
    pixels = cache(pixels)

    def pca() -> np.ndarray:
        from sklearn.decomposition import PCA  # a second to import

        train = pixels()[(manifest.split == "train").to_numpy()]
        dims = min(config.pca_dims, *train.shape)
        components = PCA(dims, random_state=config.seed).fit(train).transform(pixels()).astype(np.float32)
        return components @ random_rotation(dims, torch.Generator().manual_seed(config.seed)).numpy()

    return {
        "raw_input": pixels,
        "random_encoder": lambda: untrained(encoder, config.seed).embed(data),
        "pca": pca,
    }


def pixels_of(images: np.ndarray, most: int = PIXEL_SIDE) -> np.ndarray:
    """Pixels of uint8 (N, C, H, W) in [0, 1] as float32 rows, averaged down to at most `most` a side."""
    factor = math.ceil(images.shape[-1] / most)
    side = images.shape[-1] // factor
    rows = np.empty((len(images), images.shape[1] * side * side), np.float32)
    for start in range(0, len(images), 1024):
        chunk = images[start : start + 1024, :, : side * factor, : side * factor].astype(np.float32) / 255
        chunk = chunk.reshape(*chunk.shape[:2], side, factor, side, factor).mean((3, 5))
        rows[start : start + 1024] = chunk.reshape(len(chunk), -1)
    return rows


def _tell(measured: dict[str, Accuracies], config: Evaluation) -> None:
    numbers = {BASELINE_NAMES.get(name, name): each for name, each in measured.items()}
    candidates = config.regularisation
    ends = {min(candidates), max(candidates)} if len(candidates) > 1 else set()
    if beyond := [name for name, each in numbers.items() if each["regularisation"] in ends]:
        logger.info("an end of evaluation.regularisation was best for %s: one beyond may be better", ", ".join(beyond))
    few = next(iter(measured["encoder"]["few_label"]), None)  # the fewest labels
    if few:
        told = ", ".join(f"{name} {each['few_label'][few]['mean']:.1%}" for name, each in numbers.items())
        logger.info("%s: %s", in_words(few), told)
