"""Documents from where they are: CPython's help topics, or files of UTF-8 text."""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from unlabeled.errors import DataError
from unlabeled.text.config import TextIngestion

HEADING = re.compile(r"(?:^(?: ?= [^=].* = ?| ?# .+)$\s*)+", re.MULTILINE)
"""`= Title =`, as in WikiText, or `# Title`, neither of a lower level; several where nothing stands between them."""
UNSEEN = {"Cc", "Cf", "Zs", "Zl", "Zp"}
"""Unicode's categories of controls, marks without a shape of their own (the byte order mark is one), and blanks."""
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
"""Of Python's manuals, and the topics that we take to be from each: the labels of the embedded corpus."""


class Document(NamedTuple):
    """A text with a name, and a label where it has one; `reason` says why it cannot be used."""

    path: str
    text: str
    label: str | None = None
    reason: str = ""


def read_documents(config: TextIngestion) -> Iterator[Document]:
    """All documents of a source, in the order of their names. Raises DataError where there is none."""
    return _topics() if config.source == "topics" else _files(Path(str(config.path)).expanduser(), config.documents)


def _topics() -> Iterator[Document]:
    from pydoc_data.topics import topics

    chapter = {topic: name for name, listed in CHAPTERS.items() for topic in listed.split()}
    for name, text in sorted(topics.items()):
        yield Document(name, text, chapter.get(name))


def _files(root: Path, unit: str) -> Iterator[Document]:
    if not root.exists():
        raise DataError(f"ingestion.path: received {str(root)!r}, which does not exist; expected a file or a folder")
    files = sorted(path for path in root.rglob("*") if path.is_file()) if root.is_dir() else [root]
    files = [path for path in files if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    if not files:
        raise DataError(f"ingestion.path: received {str(root)!r}, a folder without files; expected UTF-8 text in it")
    for path in files:
        place = path.relative_to(root) if root.is_dir() else Path(path.name)
        label = place.parts[0] if len(place.parts) > 1 else None
        try:
            text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError as error:
            yield Document(
                place.as_posix(), "", label, f"not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}"
            )
            continue
        except OSError as error:
            yield Document(place.as_posix(), "", label, f"cannot be read: {error.strerror}")
            continue
        yield from _documents(place.as_posix(), text, label, unit)


def is_blank(text: str) -> bool:
    """Whether nothing in a text can be seen."""
    return all(unicodedata.category(character) in UNSEEN for character in text)


def _documents(path: str, text: str, label: str | None, unit: str) -> Iterator[Document]:
    """A file as one document, or as one a heading; what stands before the first heading is one, too."""
    starts = [match.start() for match in HEADING.finditer(text)] if unit == "heading" else []
    starts = starts if starts[:1] == [0] else [0, *starts]
    parts = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    for number, part in enumerate(parts):
        reason = "empty" if is_blank(part) else ""
        if not reason or len(parts) == 1:
            yield Document(path if len(parts) == 1 else f"{path}#{number}", part, label, reason)
