"""Sources of documents: CPython's help topics, files of UTF-8 text, or the rows of tables."""

import logging
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from unlabeled.errors import DataError
from unlabeled.ingestion.columns import (
    USUAL_TEXTS,
    find_labels,
    find_splits,
    find_text,
    is_none,
    split_of,
    tell_columns,
    where,
)
from unlabeled.ingestion.items import Understood
from unlabeled.ingestion.layout import Place, read_layout, split_in_name, splits_in_names
from unlabeled.ingestion.tables import ENDINGS, MAX_LINE_CHARACTERS, open_table, plain
from unlabeled.ingestion.walk import TABLES, TEXTS, Found, find_files, printable, read_file
from unlabeled.text.config import TextIngestion

logger = logging.getLogger(__name__)

HEADING = re.compile(r"(?:^(?: ?= [^=].* = ?| ?# .+)$\s*)+", re.MULTILINE)
"""A heading `= Title =`, as in WikiText, or `# Title`, not of a lower level; adjacent headings count as one."""
MAX_CORPUS_BYTES = 2**31
"""Largest file that is read, in bytes; a file may be a whole corpus, where documents begin at headings."""
BESIDE_TABLES = (".json", ".yaml", ".yml", ".py", ".toml")
"""Endings of files that are left out beside tables, such as descriptions of a data set."""
UNSEEN = {"Cc", "Cf", "Zs", "Zl", "Zp"}
"""Unicode's categories of control characters, of marks without a shape of their own (such as the byte order mark), and
of blanks."""
CHAPTERS = {
    "lexical analysis": "strings integers floating imaginary numbers identifiers operator-summary",
    "data model": "attribute-access bltin-code-objects bltin-ellipsis-object bltin-null-object bltin-type-objects "
    "callable-types context-managers conversions customization numeric-types objects sequence-types specialattrs "
    "specialnames types id-classes",
    "execution model": "dynamic-features execmodel naming exceptions",
    "expressions": "atom-identifiers atom-literals attribute-references await binary bitwise booleans calls "
    "comparisons exprlists in lambda lists dict power shifting slicings subscriptions unary",
    "simple statements": "assert assignment augassign break continue del global import nonlocal pass raise return "
    "yield",
    "compound statements": "async class compound else for function if try while with",
    "library": "debugger formatstrings string-methods truth typesfunctions typesmapping typesmethods typesmodules "
    "typesseq typesseq-mutable",
}
"""Chapters of Python's manuals, with the topics that we assign to each: the labels of the embedded corpus."""


class Document(NamedTuple):
    """A named text, with a label and an official split where it has them; `reason` says why it cannot be used."""

    path: str
    text: str
    label: str | None = None
    reason: str = ""
    split: str | None = None


class Documents(NamedTuple):
    """A stream of documents in the order of their names, and the interpretation of their source."""

    items: Iterator[Document]
    understood: Understood


def read_documents(config: TextIngestion) -> Documents:
    """All documents of a source. Raises DataError where there is none."""
    if config.source == "topics":
        documents = Documents(_topics(), Understood())
    else:
        root = Path(str(config.path)).expanduser()
        if not root.exists():
            raise DataError(
                f"ingestion.path: received {str(root)!r}, which does not exist; expected a file or a folder"
            )
        tables = _find_tables(root, config.text)
        documents = _rows(root, tables, config) if tables else _files(root, config)
    if is_none(config.label):
        documents = documents._replace(items=(each._replace(label=None) for each in documents.items))
    return documents._replace(items=_of_size(documents.items, config.max_characters))


def _of_size(documents: Iterator[Document], most: int) -> Iterator[Document]:
    """Documents without the text of those that are too long, which get that as their reason."""
    for document in documents:
        if len(document.text) > most:
            document = document._replace(text="", reason=f"longer than ingestion.max_characters={most}")
        yield document


def _topics() -> Iterator[Document]:
    from pydoc_data.topics import topics

    chapter = {topic: name for name, listed in CHAPTERS.items() for topic in listed.split()}
    for name, text in sorted(topics.items()):
        yield Document(name, text, chapter.get(name))


def _find_tables(root: Path, wanted: str | None) -> Found | None:
    """The tables at a path; None: there are none, or there are other texts beside them and no column is wanted."""
    if root.is_file():
        return Found([root.name]) if _is_table(root.name) else None
    found = find_files(root, "ingestion.path", TABLES)
    tables = [name for name in found.names if _is_table(name)]
    others = [name for name in found.names if not _is_table(name)]
    if not tables or (not wanted and not all(name.lower().endswith(BESIDE_TABLES) for name in others)):
        return None
    found.left_out.add("beside tables", others)
    return replace(found, names=tables)


def _is_table(name: str) -> bool:
    return name.lower().rpartition(".")[2] in ENDINGS


def _rows(root: Path, found: Found, config: TextIngestion) -> Documents:
    """The rows of tables as documents, with their labels and splits."""
    folder = root.parent if root.is_file() else root
    for name in found.names:
        if (size := (folder / name).stat().st_size) > MAX_CORPUS_BYTES:
            raise DataError(f"{folder / name} has {size:,} bytes, expected {MAX_CORPUS_BYTES:,} at most: divide it")
    known = {plain(config.text)} if config.text else set().union(*USUAL_TEXTS)
    tables = [open_table(folder / name, sorted(known), MAX_LINE_CHARACTERS) for name in found.names]
    text = find_text(tables, wanted=config.text)
    labels, splits = find_labels(tables, config.label, text), find_splits(tables)
    logger.info("%s: the column %s has the texts", where(tables), text)
    warnings = tell_columns(tables, labels, splits) + ([labels.question] if labels.question else [])
    official = splits_in_names(found.names) | dict.fromkeys(splits.found, f"the column {splits.column}")

    def documents() -> Iterator[Document]:
        wanted = [column for column in (text, labels.column, splits.column) if column]
        for number, (name, table) in enumerate(zip(found.names, tables, strict=True)):
            for place, row in table.read(wanted):
                path = printable(place.removeprefix(f"{folder}/"))
                split = split_of(row.get(splits.column)) or split_in_name(name)
                if isinstance(row[text], list | dict | bytes):
                    reason = f"received a text of type {table.types.get(text, type(row[text]).__name__)}"
                    yield Document(path, "", labels.of(number, row), reason, split)
                else:
                    words = "" if row[text] is None else str(row[text])
                    for document in _documents(path, words, labels.of(number, row), config.documents):
                        yield document._replace(split=split)

    return Documents(documents(), Understood(official, found.left_out, warnings))


def _files(root: Path, config: TextIngestion) -> Documents:
    unit = config.documents
    for key in ("text", "label"):
        if (given := getattr(config, key)) and not is_none(given):
            raise DataError(
                f"ingestion.{key}: received {given!r}, but {root} holds no tables with such a column: expected null"
            )
    if root.is_file():
        return Documents(_read(root, root.name, Place(), unit), Understood())
    found = find_files(root, "ingestion.path", TEXTS)
    left_out = found.left_out
    layout = read_layout(found.names, TEXTS.name, strays=False)
    names = layout.without_left_out(found.names, left_out)
    if not names:
        raise DataError(
            f"ingestion.path: received {str(root)!r}, a folder without files of text; expected UTF-8 text in it"
            f"{f'; {left_out}' if left_out.counts else ''}"
        )
    documents = (_read(root / name, printable(name), layout.place_of(name), unit) for name in names)
    understood = layout.understood(left_out)
    warnings = [
        f"{name} is read as one text: ingestion.text names the column of its rows" for name in names if _is_table(name)
    ]
    return Documents(chain.from_iterable(documents), replace(understood, warnings=understood.warnings + warnings[:1]))


def _read(file: Path, name: str, place: Place, unit: str) -> Iterator[Document]:
    try:
        text = read_file(file, MAX_CORPUS_BYTES).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}"
        yield Document(name, "", place.label, reason, place.split)
    except OSError as error:
        yield Document(name, "", place.label, f"cannot be read: {error.strerror or error}", place.split)
    else:
        for document in _documents(name, text, place.label, unit):
            yield document._replace(split=place.split)


def is_blank(text: str) -> bool:
    """Whether a text has no visible character."""
    return all(unicodedata.category(character) in UNSEEN for character in text)


def _documents(path: str, text: str, label: str | None, unit: str) -> Iterator[Document]:
    """A file as one document, or as one for each heading; text before the first heading is a document, too."""
    starts = [match.start() for match in HEADING.finditer(text)] if unit == "heading" else []
    starts = starts if starts[:1] == [0] else [0, *starts]
    parts = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    for number, part in enumerate(parts):
        reason = "empty" if is_blank(part) else ""
        if not reason or len(parts) == 1:
            yield Document(path if len(parts) == 1 else f"{path}#{number}", part, label, reason)
