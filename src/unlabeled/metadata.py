"""Labels and splits that a metadata.csv, or a file like it, gives to the files beside and below it."""

import logging
import os
import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from unlabeled.columns import Labels, Splits, find_labels, find_splits, is_none, split_of, tell_columns, where
from unlabeled.errors import DataError
from unlabeled.items import Item
from unlabeled.layout import official_splits, with_folder_names
from unlabeled.tables import Table, open_table, plain
from unlabeled.walk import METADATA, is_metadata

logger = logging.getLogger(__name__)

SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
LABEL_FILES = (*SPREADSHEETS, ".csv", ".tsv", ".json", ".jsonl", ".txt", ".mat", ".xml")
FILE_NAME = ("file_name", "filename")


class Row(NamedTuple):
    """What metadata say of a file: its class, its split as they name it, the texts asked for, and where they say so."""

    label: str | None
    split: str | None
    text: str | None
    place: str


class Metadata(NamedTuple):
    """What metadata say of files.

    Attributes:
        name: What messages call them.
        rows: By the names of the files, relative to the root.
        missing: Names that are listed, and why no file has them.
        column: The column of the labels; None: there are none.
        question: See `Labels`.
    """

    name: str
    rows: dict[str, Row]
    missing: dict[str, str]
    column: str | None
    question: str | None


def metadata_among(root: Path, names: Sequence[str]) -> list[str]:
    """The metadata among the names of files. Raises DataError for two in one folder, or for a spreadsheet alone."""
    found = [name for name in names if is_metadata(name)]
    folders = defaultdict(list)
    for name in found:
        folders[posixpath.dirname(name)].append(name)
    for first, *others in folders.values():
        if others:
            raise DataError(f"ingestion.path: received {root / first} and {root / others[0]}, expected one of both")
    for name in names:
        stem, ending = posixpath.splitext(_base(name))
        if stem == "metadata" and ending in SPREADSHEETS and posixpath.dirname(name) not in folders:
            raise DataError(
                f"ingestion.path: {root / name} is a spreadsheet, expected CSV: save it as {METADATA[0]} beside it"
            )
    return found


def _base(name: str) -> str:
    return posixpath.basename(name).lower()


def read_metadata(
    root: Path, files: Sequence[str], names: Sequence[str], label: str | None, text: str = ""
) -> Metadata:
    """Reads metadata, and finds the files that they name.

    Args:
        files: Those of the metadata, relative to the root.
        names: Those that may be named, relative to the root.
        label: As `ingestion.label`.
        text: A column to keep, too; empty: none.

    Raises:
        DataError: A file cannot be read, has no column file_name, or contradicts itself or another.
    """
    tables = [open_table(root / file, FILE_NAME) for file in files]
    for table in tables:
        columns = ", ".join(table.columns) or "(none)"
        if not _column(table, *FILE_NAME):
            raise DataError(f"{table.name} has the columns {columns}, expected file_name (and label)")
        if text and not _column(table, text):
            raise DataError(f"{table.name} has the columns {columns}, expected {text} among them")
    labels, splits = _find_columns(root, tables, label)
    rows: dict[str, Row] = {}
    missing: dict[str, str] = {}
    index = _Names(root, names)
    for number, (file, table) in enumerate(zip(files, tables, strict=True)):
        folder = posixpath.dirname(file)
        for listed, row in _rows(number, table, labels, splits, text):
            name = index.find(folder, listed)
            if name is None:
                name = posixpath.normpath(posixpath.join(folder, listed))
                missing[name] = index.why_missing(folder, listed)
            if (first := rows.setdefault(name, row))[:3] != row[:3]:
                difference = _difference(first, row)
                raise DataError(f"{row.place}: {name} is named a second time, expected once ({difference})")
    return Metadata(where(tables) if tables else "", rows, missing, labels.column, labels.question)


def with_metadata(root: Path, names: list[str], metadata: Metadata, label: str | None) -> list[Item]:
    """The files of a folder with what metadata say of them, and what the names of folders say where metadata do not.

    Args:
        label: As `ingestion.label`.

    Raises:
        DataError: It has to be asked which column names the classes.
    """
    items = list(with_folder_names(root, names))
    folders = {item.label for item in items if item.label}
    by_folder = metadata.column is None and not is_none(label) and (not metadata.rows or len(folders) > 1)
    if metadata.question and not by_folder:
        raise DataError(metadata.question)
    _tell(metadata, names, folders, by_folder, is_none(label))
    official = official_splits(row.split for row in metadata.rows.values())

    def said(name: str, item: Item) -> Item:
        row = metadata.rows.get(name)
        by_metadata = row.label if row else None
        split = official.get(row.split) if row and row.split else item.split
        return replace(item, label=item.label if by_folder else by_metadata, split=split)

    absent = [Item(name, None, reason=reason) for name, reason in sorted(metadata.missing.items())]
    return absent + list(map(said, names, items))


def _find_columns(root: Path, tables: Sequence[Table], label: str | None) -> tuple[Labels, Splits]:
    if not tables and label and not is_none(label):
        raise DataError(
            f"ingestion.label: received {label!r}, but {root} has no {METADATA[0]} with such a column: expected null, "
            f"where the names of folders are the classes, or none"
        )
    labels, splits = find_labels(tables, label), find_splits(tables)
    if tables:
        tell_columns(tables, labels, splits)
    return labels, splits


def _column(table: Table, *names: str) -> str | None:
    """The column that has one of these names, in any case."""
    return next((column for column in table.columns if plain(column) in names), None)


def _rows(number: int, table: Table, labels: Labels, splits: Splits, text: str) -> Iterator[tuple[str, Row]]:
    """The name of each file that a table lists, and what it says of it."""
    name, caption = _column(table, *FILE_NAME), _column(table, text)
    for place, row in table.read([each for each in (name, caption, labels.column, splits.column) if each]):
        if not (listed := str(row[name] or "").strip()):
            raise DataError(f"{place}: received a row without a file_name, expected one")
        words = str(row[caption] or "") if caption else None
        yield listed, Row(labels.of(number, row), split_of(row.get(splits.column)), words, place)


def _difference(first: Row, second: Row) -> str:
    field = next(field for field in ("label", "split", "text") if getattr(first, field) != getattr(second, field))
    return f"here with the {field} {getattr(second, field)!r}, before with {getattr(first, field)!r}"


def _tell(metadata: Metadata, names: Sequence[str], folders: set[str | None], by_folder: bool, unwanted: bool) -> None:
    """Says where labels come from, and of how many files there are none."""
    if not metadata.rows or unwanted:
        return
    if by_folder:
        logger.info("%s: it has no column of labels: the names of folders are the classes", metadata.name)
    elif not metadata.column:
        logger.warning("%s has no column label: what it names is without labels", metadata.name)
    elif unlabelled := sum(not (metadata.rows.get(name) and metadata.rows[name].label) for name in names):
        unnamed = sum(name not in metadata.rows for name in names)
        logger.warning(
            "%s: %d of %d files have no label; it does not name %d of them",
            metadata.name,
            unlabelled,
            len(names),
            unnamed,
        )
    if metadata.column and len(folders) > 1:
        logger.info("%s: its labels are the classes, the names of the folders are not", metadata.name)


class _Names:
    """The files that may be named, found by their name as spreadsheets, macOS and Windows write it."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
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
        """The file that a name is of, relative to the root; None: it is of none, or of several.

        Args:
            folder: What the name is relative to, itself relative to the root.
        """
        if (name := posixpath.normpath(posixpath.join(folder, listed))) in self.names:
            return name
        forward = listed.replace("\\", "/")
        tried = [self._below(folder, each) for each in dict.fromkeys((listed, forward, unquote(forward)))]
        if exact := [name for name in tried if name in self.names]:
            return exact[0]
        alike = [self.alike[_folded(name)] for name in tried if name and _folded(name) in self.alike]
        return alike[0][0] if alike and len(alike[0]) == 1 else None

    def why_missing(self, folder: str, listed: str) -> str:
        """Why no file has a name that is listed, and which file has nearly that name."""
        if os.path.exists(path := self.root / folder / listed):  # noqa: PTH110 — a name too long is one that is not there
            problem = "outside of ingestion.path" if self._below(folder, listed) is None else "not of what is read"
            return f"listed and there, but {problem}: {path}"
        wanted = listed.replace("\\", "/")
        if not (near := self.near.get(_essence(wanted))):
            return "listed, but the file is missing"
        differences = _differences(posixpath.join(folder, wanted), near)
        return f"listed, but the file is missing ({near} is there, and differs in its {differences})"

    def _below(self, folder: str, name: str) -> str | None:
        """A name relative to the root; None: it is of what lies elsewhere."""
        path = posixpath.normpath(posixpath.join(self.roots[0], folder, name))
        return next((path.removeprefix(root) for root in self.roots if path.startswith(root)), None)


def _differences(name: str, other: str) -> str:
    parts = {"folder": posixpath.dirname, "name": posixpath.basename}
    return " and ".join(part for part, of in parts.items() if of(name) != of(other))


def _folded(name: str) -> str:
    """A name without what file systems differ in: how accents are composed, and case."""
    return unicodedata.normalize("NFC", name).casefold()


def _essence(name: str) -> str:
    """The letters and digits of a file's name, without its folders, its ending and leading zeros."""
    stem = posixpath.splitext(posixpath.basename(_folded(name)))[0]
    return re.sub(r"[\W_]+", "", stem).lstrip("0") or stem


def tell_unread(root: Path, found: Sequence[str], names: Sequence[str]) -> None:
    """Names the files beside unlabelled images that look as if they held their labels, and says how they are read."""
    tables = [name for name in found if name.lower().endswith(LABEL_FILES) and not is_metadata(name)]
    if tables:
        logger.warning(
            "nothing here has a label, and %s is not read: if it holds labels, save it as %s in %s, with a column "
            "file_name of names such as %s, and a column label",
            " and ".join(tables[:3]),
            METADATA[0],
            root,
            next((name for name in names if name not in tables), "a.png"),
        )
