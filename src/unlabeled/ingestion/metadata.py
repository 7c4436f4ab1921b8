"""Labels and splits that a metadata.csv, or a similar file, gives to the files beside and below it."""

import logging
import os
import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from unlabeled.errors import DataError
from unlabeled.ingestion.columns import (
    Labels,
    Splits,
    find_groups,
    find_labels,
    find_splits,
    group_in,
    is_none,
    split_of,
    tell_columns,
    where,
)
from unlabeled.ingestion.endings import NOTES
from unlabeled.ingestion.items import Item
from unlabeled.ingestion.tables import Table, open_table, plain
from unlabeled.ingestion.walk import CAPTIONS, METADATA, Found

logger = logging.getLogger(__name__)

SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
LABEL_FILES = (*SPREADSHEETS, ".csv", ".tsv", ".json", ".jsonl", ".txt", ".mat", ".xml")
FILE_NAME = (
    "file_name",
    "filename",
    "file",
    "image_name",
    "image_path",
    "file_path",
    "filepath",
    "path",
    "image",
    "datei",
    "bild",
)
"""Names of the column of files, the likeliest first."""
FindText = Callable[[Sequence[Table], Sequence[str]], str]
"""A function from tables, and their columns of other things, to the column of texts."""


class Row(NamedTuple):
    """Metadata of a file: its class, its split as they name it, a text, its group, and the place in the metadata: the
    number of the file, and the row."""

    label: str | None
    split: str | None
    text: str | None
    group: str | None
    file: int
    place: str


class Metadata(NamedTuple):
    """Metadata of files.

    Attributes:
        name: Name of the metadata in messages.
        rows: Rows by the names of their files, relative to the root.
        missing: Listed names without a file, and why there is none.
        column: The column of the labels; None: there are none.
        question: See `Labels`.
        official: Official splits and where they are named.
        warnings: Sentences for the user.
    """

    name: str
    rows: dict[str, Row]
    missing: dict[str, str]
    column: str | None
    question: str | None
    official: dict[str, str]
    warnings: list[str]


def _check_files(root: Path, found: Found) -> None:
    """Raises DataError for two files of metadata, or two of captions, in one folder, and for a spreadsheet without a
    metadata file beside it."""
    first: dict[tuple[str, bool], str] = {}
    for name in found.metadata:
        if (other := first.setdefault((posixpath.dirname(name), _holds_captions(name)), name)) != name:
            raise DataError(f"ingestion.path: received {root / other} and {root / name}, expected one of both")
    folders = {folder for folder, _ in first}
    for name in found.others:
        stem, ending = posixpath.splitext(_base(name))
        if stem == "metadata" and ending in SPREADSHEETS and posixpath.dirname(name) not in folders:
            raise DataError(f"ingestion.path: {root / name} is a spreadsheet: save it as {METADATA[0]} beside it")


def _holds_captions(name: str) -> bool:
    return _base(name) in CAPTIONS


def _base(name: str) -> str:
    return posixpath.basename(name).lower()


def read_metadata(
    root: Path, found: Found, label: str | None, find_text: FindText | None = None, group: str | None = None
) -> Metadata:
    """Reads the metadata in a folder, and finds the files that they name.

    Args:
        label: Value of `ingestion.label`.
        find_text: Finds the column of texts, which is kept too; None: there is none.
        group: The column of groups; None: there is none.

    Raises:
        DataError: A file cannot be read, has no column file_name, or contradicts itself or another.
    """
    _check_files(root, found)
    if not found.metadata:
        return _no_metadata(root, label, group)
    tables = [open_table(root / file, FILE_NAME) for file in found.metadata]
    for table in tables:
        if not _column(table, *FILE_NAME):
            columns = ", ".join(table.columns) or "(none)"
            raise DataError(f"{table.name} has the columns {columns}, expected file_name (and label)")
    group = find_groups(tables, group)
    files = [column for table in tables if (column := _column(table, *FILE_NAME))]
    text = find_text(tables, [*files, *([group] if group else [])]) if find_text else None
    labels, splits = find_labels(tables, label, group, text), find_splits(tables)
    described = [table for table in tables if not _holds_captions(table.name)] or tables
    warnings = tell_columns(described, labels, splits)
    rows: dict[str, Row] = {}
    missing: dict[str, str] = {}
    index = _Names(root, (*found.names, *found.others))
    for number, (file, table) in enumerate(zip(found.metadata, tables, strict=True)):
        folder = posixpath.dirname(file)
        for listed, row in _rows(number, table, labels, splits, text, group):
            name = index.find(folder, listed)
            if name is None:
                name = posixpath.normpath(posixpath.join(folder, listed))
                missing[name] = index.why_missing(folder, listed)
            first = rows.setdefault(name, row)
            if first.file != row.file and (joined := _joined(first, row)):
                rows[name] = joined
            elif first[:-2] != row[:-2]:
                difference = _difference(first, row)
                raise DataError(f"{row.place}: {name} is named a second time, expected once ({difference})")
    official = dict.fromkeys(splits.found, f"the column {splits.column} of {found.metadata[0]}")
    return Metadata(where(tables), rows, missing, labels.column, labels.question, official, warnings)


def _no_metadata(root: Path, label: str | None, group: str | None) -> Metadata:
    if group:
        raise DataError(
            f"ingestion.group: received column:{group}, but {root} has no {METADATA[0]} with such a column: expected "
            f"null, or a regular expression on paths"
        )
    if label and not is_none(label):
        raise DataError(
            f"ingestion.label: received {label!r}, but {root} has no {METADATA[0]} with such a column: expected null, "
            f"where the names of folders are the classes, or none"
        )
    return Metadata("", {}, {}, None, None, {}, [])


def with_metadata(
    items: Sequence[Item], names: Sequence[str], metadata: Metadata, label: str | None
) -> tuple[list[Item], list[str]]:
    """Items with the labels and splits of their metadata, or of their folders where metadata have none; and warnings.

    Args:
        items: The files as their folders' names describe them.
        names: Names of the same files, relative to the root.
        label: Value of `ingestion.label`.
    """
    folders = {item.label for item in items if item.label}
    by_folder = metadata.column is None and not is_none(label) and (not metadata.rows or len(folders) > 1)

    def said(name: str, item: Item) -> Item:
        row = metadata.rows.get(name)
        by_metadata = row.label if row else None
        known = replace(item, split=(row and row.split) or item.split, group=row.group if row else None)
        return known if by_folder else replace(known, label=by_metadata)

    if metadata.rows and by_folder:
        logger.info("%s: it has no column of labels: the names of folders are the classes", metadata.name)
    if metadata.column and len(folders) > 1:
        logger.info("%s: its labels are the classes, the names of the folders are not", metadata.name)
    absent = [Item(name, None, reason=reason) for name, reason in sorted(metadata.missing.items())]
    described = [said(name, item) for name, item in zip(names, items, strict=True)]
    warnings = [] if by_folder or is_none(label) else _without_labels(metadata, names)
    return absent + described, metadata.warnings + warnings


def _without_labels(metadata: Metadata, names: Sequence[str]) -> list[str]:
    """A warning of the number of files without a label in the metadata, or the question that these leave."""
    if not metadata.column:
        return [metadata.question or f"{metadata.name} has no column label: what it names is without labels"]
    rows = [metadata.rows.get(name) for name in names]
    unnamed, unlabelled = rows.count(None), sum(not (row and row.label) for row in rows)
    if not unlabelled:
        return []
    return [f"{metadata.name}: {unlabelled} of {len(rows)} files have no label; it does not name {unnamed} of them"]


def _column(table: Table, *names: str) -> str | None:
    """The column that has the first of these names, in any case."""
    return next((column for name in names for column in table.columns if plain(column) == name), None)


def _joined(first: Row, second: Row) -> Row | None:
    """What two tables, one of them of captions, say of a file; None: they contradict each other."""
    pairs = list(zip(first[:-2], second[:-2], strict=True))
    if any(None not in pair and pair[0] != pair[1] for pair in pairs):
        return None
    return Row(*(one if one is not None else other for one, other in pairs), first.file, first.place)


def _rows(
    number: int, table: Table, labels: Labels, splits: Splits, text: str | None, group: str | None
) -> Iterator[tuple[str, Row]]:
    """Yields the file names that a table lists, each with its row."""
    name = _column(table, *FILE_NAME)
    caption, there = (column if column in table.columns else None for column in (text, group))
    for place, row in table.read([each for each in (name, caption, labels.column, splits.column, there) if each]):
        if not (listed := str(row.get(name) or "").strip()):
            raise DataError(f"{place}: received a row without a file_name, expected one")
        words = str(row[caption] or "") if caption else None
        split = split_of(row.get(splits.column))
        yield listed, Row(labels.of(number, row), split, words, group_in(row, there), number, place)


def _difference(first: Row, second: Row) -> str:
    field = next(
        field for field in ("label", "split", "text", "group") if getattr(first, field) != getattr(second, field)
    )
    return f"here with the {field} {getattr(second, field)!r}, before with {getattr(first, field)!r}"


class _Names:
    """The files that metadata may name, found by name as spreadsheets, macOS and Windows write it."""

    def __init__(self, root: Path, names: Iterable[str]) -> None:
        self.root, self.names = root, frozenset(names)
        self.roots = [f"{path.as_posix().rstrip('/')}/" for path in (root.absolute(), root.resolve())]

    @cached_property
    def alike(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for name in sorted(self.names):
            found[_folded(name)].append(name)
        return found

    @cached_property
    def near(self) -> dict[str, str]:
        return {_essence(name): name for name in sorted(self.names, reverse=True)}

    def find(self, folder: str, listed: str) -> str | None:
        """The file with a name, relative to the root; None: there is none, or there are several.

        Args:
            folder: Folder that the name is relative to, itself relative to the root.
        """
        if (name := posixpath.normpath(posixpath.join(folder, listed))) in self.names:
            return name
        forward = listed.replace("\\", "/")
        tried = [self._below(folder, each) for each in dict.fromkeys((listed, forward, unquote(forward)))]
        if exact := [name for name in tried if name in self.names]:
            return exact[0]
        alike = [self.alike[_folded(name)] for name in tried if name and _folded(name) in self.alike]
        if alike and len(alike[0]) == 1:
            return alike[0][0]
        there = [name for name in tried if name and os.path.isfile(self.root / name)]  # noqa: PTH113
        if not there:
            return None
        real = self._below("", os.path.realpath(self.root / there[0]))
        return real if real in self.names else there[0]

    def why_missing(self, folder: str, listed: str) -> str:
        """Why no file has a listed name, and which file has nearly that name."""
        # `pathlib` would raise for a name that is too long.
        if os.path.exists(path := self.root / folder / listed):  # noqa: PTH110
            problem = "outside of ingestion.path" if self._below(folder, listed) is None else "not of what is read"
            return f"listed and there, but {problem}: {path}"
        wanted = listed.replace("\\", "/")
        if not (near := self.near.get(_essence(wanted))):
            return "listed, but the file is missing"
        differences = _differences(posixpath.join(folder, wanted), near)
        return f"listed, but the file is missing ({near} is there, and differs in its {differences})"

    def _below(self, folder: str, name: str) -> str | None:
        """A name relative to the root; None: it lies outside."""
        path = posixpath.normpath(posixpath.join(self.roots[0], folder, name))
        return next((path.removeprefix(root) for root in self.roots if path.startswith(root)), None)


def _differences(name: str, other: str) -> str:
    parts = {"folder": posixpath.dirname, "name": posixpath.basename}
    return " and ".join(part for part, of in parts.items() if of(name) != of(other))


def _folded(name: str) -> str:
    """A name without the differences between file systems: composition of accents, and case."""
    return unicodedata.normalize("NFC", name).casefold()


def _essence(name: str) -> str:
    """The letters and digits of a file's name, without its folders, its ending and leading zeros."""
    stem = posixpath.splitext(posixpath.basename(_folded(name)))[0]
    return re.sub(r"[\W_]+", "", stem).lstrip("0") or stem


def unread_labels(found: Found) -> list[str]:
    """A warning of files beside unlabelled ones that may hold labels, with instructions to use them."""
    tables = [name for name in found.others if _base(name).endswith(LABEL_FILES) and _base(name) not in NOTES]
    if not tables:
        return []
    more = f" and {len(tables) - 3} more" if len(tables) > 3 else ""
    example = next(iter(found.names), "a.png")
    return [
        f"nothing here has a label, and {', '.join(tables[:3])}{more} is not read: if it holds labels, save it as "
        f"{METADATA[0]} with a column file_name of names such as {example}, and a column label"
    ]
