"""n-gram models, which are baselines that count tokens."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

Table = tuple[dict[bytes, int], dict[bytes, list[int]]]


class KneserNey:
    """An interpolated n-gram model with modified Kneser–Ney smoothing.

        p(w | c) = max(0, n(c w) − D(n(c w))) / n(c) + (Σ of the discounts) / n(c) · p(w | c without its first symbol)

    Below the highest order, n counts how many different symbols came before (Chen & Goodman 1999, section 3; the three
    discounts of an order follow from its counts of counts).

    Args:
        texts: Sequences of symbol numbers, each integer array below `symbols`.
        symbols: Number of different symbols.
        order: The longest n-gram; contexts have one symbol less.
    """

    def __init__(self, texts: Sequence[np.ndarray], symbols: int, order: int):
        self.symbols, self.order = symbols, order
        counts: list[dict[bytes, int]] = [defaultdict(int) for _ in range(order + 1)]
        for text in map(_packed, texts):
            for end in range(WIDTH, len(text) + 1, WIDTH):
                length = min(order, end // WIDTH)  # at the start of a text the context is shorter
                counts[length][text[end - length * WIDTH : end]] += 1
        for length in range(order, 1, -1):
            for gram in counts[length]:
                counts[length - 1][gram[WIDTH:]] += 1
        self._tables = [_table(each, length) for length, each in enumerate(counts)]

    def bits(self, text: np.ndarray) -> float:
        """Number of bits of a text under the model."""
        packed, total = _packed(text), 0.0
        for end in range(WIDTH, len(packed) + 1, WIDTH):
            total -= np.log2(self.probability(packed[max(0, end - self.order * WIDTH) : end]))
        return total

    def probability(self, gram: bytes) -> float:
        """Probability of the last symbol of a packed n-gram, given those before it."""
        p = 1 / self.symbols
        for length in range(1, len(gram) // WIDTH + 1):
            counts, contexts, discounts = self._tables[length]
            ending = gram[len(gram) - length * WIDTH :]
            context = contexts.get(ending[:-WIDTH])
            if context is None:
                break
            total, *kinds = context
            count = counts.get(ending, 0)
            left = sum(d * n for d, n in zip(discounts[1:], kinds, strict=True))
            p = (count - discounts[min(count, 3)]) / total + left / total * p
        return p


WIDTH = 4
"""Bytes of a symbol in a packed n-gram."""


def _packed(text: np.ndarray) -> bytes:
    return np.asarray(text, np.uint32).tobytes()


def _table(counts: dict[bytes, int], length: int):
    """Counts of n-grams; for each context its total and the numbers of symbols that follow once, twice and more often;
    and discounts."""
    contexts: dict[bytes, list[int]] = {}
    frequencies = [0] * 5
    for gram, count in counts.items():
        frequencies[min(count, 5) - 1] += 1
        context = contexts.setdefault(gram[:-WIDTH], [0, 0, 0, 0])
        context[0] += count
        context[min(count, 3)] += 1
    once, twice, thrice, four, _ = frequencies
    y = once / max(1, once + 2 * twice)
    usual = (1 - 2 * y * twice / max(1, once), 2 - 3 * y * thrice / max(1, twice), 3 - 4 * y * four / max(1, thrice))
    discounts = [0.0, *(min(max(d, 0.05), k - 0.05) for k, d in enumerate(usual, 1))]
    return dict(counts), contexts, discounts
