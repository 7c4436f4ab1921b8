"""The files below a folder that may be data, found by one set of rules for every kind of data."""

import os
from pathlib import Path

from unlabeled.errors import DataError

NOT_IMAGES = (".dvc", "metadata.csv")
"""How the names of files end that stand beside images."""


def file_names(root: Path, key: str, kind: str = "images") -> list[str]:
    """The files below a folder that may be data, relative to it and in order. DataError names the parameter `key`, and
    says what `kind` of files is expected."""

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
        found += [prefix + name for name in names if not name.startswith(".") and not name.endswith(NOT_IMAGES)]
    return sorted(found)


def _leads_back(folder: Path) -> bool:
    """Whether it is a link to a folder that it lies in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def printable(name: str) -> str:
    """A name from a disk as text that a file in UTF-8 can hold: it need not be."""
    return os.fsencode(name).decode(errors="replace")
