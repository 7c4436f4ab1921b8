"""An image that is not decoded yet, with what is known of its label, and a stream of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from unlabeled.walk import LeftOut


@dataclass(frozen=True)
class Item:
    """An image that is not decoded yet.

    Attributes:
        path: Where it came from.
        content: The file to read, its bytes, or an array (H, W) or (H, W, C) of uint8; None: it is missing.
        label: Its class; None: unlabelled.
        split: The official one, in {train, validation, test}; None: by content hash.
        group: What decides its split in place of its content; None: nothing does.
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
    """A stream of `total` items, and what its source was taken to mean."""

    items: Iterator[Item]
    total: int
    understood: Understood = field(default_factory=Understood)
