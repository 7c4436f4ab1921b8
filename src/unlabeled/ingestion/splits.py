"""Splits of items: the official split where there is one, else a split drawn by group or content."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

SPLITS = ("train", "validation", "test")
HELD_OUT = ("validation", "test")


@dataclass(frozen=True)
class SplitRule:
    """Rule that keeps official validation and test splits, and draws those that are missing from the other items.

    Splits are drawn by content: an item keeps its split when others are added, and copies of it land in the same one. A
    group is drawn as a whole, by its name.

    Attributes:
        official: Official splits of the source, and where they are named.
        validation_fraction, test_fraction: Fractions to draw, in [0, 1).
    """

    official: Mapping[str, str]
    validation_fraction: float
    test_fraction: float

    def split_of(self, digest: str, own: str | None, group: str | None = None) -> str:
        """The split of an item.

        Args:
            digest: Digest of its content, in hexadecimal digits.
            own: Its official split; None: it has none.
            group: Its group, which then decides in place of the content; None: it has none.
        """
        if own in HELD_OUT:
            return own
        place = position((hashlib.sha256(group.encode()).hexdigest() if group else digest)[:13])
        if place < self.validation_fraction:
            drawn = "validation"
        else:
            drawn = "test" if place < self.validation_fraction + self.test_fraction else "train"
        return "train" if drawn in self.official else drawn

    def __str__(self) -> str:
        """The origin of the splits, in words."""
        shares = {"validation": self.validation_fraction, "test": self.test_fraction}
        drawn = [f"{split} ({share:.0%})" for split, share in shares.items() if share and split not in self.official]
        brought = ", ".join(dict.fromkeys(self.official[split] for split in SPLITS if split in self.official))
        if not brought:
            return f"drawn by content: {' and '.join(drawn) or 'all for training'}"
        return f"official: {brought}" + (f"; drawn from train by content: {' and '.join(drawn)}" if drawn else "")


def position(digits: str) -> float:
    """Position of a part of a digest among all digests of its length, in [0, 1)."""
    return int(digits, 16) / 16 ** len(digits)
