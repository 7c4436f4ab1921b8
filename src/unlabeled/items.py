"""An image that is not decoded yet, with what is known of its label, and a stream of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np


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
class Source:
    """A stream of `total` items."""

    items: Iterator[Item]
    total: int
