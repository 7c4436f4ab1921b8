"""Groups of rows that belong together: no split divides a group, and an accuracy counts it as one observation.

Groups follow from `ingestion.group` (patients, bursts, videos that clips are cut from). Without it, the passages of a
document form a group, and so do images or clips with equal stored pixels.
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
    """The identity of each row for an encoder: the checksum of its stored pixels, else the sha256 of its content.

    Files with equal stored pixels may differ in compression, in metadata, or in what was cut off.
    """
    return manifest["checksum" if "checksum" in manifest else "sha256"]


class Grouper:
    """Assigns groups by `ingestion.group`, and warns of items that are in none.

    Args:
        group: Value of `ingestion.group`.
    """

    def __init__(self, group: str | None):
        self.group, self.column = group, column_of(group)
        self.asked, self.alone = 0, []

    def grouped(self, items: Iterable[Item]) -> Iterator[Item]:
        """Items with their groups; without `ingestion.group`, with the groups that they came with."""
        for item in items:
            yield replace(item, group=self.group_of(item.path, item.group))

    def group_of(self, path: str, said: str | None = None) -> str | None:
        """The group of the item with this path; None: it is in no group.

        Args:
            said: The group that metadata name; None: they name none.
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
    """The part of a path that an expression matches: its first group in parentheses, else the whole match."""
    found = re.search(expression, path)
    return next(filter(None, found.groups()), found[0]) if found else None


def group_column(item: Item, checksum: int) -> str:
    """The group of a row in its manifest."""
    return item.group or f"{checksum:016x}"


def named_groups(manifest: pd.DataFrame, group: str | None) -> pd.Series | str:
    """The groups as they enter a digest of the data: their names where `ingestion.group` makes them, else nothing."""
    return manifest.group if group else ""


def divided_groups(manifest: pd.DataFrame, by: str) -> list[str]:
    """A warning of groups that official splits divide, if there are any; arguments as of `groups_of`."""
    splits = manifest[manifest.split != "excluded"].groupby("group").split.nunique()
    divided = splits.index[splits > 1]
    if not len(divided):
        return []
    return [
        f"{len(divided):,} groups ({by}) lie in several official splits, such as {divided[0]}: accuracy on test is "
        f"then partly that on groups which were learned from"
    ]


def groups_of(manifest: pd.DataFrame, by: str, unit: str) -> dict[str, Groups]:
    """Entry `groups` of the summary.

    Args:
        manifest: Table with the columns group and split.
        by: Rule that makes the groups, in words.
        unit: Name of the rows in the plural.
    """
    splits = {split: int(count) for split, count in manifest.groupby("split").group.nunique().items()}
    rows = {split: int(count) for split, count in manifest.split.value_counts().items()}
    return {"groups": {"by": by, "unit": unit, "count": int(manifest.group.nunique()), "splits": splits, "rows": rows}}


def sentence_of(summary: Summary) -> str:
    """Number of groups of each split, in words; empty where each row is its own group, or groups were not counted."""
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
