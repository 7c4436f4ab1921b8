"""Section of a page on the interpretation of the data: classes by splits, origin of the splits, and files left out."""

from unlabeled.ingestion.contents import rows_of
from unlabeled.ingestion.groups import sentence_of
from unlabeled.records import Summary
from unlabeled.reports.page import Block, Prose, Table
from unlabeled.runtime.counts import counted

SHOWN_KEYS = ("counts", "splits", "groups", "splits_from", "left_out", "warnings", "classes")
"""Keys of a summary that these blocks show."""


def understood(summary: Summary) -> list[Block]:
    """Blocks for a page; none for data that an earlier release ingested without these counts."""
    if "counts" not in summary:
        return []
    header, rows = rows_of(summary["counts"])
    groups = sentence_of(summary)
    said = [f"Splits: {summary['splits_from']}.", *([f"Groups: {groups}."] if groups else [])]
    said += [f"Warning: {warning}." for warning in summary["warnings"]]
    caption = f"{counted(len(summary['classes']), 'classes')}, by split."
    blocks: list[Block] = [Table(header, rows, caption, True), Prose(said)]
    if summary["left_out"]:
        left_out = [[reason, each["count"], ", ".join(each["names"])] for reason, each in summary["left_out"].items()]
        blocks.append(Table(["left out", "files", "the first"], left_out, "Files that were not read."))
    return blocks
