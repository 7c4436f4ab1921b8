"""Contents of an ingestion: images by class and split, the origin of the splits, and the files that were left out."""

import logging
from collections import Counter
from collections.abc import Sequence
from io import StringIO
from typing import Any

import pandas as pd
import rich
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unlabeled.ingestion.groups import sentence_of
from unlabeled.ingestion.items import Understood
from unlabeled.ingestion.splits import SPLITS
from unlabeled.ingestion.walk import LeftOut
from unlabeled.records import Summary
from unlabeled.runtime.counts import counted
from unlabeled.runtime.legible import legible

logger = logging.getLogger(__name__)

MAX_LISTED_CLASSES = 20
"""Largest number of classes that are listed; all others share one line."""
ALL = "all"
UNLABELLED = ""
"""Key of unlabelled rows in the counts: no class has this name."""

Counts = dict[str, dict[str, int]]
"""Numbers of rows by class and split."""


def contents_of(
    manifest: pd.DataFrame, classes: Sequence[str], understood: Understood, how: str, warnings: Sequence[str] = ()
) -> dict[str, Any]:
    """Entries of the summary on the contents: `counts`, `splits_from`, `left_out` and `warnings`.

    Args:
        manifest: Table with the columns label and split.
        classes: Names of the classes, in order.
        how: Origin of the splits, in words.
        warnings: Warnings about the rows, in addition to those of the source.
    """
    counts: Counts = {name: {} for name in [*classes, UNLABELLED]}
    found = Counter(zip(manifest.label.fillna(UNLABELLED), manifest.split, strict=True))
    for (label, split), count in sorted(found.items()):
        counts[label][split] = count
    return {
        "counts": {name: by_split for name, by_split in counts.items() if by_split},
        "splits_from": how,
        "left_out": understood.left_out.summary(),
        "warnings": [*understood.warnings, *warnings],
    }


def rows_of(counts: Counts) -> tuple[list[str], list[list[Any]]]:
    """A table of classes and splits: its header, and a row for each of the largest classes, for the rest, and for
    all."""
    found = {split for by_split in counts.values() for split in by_split}
    splits = [split for split in (*SPLITS, "excluded") if split in found]

    def row(name: str, *some: dict[str, int]) -> list[Any]:
        numbers = [sum(by_split.get(split, 0) for by_split in some) for split in splits]
        return [name, *numbers, sum(numbers)]

    classes = {name: by_split for name, by_split in counts.items() if name != UNLABELLED}
    largest = set(sorted(classes, key=lambda name: -sum(classes[name].values()))[:MAX_LISTED_CLASSES])
    rows = [row(legible(name), classes[name]) for name in classes if name in largest]
    if rest := [classes[name] for name in classes if name not in largest]:
        rows.append(row(counted(len(rest), "other classes"), *rest))
    if UNLABELLED in counts:
        rows.append(row("(no class)", counts[UNLABELLED]))
    return ["class", *splits, ALL], [*rows, *([row(ALL, *counts.values())] if len(rows) > 1 else [])]


def tell_contents(summary: Summary, left_out: LeftOut, unit: str) -> None:
    """Logs the contents. Warnings come last, and also where other messages are silenced.

    Args:
        unit: Name of the rows in the plural.
    """
    logger.info("%s by class and split:", unit)
    for line in _drawn(*rows_of(summary["counts"])):
        logger.info("%s", line)
    logger.info("splits: %s", summary["splits_from"])
    if groups := sentence_of(summary):
        logger.info("groups: %s", groups)
    if left_out.counts:
        logger.info("%s", left_out)
    for warning in summary["warnings"]:
        logger.warning("WARNING: %s", warning)


def _drawn(header: list[str], rows: list[list[Any]]) -> list[str]:
    table = Table(box=SIMPLE_HEAD, show_edge=False)
    for name in header:
        table.add_column(name, justify="left" if name == "class" else "right", overflow="ellipsis", no_wrap=True)
    for name, *numbers in rows:
        if name == ALL:
            table.add_section()
        table.add_row(Text(name), *(f"{number:,}" if number else "–" for number in numbers))
    file = StringIO()
    Console(file=file, width=max(60, rich.get_console().width), color_system=None).print(table)
    return [line.rstrip() for line in file.getvalue().splitlines() if line.strip()]
