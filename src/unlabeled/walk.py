"""The files below a folder that may be data, found by one set of rules for every kind of data."""

import os
import posixpath
from collections.abc import Iterable
from pathlib import Path

from unlabeled.errors import DataError

METADATA = ("metadata.csv", "metadata.tsv", "metadata.jsonl", "metadata.parquet")
"""Files that say what others beside and below them are, as Hugging Face's ImageFolder has them; .tsv is ours."""


def file_names(root: Path, key: str, kind: str = "images") -> list[str]:
    """The files below a folder that may be data, relative to it and in order. DataError names the parameter `key`, and
    says what `kind` of files is expected."""
    return data_files(every_file(root, key, kind))


def data_files(names: Iterable[str]) -> list[str]:
    """The names of files without those of metadata."""
    return [name for name in names if not name.lower().endswith(METADATA)]


def is_metadata(name: str) -> bool:
    return posixpath.basename(name).lower() in METADATA


def every_file(root: Path, key: str, kind: str = "images") -> list[str]:
    """The files below a folder, as for `file_names`, and metadata among them."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{key}: {error.filename} cannot be read ({error.strerror})") from error

    if not root.is_dir():
        problem = f"is a file, expected a folder of {kind}" if root.exists() else "does not exist"
        raise DataError(f"{key}: {root} {problem}")
    found = []
    for folder, folders, names in os.walk(root, followlinks=True, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".") and not _leads_back(Path(folder, name))]
        within = Path(folder).relative_to(root)
        prefix = "" if within == Path() else f"{within.as_posix()}/"
        found += [prefix + name for name in names if not name.startswith(".") and not name.endswith(".dvc")]
    return sorted(found)


def _leads_back(folder: Path) -> bool:
    """Whether it is a link to a folder that it lies in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def printable(name: str) -> str:
    """A name from a disk as text that a file in UTF-8 can hold: it need not be."""
    return os.fsencode(name).decode(errors="replace")
