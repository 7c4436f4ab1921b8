"""Evaluation of a text encoder beside TF-IDF, an untrained network, and models that count tokens."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from unlabeled.config import Evaluation
from unlabeled.encoders import untrained
from unlabeled.evaluation.probe import LinearProbe
from unlabeled.evaluation.protocol import measure_all
from unlabeled.method import load_method
from unlabeled.records import Measured
from unlabeled.text.encoder import TextEncoder
from unlabeled.text.ingest import texts_of

MAX_TERMS = 2000
"""Number of terms of TF-IDF, the most frequent ones of the training split."""


class Evaluated(NamedTuple):
    """The results of evaluation: metrics, features (N, D) of the passages, the linear probe, and texts to read."""

    metrics: Measured
    features: np.ndarray
    probe: LinearProbe | None
    shown: list[tuple[str, str]]


def evaluate(encoder: TextEncoder, method: str, manifest: pd.DataFrame, config: Evaluation) -> Evaluated:
    """Measures an encoder and its baselines on the passages' labels, and the encoder on its training task."""
    texts = manifest.text.tolist()
    baselines = _baselines(encoder, manifest, config)
    metrics, features, probe = measure_all(encoder.embed(texts), manifest, config, baselines, unit="passages")
    splits = (texts_of(manifest, split) for split in ("train", "validation", "test"))
    metrics["language"], shown = load_method(method).assess(encoder, *splits)
    return Evaluated(metrics, features, probe, shown)


def _baselines(encoder: TextEncoder, manifest: pd.DataFrame, config: Evaluation) -> dict[str, Callable[[], np.ndarray]]:
    texts = manifest.text.tolist()

    def tfidf() -> np.ndarray:
        from sklearn.feature_extraction.text import TfidfVectorizer  # a second to import

        vectorizer = TfidfVectorizer(sublinear_tf=True, max_features=MAX_TERMS)
        vectorizer.fit(manifest.text[manifest.split == "train"])
        return vectorizer.transform(texts).toarray().astype(np.float32)

    return {"tfidf": tfidf, "random_encoder": lambda: untrained(encoder, config.seed).embed(texts)}
