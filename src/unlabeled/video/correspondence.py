"""Accuracy of telling whether a sound belongs to a video, with equally many matching and non-matching pairs."""

from typing import NamedTuple

import numpy as np


class Correspondence(NamedTuple):
    """Similarities in [−1, 1] of videos with their own sound, (N,), and with another's, (N,)."""

    own: np.ndarray
    other: np.ndarray

    def accuracy(self, threshold: float) -> float:
        """Fraction of correct answers where pairs above the threshold are taken as matching; 0.5 by chance."""
        return float(((self.own > threshold).mean() + (self.other <= threshold).mean()) / 2)

    def threshold(self) -> float:
        """The threshold of highest accuracy, midway between two similarities."""
        values = np.unique([self.own, self.other])
        between = (values[1:] + values[:-1]) / 2 if len(values) > 1 else values
        right = np.searchsorted(np.sort(self.other), between, "right") - np.searchsorted(np.sort(self.own), between)
        return float(between[right.argmax()])

    def best(self) -> float:
        """Accuracy at the best threshold."""
        return self.accuracy(self.threshold())


def correspondence(first: np.ndarray, second: np.ndarray, seed: int = 0) -> Correspondence:
    """Similarities from unit vectors of videos and of their sounds, (N, P) each, row by row; N ≥ 2.

    The other sounds are drawn at random, by a permutation without fixed points.
    """
    order = np.random.default_rng(seed).permutation(len(first))
    other = np.empty_like(order)
    other[order] = np.roll(order, 1)
    return Correspondence((first * second).sum(1), (first * second[other]).sum(1))
