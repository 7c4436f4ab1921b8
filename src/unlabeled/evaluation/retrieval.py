"""How well what belongs together is found again, beside chance and beside what words and pixels alone find."""

from collections.abc import Callable
from math import comb
from typing import Any

import numpy as np

CUTS = (1, 5, 10)
"""k, of recall at k."""
Similarity = Callable[[slice], np.ndarray]
"""Of some queries, by their rows, to each in a bank: (n, M)."""
QUERIES = 512
"""Ranked at a time."""


def recall(similarity: Similarity, queries: np.ndarray, bank: np.ndarray) -> dict[str, float]:
    """The share of queries of which one of the k most similar in the bank is right, by `recall_at_<k>`.

    Args:
        queries: What each is of, int64 (Q,).
        bank: The same of the bank, (M,): right is what is of the same, for captions that read alike are alike.
    """
    most = min(max(CUTS), len(bank))
    hits = np.zeros(most)
    for start in range(0, len(queries), QUERIES):
        rows = slice(start, start + QUERIES)
        scores = similarity(rows)
        top = np.argpartition(-scores, most - 1, axis=1)[:, :most]
        order = np.take_along_axis(scores, top, 1).argsort(1, kind="stable")[:, ::-1]
        right = bank[np.take_along_axis(top, order, 1)] == queries[rows, None]
        hits += np.maximum.accumulate(right, 1).sum(0)
    return _by_name([hits[min(k, most) - 1] / len(queries) for k in CUTS])


def chance(queries: np.ndarray, bank: np.ndarray) -> dict[str, float]:
    """What `recall` of similarities drawn at random is expected to be."""
    of, counts = np.unique(bank, return_counts=True)
    right, total = counts[np.searchsorted(of, queries)], len(bank)

    def missed(k: int) -> float:
        none = {number: comb(total - number, k) / comb(total, k) for number in set(right.tolist())}
        return float(np.mean([none[number] for number in right.tolist()]))

    return _by_name([1 - missed(min(k, total)) for k in CUTS])


def _by_name(values: list[Any]) -> dict[str, float]:
    return {f"recall_at_{k}": float(value) for k, value in zip(CUTS, values, strict=True)}
