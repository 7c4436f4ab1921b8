"""How sure an accuracy is: intervals, and whether two encoders differ on the same test images."""

import math
from typing import NamedTuple

import numpy as np


class Difference(NamedTuple):
    """How much more often the first is right, with its 95 % interval, and how likely so much is by chance."""

    mean: float
    low: float
    high: float
    p_value: float


def wilson_interval(accuracy: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of a share seen in `count` trials, 95 % by default (Wilson 1927)."""
    if not count:
        return 0.0, 1.0
    centre = (accuracy + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(accuracy * (1 - accuracy) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return max(0.0, centre - half), min(1.0, centre + half)


def holm(p_values: list[float], level: float = 0.05) -> list[bool]:
    """Which of several tests are significant together at a level, by Holm's step-down rule (1979)."""
    significant, order = [False] * len(p_values), sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, i in enumerate(order):
        if p_values[i] > level / (len(p_values) - rank):
            break
        significant[i] = True
    return significant


def paired_bootstrap(first: np.ndarray, second: np.ndarray, draws: int = 10_000, seed: int = 0) -> Difference:
    """The difference of two accuracies on the same images, by resampling the images (Efron & Tibshirani 1993).

    Args:
        first, second: Whether each was right, bool of shape (N,), image by image.

    Returns:
        The difference, the 2.5th and 97.5th percentile of its draws, and a two-sided p-value: twice the share of draws
        on the other side of zero (ties count half), never less than 1 / draws.

    Raises:
        ValueError: The two are not of the same images.
    """
    if first.shape != second.shape or not len(first):
        raise ValueError(f"received answers to {len(first)} and {len(second)} images, expected the same ones")
    gains = first.astype(np.int8) - second.astype(np.int8)
    # Drawing N images with replacement is drawing how often each of the three outcomes comes up.
    shares = np.array([(gains == outcome).mean() for outcome in (-1, 0, 1)])
    counts = np.random.default_rng(seed).multinomial(len(gains), shares, draws)
    drawn = (counts[:, 2] - counts[:, 0]) / len(gains)
    low, high = np.percentile(drawn, [2.5, 97.5])
    below, ties = (drawn < 0).mean(), (drawn == 0).mean()
    one_sided = min(below, 1 - below - ties) + ties / 2
    return Difference(float(gains.mean()), float(low), float(high), float(min(1.0, max(2 * one_sided, 1 / draws))))
