"""Which split an item falls into: the official one that it came with, else one that its group or content decides."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

SPLITS = ("train", "validation", "test")
HELD_OUT = ("validation", "test")


@dataclass(frozen=True)
class SplitRule:
    """Official validation and test splits stay as they are; one that is missing is drawn from all else.

    It is drawn by content: an item stays where it is when others are added, and copies of it land on one side.
    A group is drawn as a whole, by its name.

    Attributes:
        official: By split that the source brings, what says so.
        validation_fraction, test_fraction: Shares to draw, in [0, 1).
    """

    official: Mapping[str, str]
    validation_fraction: float
    test_fraction: float

    def split_of(self, digest: str, own: str | None, group: str | None = None) -> str:
        """The split of an item.

        Args:
            digest: Of its content, in hexadecimal digits.
            own: The official split that it is in; None: it came without one.
            group: What it must not be divided from, which then decides in place of the content; None: nothing.
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
        """What decides the splits, in words."""
        shares = {"validation": self.validation_fraction, "test": self.test_fraction}
        drawn = [f"{split} ({share:.0%})" for split, share in shares.items() if share and split not in self.official]
        brought = ", ".join(dict.fromkeys(self.official[split] for split in SPLITS if split in self.official))
        if not brought:
            return f"drawn by content: {' and '.join(drawn) or 'all for training'}"
        return f"official: {brought}" + (f"; drawn from train by content: {' and '.join(drawn)}" if drawn else "")


def position(digits: str) -> float:
    """Where a part of a digest lies between the first and the last there is, in [0, 1)."""
    return int(digits, 16) / 16 ** len(digits)
