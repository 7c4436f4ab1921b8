"""Search for data files below a folder, by one set of rules for every kind of data."""

import os
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from unlabeled.errors import DataError
from unlabeled.ingestion import endings
from unlabeled.runtime.legible import legible

METADATA = ("metadata.csv", "metadata.tsv", "metadata.jsonl", "metadata.parquet")
"""Files that describe those beside and below them, as in Hugging Face's ImageFolder; .tsv is ours."""
CAPTIONS = ("captions.csv", "captions.tsv", "captions.jsonl", "captions.parquet")
"""Files of captions, which may stand beside those."""
MAX_FILE_BYTES = 2**29
"""Bytes of the largest file that is read at once; no image that can be decoded is larger."""
MAX_LISTED_NAMES = 5
"""Largest number of file names reported for each reason to leave files out."""


@dataclass(frozen=True)
class Kind:
    """A kind of data to search for.

    Attributes:
        name: Name of its files in the plural.
        other: Endings, in lower case, of files that cannot be of this kind.
        holds: Endings of files that can, whatever their names.
        metadata: Names of files that describe others.
    """

    name: str
    other: frozenset[str]
    holds: frozenset[str]
    metadata: tuple[str, ...] = METADATA


IMAGES = Kind("images", endings.WORDS | endings.PACKED | endings.VIDEOS | endings.SOUNDS, endings.PICTURES)
TEXTS = Kind("texts", endings.PICTURES | endings.PACKED | endings.VIDEOS | endings.SOUNDS, endings.WORDS, ())
TABLES = Kind("texts", TEXTS.other - {"parquet"}, endings.WORDS | {"parquet"}, ())
CLIPS = Kind("clips", endings.WORDS | endings.PACKED, endings.VIDEOS | endings.PICTURES | endings.SOUNDS)


@dataclass
class LeftOut:
    """Files that were left out, by reason: their number, and the names of the first."""

    counts: dict[str, int] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, names: Iterable[str]) -> None:
        for name in names:
            self.counts[reason] = self.counts.get(reason, 0) + 1
            if self.counts[reason] <= MAX_LISTED_NAMES:
                self.names.setdefault(reason, []).append(legible(name))

    def summary(self) -> dict[str, dict]:
        """By reason: `count`, and the first `names`."""
        return {reason: {"count": count, "names": self.names[reason]} for reason, count in self.counts.items()}

    def __str__(self) -> str:
        """The files left out, in one line; empty where there are none."""
        parts = []
        for reason, count in self.counts.items():
            more = ", …" if count > len(self.names[reason]) else ""
            parts.append(f"{count:,} {reason} ({', '.join(self.names[reason])}{more})")
        return f"left out: {'; '.join(parts)}" if parts else ""


@dataclass(frozen=True)
class Found:
    """The files that a search found, by names relative to the folder.

    Attributes:
        names: Names of files that may be data, in order.
        metadata: Names of files that describe them.
        others: Names of files that cannot be data, by their endings.
        left_out: Files that are not data: these others, and files that are not to be read at all.
    """

    names: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)


def find_files(root: Path, key: str, kind: Kind = IMAGES) -> Found:
    """Finds the files below a folder that may be data.

    Links are followed. Each folder is read once, by its own name where it has one below the root.

    Args:
        key: The parameter that names the folder, for errors.

    Raises:
        DataError: There is no such folder, or a folder below it cannot be read.
    """
    if not root.is_dir():
        problem = f"is a file, expected a folder of {kind.name}" if root.exists() else "does not exist"
        raise DataError(f"{key}: {root} {problem}")
    found = Found()
    seen = {_identity(above) for above in root.resolve().parents}
    folders, links = [""], deque[str]()
    while folders or links:
        prefix = folders.pop() if folders else links.popleft()
        path = f"{root}/{prefix}"
        try:
            identity = _identity(path)
            if identity in seen:
                found.left_out.add("links to folders that are read already", [prefix])
                continue
            seen.add(identity)
            with os.scandir(path) as entries:
                _sort(sorted(entries, key=lambda entry: entry.name), prefix, kind, found, folders, links)
        except OSError as error:
            raise DataError(f"{key}: {error.filename} cannot be read ({error.strerror})") from error
    found.names.sort()
    found.left_out.add(f"not {kind.name} by their names", found.others)
    return found


def _identity(folder: str | Path) -> tuple[int, int]:
    status = Path(folder).stat()
    return status.st_dev, status.st_ino


def _sort(
    entries: list[os.DirEntry], prefix: str, kind: Kind, found: Found, folders: list[str], links: deque[str]
) -> None:
    for entry in entries:
        name, lower = prefix + entry.name, entry.name.lower()
        is_folder = entry.is_dir(follow_symlinks=False)
        if reason := _unwanted(lower):
            found.left_out.add(reason, [name + "/" * is_folder])
        elif is_folder:
            folders.append(f"{name}/")
        elif not entry.is_file(follow_symlinks=False) and (special := _special(entry)):
            if special == "folder":
                links.append(f"{name}/")
            else:
                found.left_out.add(special, [name])
        elif lower in kind.metadata:
            found.metadata.append(name)
        elif _is_other(lower, kind, at_top=not prefix):
            found.others.append(name)
        else:
            found.names.append(name)


def _unwanted(lower: str) -> str | None:
    """Why a file or folder with this name, in lower case, is never data; None: it may be."""
    if lower in endings.JUNK:
        return "left by systems and tools"
    if lower.startswith("."):
        return "hidden"
    return "unfinished downloads" if lower in endings.UNFINISHED else None


def _special(entry: os.DirEntry) -> str | None:
    """Description of an entry that is not a file; None for a link to a file or to nothing, which the reader rejects."""
    try:
        mode = entry.stat().st_mode
    except OSError:
        return None
    if S_ISDIR(mode):
        return "folder"
    return None if S_ISREG(mode) else "neither files nor folders"


def _is_other(lower: str, kind: Kind, at_top: bool) -> bool:
    """Whether a file with this name, in lower case, is of another kind. Among texts, notes are left out only at the
    top."""
    ending = lower.rpartition(".")[2] if "." in lower else ""
    if ending in kind.other:
        return True
    return lower in endings.NOTES and (at_top if kind in (TEXTS, TABLES) else ending not in kind.holds)


def open_file(path: Path) -> BufferedReader:
    """Opens a regular file. Raises OSError for anything else: a named pipe would wait for ever, a device never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("neither a file nor a link to one")
    return os.fdopen(descriptor, "rb")


def read_file(path: Path, most: int = MAX_FILE_BYTES) -> bytes:
    """The content of a regular file of at most `most` bytes. Raises OSError for anything else."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size  # files in /proc have size 0, and are not read
        if size > most:
            raise OSError(f"too large: {size / 1e6:,.0f} MB, and {most / 1e6:,.0f} at most are read")
        return file.read(size)


def below(root: Path, name: str | Path) -> Path | None:
    """The path of a name that a file's content gives, relative to the root or absolute; None: it lies outside the root.

    Only the name is checked. Links below the root are followed, as the user placed them there; the content of a file
    may come from a stranger.
    """
    for top in (root.absolute(), root.resolve()):
        path = Path(os.path.normpath(top / name))
        if path.is_relative_to(top):
            return path
    return None


def printable(name: str) -> str:
    """A file name as text that can be written in UTF-8, which not every name on a disk can."""
    return os.fsencode(name).decode(errors="replace")
