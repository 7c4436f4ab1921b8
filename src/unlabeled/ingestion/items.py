"""Items: images that are not decoded yet, with their labels where known, and streams of them."""

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
        path: Name of its origin, such as its path below the source's folder.
        content: The file to read, its bytes, or an array (H, W) or (H, W, C) of uint8; None: the file is missing.
        label: Its class; None: unlabelled.
        split: The official one, in {train, validation, test}; None: by content hash.
        group: Name of the group that it belongs to, which no split divides; None: no group.
        reason: Why it cannot be used, where its source knows; None otherwise.
    """

    path: str
    content: Path | bytes | np.ndarray | None
    label: str | None = None
    split: str | None = None
    group: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Understood:
    """The interpretation of a source.

    Attributes:
        official: Official splits (train, validation, test) and where they are named: folders, files or a column.
        left_out: Files that are not data.
        warnings: Sentences on what may have been misunderstood.
    """

    official: Mapping[str, str] = field(default_factory=dict)
    left_out: LeftOut = field(default_factory=LeftOut)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """A stream of `total` items, and the interpretation of their source.

    Attributes:
        sample: Returns about the given number of items, spread over the whole stream, without consuming it.
    """

    items: Iterator[Item]
    total: int
    understood: Understood = field(default_factory=Understood)
    sample: Callable[[int], Iterable[Item]] = field(kw_only=True)


def spread_over(total: int, count: int) -> np.ndarray:
    """At most `count` numbers below `total` in ascending order: one drawn, always the same, from each of as many equal
    parts. (Numbers at equal distances could all fall on one of two alternating kinds, such as images and their
    masks.)"""
    ends = np.arange(1 + min(total, count)) * total // max(1, min(total, count))
    return ends[:-1] + (np.random.default_rng(0).random(len(ends) - 1) * np.diff(ends)).astype(int)


def sample_of(rows: Sequence[Row], count: int) -> list[Row]:
    """At most `count` of some rows, spread over all of them."""
    return [rows[number] for number in spread_over(len(rows), count)]
