"""Near-duplicates: whether two images show the same picture, with other colours, brightness, noise, or frame."""

from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unlabeled.storage.arrays import spread

COMPARED_SIDE = 32
"""Pixels a side at which images are compared."""
MAX_SHIFT = 2
"""Pixels, at COMPARED_SIDE, by which the frames of two images may be shifted against each other."""
FRAMES = 2 * MAX_SHIFT + 1
"""Shifts that are tried on either axis."""
SAME_EDGES, SAME_LEVELS = 0.7, 0.85
"""Least correlation of the edges, and of the levels, of two images that show the same picture. Levels alone would take
one horizon for another, edges alone one simple shape for another."""
SAME_TINY_LEVELS = 0.99
"""Least correlation of the levels of images smaller than COMPARED_SIDE, which are not shifted."""
CHANCE = 0.001
"""Probability of taking an image for the twin of one that it has nothing to do with."""
SAMPLED_ROWS = 3_000
"""Largest number of images that the mean image, and likeness by chance, are measured on."""
EVEN = 1.0
"""Standard deviation of an image's levels, of 255, below which nothing in it is recognisable."""
CHUNK = 256


def find_twins(
    images: np.ndarray, rows: np.ndarray, nearest: np.ndarray, bank: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compares images with their nearest in a bank, by what the bank's mean image does not explain of them.

    Args:
        images: uint8 (N, C, S, S); from COMPARED_SIDE on, only the mean of the channels is compared.
        rows, nearest: The rows of the images and of the nearest of each, int64 (n,).
        bank: The rows of the bank, int64 (m,), at least one.

    Returns:
        Likeness, float32 (n,) in [-1, 1], and whether both show the same picture, bool (n,).
    """
    known = spread(bank, SAMPLED_ROWS)
    mean = images[known].mean(0, dtype=np.float32)
    likeness, levels = _likeness(images, rows, nearest, mean)
    if images.shape[-1] < COMPARED_SIDE:
        return likeness, likeness > SAME_TINY_LEVELS
    others = np.random.default_rng(0).permutation(known)
    by_chance, _ = _likeness(images, others, np.roll(others, 1), mean, max_shift=0)
    least = max(SAME_EDGES, chance_limit(float(np.square(by_chance).mean()), len(bank)))
    return likeness, (likeness > least) & (levels > SAME_LEVELS)


def chance_limit(mean_square: float, count: int) -> float:
    """Correlation that an image reaches by chance, in one of its frames, with one of `count` others, with probability
    CHANCE.

    Correlations of independent images in D dimensions have the mean square 1 / D, and their squares follow a beta
    distribution. Simple drawings have few dimensions.
    """
    from scipy.stats import beta  # half a second to import

    dimensions = 1 / max(mean_square, 1e-6)
    if dimensions <= 1:
        return 1.0
    return float(np.sqrt(beta.isf(2 * CHANCE / (count * FRAMES**2), 0.5, (dimensions - 1) / 2)))


def _likeness(
    images: np.ndarray, rows: np.ndarray, others: np.ndarray, mean: np.ndarray, max_shift: int = MAX_SHIFT
) -> tuple[np.ndarray, np.ndarray]:
    """The correlation of edges, or of levels for tiny images, and that of levels, of each pair: float32 (n,)."""
    likeness, levels = np.zeros((2, len(rows)), np.float32)
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        likeness[part], levels[part] = _compare(images, rows[part], others[part], mean, max_shift)
    return likeness, levels


def _compare(
    images: np.ndarray, first: np.ndarray, second: np.ndarray, mean: np.ndarray, max_shift: int
) -> tuple[np.ndarray, np.ndarray]:
    pair = [torch.from_numpy(images[rows]).float() for rows in (first, second)]
    common = torch.from_numpy(mean)[None]
    shows = np.logical_and(*(each.std((1, 2, 3), correction=0).numpy() >= EVEN for each in pair))
    if images.shape[-1] < COMPARED_SIDE:
        levels = _correlation(*(each - common for each in pair)).numpy()
        return np.where(shows, levels, 0), levels
    edges, levels = _in_best_frame(*(_without(_small(each), _small(common)) for each in pair), max_shift)
    return np.where(shows, edges, 0), levels


def _small(images: Tensor) -> Tensor:
    """The mean of the channels, scaled down, without its mean level: (n, 1, COMPARED_SIDE, COMPARED_SIDE)."""
    small = functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), COMPARED_SIDE)
    return small - small.mean((2, 3), keepdim=True)


def _without(images: Tensor, common: Tensor) -> Tensor:
    """Images without what the mean image explains of them: subtracting it would make pale images alike."""
    share = (images * common).sum((1, 2, 3), keepdim=True) / common.square().sum().clamp(min=1e-6)
    return images - share * common


def _in_best_frame(first: Tensor, second: Tensor, max_shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of the edges, and of the levels, at the shift that makes the edges most alike; float32 (n,) each."""
    best = torch.full((len(first), 2), -1.0)
    here, shifts = _frame(second, 0, 0), range(-max_shift, max_shift + 1)
    for down, right in product(shifts, shifts):
        moved = _frame(first, down, right)
        alike = torch.stack([_correlation(_edges(moved), _edges(here)), _correlation(moved, here)], 1)
        best = torch.where(alike[:, :1] > best[:, :1], alike, best)
    edges, levels = best.T.numpy()
    return edges, levels


def _frame(images: Tensor, down: int, right: int) -> Tensor:
    """The middle of images (n, 1, S, S) without a margin of MAX_SHIFT, moved."""
    top, left, side = MAX_SHIFT + down, MAX_SHIFT + right, images.shape[-1] - 2 * MAX_SHIFT
    return images[:, :, top : top + side, left : left + side]


def _edges(images: Tensor) -> Tensor:
    """Differences of neighbouring pixels of images (n, 1, S, S), rightwards and downwards: (n, 2, S - 1, S - 1)."""
    return torch.cat([images.diff(dim=3)[:, :, :-1], images.diff(dim=2)[:, :, :, :-1]], 1)


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    """Correlation of each pair of images, over the last axes, (n,)."""
    first, second = (each.flatten(1) - each.flatten(1).mean(1, keepdim=True) for each in (first, second))
    return functional.cosine_similarity(first, second, eps=1e-6)
