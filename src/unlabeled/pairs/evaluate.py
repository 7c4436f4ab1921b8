"""Evaluation of two towers beside baselines: pixels and words alone, and untrained networks."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from unlabeled.evaluation.probe import Labels, LinearProbe
from unlabeled.evaluation.protocol import baselines_of, measure_all, pixels_of
from unlabeled.evaluation.retrieval import Similarity, chance, recall
from unlabeled.pairs.config import PairEvaluation
from unlabeled.pairs.towers import PairEncoder
from unlabeled.records import Measured

SHOWN_PAIRS, SHOWN_ANSWERS = 7, 6
"""Number of test pairs whose answers are kept to look at, and of answers for each."""


class Evaluated(NamedTuple):
    """The results of evaluation.

    Attributes:
        features: Features of the images, float32 (N, D).
        shown: A few test rows, each with the rows found for it, under `text_to_image` and `image_to_text`.
    """

    metrics: Measured
    features: np.ndarray
    probe: LinearProbe | None
    shown: dict[str, list[list[int]]]


def evaluate(
    encoder: PairEncoder, images: np.ndarray, manifest: pd.DataFrame, classes: list[str], config: PairEvaluation
) -> Evaluated:
    """Measures the images' tower by the protocol of images, and both towers by retrieval on the test split."""
    pixels = cache(lambda: pixels_of(images))
    baselines = baselines_of(encoder.first, images, pixels, manifest, config)
    metrics, features, probe = measure_all(encoder.embed(images), manifest, config, baselines)
    test = np.flatnonzero(manifest.split == "test")
    if not len(test):
        return Evaluated({**metrics, "retrieval": {}, "zero_shot_accuracy": None}, features, probe, {})
    found = _Search.of_split(manifest, test)
    first, second = encoder.projected("first", features[test]), encoder.shared("second", found.texts)
    metrics["retrieval"] = {
        **found.recalls(lambda queries: second[queries] @ first.T, lambda queries: first[queries] @ second.T),
        "baselines": {"chance": found.chances(), "bag_of_words": _bag_of_words(pixels(), manifest, test, found)},
    }
    metrics["zero_shot_accuracy"] = zero_shot_accuracy(encoder, features, manifest, classes, config)
    return Evaluated(metrics, features, probe, found.shown(first, second, config.seed))


def zero_shot_accuracy(
    encoder: PairEncoder, features: np.ndarray, manifest: pd.DataFrame, classes: list[str], config: PairEvaluation
) -> float | None:
    """Fraction of test images whose class has the nearest prompts; None without labels.

    Args:
        features: Features of all images, float32 (N, D).
    """
    labels = Labels.of(manifest)
    if not len(labels.test):
        return None
    prompts = [prompt.replace("{}", name) for prompt in config.prompts for name in classes]
    of_prompts = torch.from_numpy(encoder.shared("second", prompts)).unflatten(0, (len(config.prompts), len(classes)))
    of_classes = F.normalize(of_prompts.mean(0), dim=1).numpy()
    guessed = (encoder.projected("first", features[labels.test]) @ of_classes.T).argmax(1)
    return float((guessed == labels.targets[labels.test]).mean())


class _Search(NamedTuple):
    """Test images and their distinct captions; images with equal captions share one."""

    rows: np.ndarray
    """Rows of the images, (M,)."""
    texts: list[str]
    of: np.ndarray
    """Index of each image's text, (M,)."""
    first: np.ndarray
    """Index of the first image with each text."""

    @classmethod
    def of_split(cls, manifest: pd.DataFrame, rows: np.ndarray) -> "_Search":
        texts, first, of = np.unique(manifest.text.iloc[rows].tolist(), return_index=True, return_inverse=True)
        return cls(rows, texts.tolist(), of, first)

    def recalls(self, images_for: Similarity, texts_for: Similarity) -> dict[str, dict[str, float]]:
        """Recall in both directions, from similarities of some texts to all images, and of some images to all texts."""
        numbers = np.arange(len(self.texts))
        return {
            "text_to_image": recall(images_for, numbers, self.of),
            "image_to_text": recall(texts_for, self.of, numbers),
        }

    def chances(self) -> dict[str, dict[str, float]]:
        numbers = np.arange(len(self.texts))
        return {"text_to_image": chance(numbers, self.of), "image_to_text": chance(self.of, numbers)}

    def shown(self, images: np.ndarray, texts: np.ndarray, seed: int) -> dict[str, list[list[int]]]:
        """The nearest rows of the manifest for a few images drawn at random, and for their texts."""

        def nearest(query: np.ndarray, bank: np.ndarray, rows: np.ndarray) -> list[int]:
            return self.rows[rows[(-(query @ bank.T)).argsort(kind="stable")[:SHOWN_ANSWERS]]].tolist()

        drawn = np.random.default_rng(seed).permutation(len(self.rows))[:SHOWN_PAIRS]
        everything = np.arange(len(self.rows))
        return {
            "text_to_image": [[int(self.rows[i]), *nearest(texts[self.of[i]], images, everything)] for i in drawn],
            "image_to_text": [[int(self.rows[i]), *nearest(images[i], texts, self.first)] for i in drawn],
        }


def _bag_of_words(pixels: np.ndarray, manifest: pd.DataFrame, test: np.ndarray, search: _Search) -> dict[str, Any]:
    """Recall of a baseline: the nearest training image by pixels lends its caption, and the nearest caption by words
    its image."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # a second to import

    train = np.flatnonzero(manifest.split == "train")
    words = TfidfVectorizer(token_pattern=r"\w+").fit(manifest.text.iloc[train])
    known, asked = words.transform(manifest.text.iloc[train]), words.transform(search.texts)  # sparse
    images = torch.from_numpy(pixels)

    def images_for(texts: slice) -> np.ndarray:
        imagined = train[(asked[texts] @ known.T).toarray().argmax(1)]
        return -torch.cdist(images[imagined], images[test]).numpy()

    def texts_for(some: slice) -> np.ndarray:
        nearest = torch.cdist(images[test[some]], images[train]).argmin(1).numpy()
        return (known[nearest] @ asked.T).toarray()

    return search.recalls(images_for, texts_for)
