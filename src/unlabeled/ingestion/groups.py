"""Which rows belong together: no split divides a group, and an accuracy counts it as one observation.

Groups are what `ingestion.group` says (patients, bursts, videos that clips are cut from), else the passages of a
document, and images or clips with equal stored pixels.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pandas as pd

from unlabeled.config import column_of
from unlabeled.ingestion.items import Item
from unlabeled.ingestion.splits import SPLITS
from unlabeled.records import Groups, Summary
from unlabeled.runtime.counts import counted


def contents(manifest: pd.DataFrame) -> pd.Series:
    """What each row is to an encoder: the checksum of its stored pixels, else the sha256 of its content.

    Files may differ where their stored pixels are equal: in compression, in metadata, or in what was cut off.
    """
    return manifest["checksum" if "checksum" in manifest else "sha256"]


class Grouper:
    """Groups by `ingestion.group`, and a warning of what is in none.

    Args:
        group: As `ingestion.group`.
    """

    def __init__(self, group: str | None):
        self.group, self.column = group, column_of(group)
        self.asked, self.alone = 0, []

    def grouped(self, items: Iterable[Item]) -> Iterator[Item]:
        """Items in their groups; without `ingestion.group` in those that they came with."""
        for item in items:
            yield replace(item, group=self.group_of(item.path, item.group))

    def group_of(self, path: str, said: str | None = None) -> str | None:
        """The group of what has this path; None: it is in none.

        Args:
            said: What metadata name as its group.
        """
        if self.group is None:
            return said
        self.asked += 1
        group = said if self.column else _found_in(self.group, path)
        if not group:
            self.alone.append(path)
        return group or None

    def warnings(self) -> list[str]:
        """A sentence on the paths so far that are in no group, if there are any."""
        if not self.alone:
            return []
        return [
            f"ingestion.group={self.group!r} says nothing of {len(self.alone):,} of {self.asked:,} paths, such as "
            f"{self.alone[0]}: each of them is a group of its own"
        ]


def _found_in(expression: str, path: str) -> str | None:
    """What an expression finds in a path: its first group in parentheses, else all."""
    found = re.search(expression, path)
    return next(filter(None, found.groups()), found[0]) if found else None


def group_column(item: Item, checksum: int) -> str:
    """The group of a row, as its manifest has it."""
    return item.group or f"{checksum:016x}"


def named_groups(manifest: pd.DataFrame, group: str | None) -> pd.Series | str:
    """What a digest of the data takes from groups: their names where `ingestion.group` makes them, else nothing."""
    return manifest.group if group else ""


def divided_groups(manifest: pd.DataFrame, by: str) -> list[str]:
    """A warning of the groups that official splits divide, if there are any; arguments as of `groups_of`."""
    splits = manifest[manifest.split != "excluded"].groupby("group").split.nunique()
    divided = splits.index[splits > 1]
    if not len(divided):
        return []
    return [
        f"{len(divided):,} groups ({by}) lie in several official splits, such as {divided[0]}: accuracy on test is "
        f"then partly that on groups which were learned from"
    ]


def groups_of(manifest: pd.DataFrame, by: str, unit: str) -> dict[str, Groups]:
    """What a summary says of groups, under `groups`.

    Args:
        manifest: With the columns group and split.
        by: What makes the groups, in words.
        unit: What a row is, in the plural.
    """
    splits = {split: int(count) for split, count in manifest.groupby("split").group.nunique().items()}
    rows = {split: int(count) for split, count in manifest.split.value_counts().items()}
    return {"groups": {"by": by, "unit": unit, "count": int(manifest.group.nunique()), "splits": splits, "rows": rows}}


def sentence_of(summary: Summary) -> str:
    """How many groups the rows of each split are in; empty where each row is one, or nobody has counted."""
    groups = summary.get("groups")
    if not groups:
        return ""
    counts = [(split, groups["rows"][split], groups["splits"][split]) for split in SPLITS if split in groups["rows"]]
    unit = groups["unit"]
    told = [
        f"{counted(rows, f'{split} {unit}')} in {counted(count, 'groups')}"
        for split, rows, count in counts
        if count < rows
    ]
    return f"{', '.join(told)} ({groups['by']})" if told else ""
