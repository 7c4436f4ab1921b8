"""Retrieval of matching items, compared with chance and with words and pixels alone."""

from collections.abc import Callable
from math import comb
from typing import Any

import numpy as np

CUTS = (1, 5, 10)
"""Values of k for recall at k."""
Similarity = Callable[[slice], np.ndarray]
"""A function from some queries, given by their rows, to their similarities (n, M) to all items of the bank."""
QUERY_BATCH_SIZE = 512
"""Queries that are ranked at a time."""


def recall(similarity: Similarity, queries: np.ndarray, bank: np.ndarray) -> dict[str, float]:
    """Recall at k by `recall_at_<k>`: the fraction of queries with a correct item among the k most similar of the bank.

    Args:
        queries: Identity of each query, int64 (Q,).
        bank: Identity of each item, (M,). An item is correct if it has the query's identity, as equal captions do.
    """
    most = min(max(CUTS), len(bank))
    hits = np.zeros(most)
    for start in range(0, len(queries), QUERY_BATCH_SIZE):
        rows = slice(start, start + QUERY_BATCH_SIZE)
        scores = similarity(rows)
        top = np.argpartition(-scores, most - 1, axis=1)[:, :most]
        order = np.take_along_axis(scores, top, 1).argsort(1, kind="stable")[:, ::-1]
        right = bank[np.take_along_axis(top, order, 1)] == queries[rows, None]
        hits += np.maximum.accumulate(right, 1).sum(0)
    return _by_name([hits[min(k, most) - 1] / len(queries) for k in CUTS])


def chance(queries: np.ndarray, bank: np.ndarray) -> dict[str, float]:
    """The expected `recall` of random similarities."""
    of, counts = np.unique(bank, return_counts=True)
    right, total = counts[np.searchsorted(of, queries)], len(bank)

    def missed(k: int) -> float:
        none = {number: comb(total - number, k) / comb(total, k) for number in set(right.tolist())}
        return float(np.mean([none[number] for number in right.tolist()]))

    return _by_name([1 - missed(min(k, total)) for k in CUTS])


def _by_name(values: list[Any]) -> dict[str, float]:
    return {f"recall_at_{k}": float(value) for k, value in zip(CUTS, values, strict=True)}
