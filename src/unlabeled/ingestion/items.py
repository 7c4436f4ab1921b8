"""An image that is not decoded yet, with what is known of its label, and a stream of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from unlabeled.ingestion.walk import LeftOut

Row = TypeVar("Row")


@dataclass(frozen=True)
class Item:
    """An image that is not decoded yet.

    Attributes:
        path: Where it came from.
        content: The file to read, its bytes, or an array (H, W) or (H, W, C) of uint8; None: it is missing.
        label: Its class; None: unlabelled.
        split: The official one, in {train, validation, test}; None: by content hash.
        group: The name of what it belongs to: no split divides it. None: nothing.
        reason: Why it cannot be used, where its source knows.
    """

    path: str
    content: Path | bytes | np.ndarray | None
    label: str | None = None
    split: str | None = None
    group: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Understood:
    """What a source was taken to mean.

    Attributes:
        official: By split that it brings (train, validation, test), what says so: folders, files or a column.
        left_out: Files that are no data.
        warnings: What may have been misunderstood, a sentence each.
    """

    official: Mapping[str, str] = field(default_factory=dict)
    left_out: LeftOut = field(default_factory=LeftOut)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """A stream of `total` items, and what its source was taken to mean.

    Attributes:
        sample: Gives about as many items as it is asked for, spread over the whole stream, of which it takes none.
    """

    items: Iterator[Item]
    total: int
    understood: Understood = field(default_factory=Understood)
    sample: Callable[[int], Iterable[Item]] = field(kw_only=True)


def spread_over(total: int, count: int) -> np.ndarray:
    """At most `count` numbers below `total` in ascending order, one drawn from each of as many equal parts, always the
    same. (Where two kinds take turns, as images and their masks do, numbers at equal distances may all be of one.)"""
    ends = np.arange(1 + min(total, count)) * total // max(1, min(total, count))
    return ends[:-1] + (np.random.default_rng(0).random(len(ends) - 1) * np.diff(ends)).astype(int)


def sample_of(rows: Sequence[Row], count: int) -> list[Row]:
    """At most `count` of some rows, spread over all of them."""
    return [rows[number] for number in spread_over(len(rows), count)]
