"""Near-duplicates: whether two images show the same picture, with other colours, brightness, noise, or frame."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

COMPARED_SIDE = 32
"""Pixels a side at which images are compared."""
MAX_SHIFT = 2
"""Pixels, at COMPARED_SIDE, by which the frames of two images may be shifted against each other."""
SAME_EDGES, SAME_LEVELS = 0.7, 0.85
"""Least correlation of the edges, and of the levels, of two images that show the same picture. Levels alone would take
one horizon for another, edges alone one simple shape for another."""
SAME_TINY_LEVELS = 0.99
"""The same for images smaller than COMPARED_SIDE, whose few pixels correlate by chance; they may not be shifted."""
EVEN = 1.0
"""Standard deviation of an image's levels, of 255, below which nothing in it is recognisable."""
CHUNK = 256


def are_twins(
    images: np.ndarray, first: np.ndarray, second: np.ndarray, mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compares pairs of images by what the mean image does not explain of them.

    Args:
        images: uint8 (N, C, S, S); from COMPARED_SIDE on, only the mean of the channels is compared.
        first, second: Rows of each pair, int64 (n,).
        mean: The mean image, float32 (C, S, S).

    Returns:
        Likeness, float32 (n,) in [-1, 1], and whether both show the same picture, bool (n,).
    """
    if not len(first):
        return np.empty(0, np.float32), np.empty(0, bool)
    parts = [_compare(images, first[i : i + CHUNK], second[i : i + CHUNK], mean) for i in range(0, len(first), CHUNK)]
    likeness, same = (np.concatenate(each) for each in zip(*parts, strict=True))
    return likeness, same


def _compare(
    images: np.ndarray, first: np.ndarray, second: np.ndarray, mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    pair = [torch.from_numpy(images[rows]).float() for rows in (first, second)]
    common = torch.from_numpy(mean)[None]
    shows = np.logical_and(*(images[rows].std((1, 2, 3)) >= EVEN for rows in (first, second)))
    if images.shape[-1] < COMPARED_SIDE:
        likeness = _correlation(*(each - common for each in pair)).numpy()
        return np.where(shows, likeness, 0), shows & (likeness > SAME_TINY_LEVELS)
    edges, levels = _in_best_frame(*(_without(_small(each), _small(common)) for each in pair))
    return np.where(shows, edges, 0), shows & (edges > SAME_EDGES) & (levels > SAME_LEVELS)


def _small(images: Tensor) -> Tensor:
    """The mean of the channels, scaled down, without its mean level: (n, 1, COMPARED_SIDE, COMPARED_SIDE)."""
    small = functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), COMPARED_SIDE)
    return small - small.mean((2, 3), keepdim=True)


def _without(images: Tensor, common: Tensor) -> Tensor:
    """Images without what the mean image explains of them: subtracting it would make pale images alike."""
    share = (images * common).sum((1, 2, 3), keepdim=True) / common.square().sum().clamp(min=1e-6)
    return images - share * common


def _in_best_frame(first: Tensor, second: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of the edges, and of the levels, at the shift that makes the edges most alike; float32 (n,) each."""
    best = torch.full((len(first), 2), -1.0)
    here, there = _frame(second, MAX_SHIFT, MAX_SHIFT), 2 * MAX_SHIFT + 1
    for down in range(there):
        for right in range(there):
            moved = _frame(first, down, right)
            alike = torch.stack([_correlation(_edges(moved), _edges(here)), _correlation(moved, here)], 1)
            best = torch.where(alike[:, :1] > best[:, :1], alike, best)
    edges, levels = best.T.numpy()
    return edges, levels


def _frame(images: Tensor, top: int, left: int) -> Tensor:
    """A part of images (n, 1, S, S), without a margin of together 2 MAX_SHIFT on either axis."""
    side = images.shape[-1] - 2 * MAX_SHIFT
    return images[:, :, top : top + side, left : left + side]


def _edges(images: Tensor) -> Tensor:
    """Differences of neighbouring pixels of images (n, 1, S, S), rightwards and downwards: (n, 2, S - 1, S - 1)."""
    return torch.cat([images.diff(dim=3)[:, :, :-1], images.diff(dim=2)[:, :, :, :-1]], 1)


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    """Correlation of each pair of images, over the last axes, (n,)."""
    first, second = (each.flatten(1) - each.flatten(1).mean(1, keepdim=True) for each in (first, second))
    return functional.cosine_similarity(first, second, eps=1e-6)
