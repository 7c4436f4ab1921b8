"""Measurements of an encoder during its training."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch

from unlabeled.config import Evaluation
from unlabeled.errors import TrainingError
from unlabeled.evaluation import health
from unlabeled.evaluation.probe import Labels, knn_accuracy
from unlabeled.storage.arrays import spread
from unlabeled.training.collapse import REMEDY

MAX_MONITORED_IMAGES = 2048
"""Largest number of images of each split that the monitor embeds."""


def embedding_monitor(
    encoder: Any, data_of: Callable[[np.ndarray], Any], manifest: pd.DataFrame, most: int
) -> Callable[[], dict[str, float]]:
    """A function that measures kNN accuracy on the validation split, and the health of the embedding of a fixed sample.

    Args:
        encoder: An encoder of any kind of data.
        data_of: Returns the encoder's input for some rows of the manifest.
        most: Largest number of rows of each split that are embedded.
    """
    sampled = np.concatenate(
        [spread(np.flatnonzero(manifest.split == split), most) for split in ("train", "validation")]
    )
    labels, data = Labels.of(manifest.iloc[sampled]), data_of(sampled)
    train = np.flatnonzero(manifest.split.iloc[sampled] == "train")
    can_vote = len(labels.validation) > 0 and len(np.unique(labels.targets[labels.train])) > 1
    protocol = Evaluation()

    def measure() -> dict[str, float]:
        features = encoder.embed(data)
        if not np.isfinite(features).all():
            raise TrainingError(f"the embedding is not finite: {REMEDY}")
        embedding = torch.from_numpy(features[train])
        measured = {"embedding_std": health.embedding_std(embedding), "rankme": health.rankme(embedding)}
        if can_vote:
            measured["knn_accuracy"] = knn_accuracy(features, labels, protocol, on="validation")
        return measured

    return measure
