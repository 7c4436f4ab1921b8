"""Reuse of rows that an earlier run made of the same content, where they are undamaged; and records of files already
read."""

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd
from xxhash import xxh3_64_intdigest, xxh3_128_digest

from unlabeled.storage.arrays import Rows, replace_file
from unlabeled.storage.freshness import MADE_BY

Array = TypeVar("Array", np.ndarray, Rows)

SETTLED_NANOSECONDS = 2 * 10**9
"""Nanoseconds after a file's last change until a further change is sure to alter its stamp."""


class EarlierRows(Generic[Array]):
    """Rows of an array by the content that they were made of.

    Args:
        array: Shape (N, …).
        index: N rows with the columns `sha256` of the content and `checksum` of the array's row.

    Attributes:
        damaged: Contents whose rows were checked and found damaged.
    """

    def __init__(self, array: Array, index: pd.DataFrame):
        self.array = array
        self.damaged: set[str] = set()
        self._columns = {name: index[name].to_numpy() for name in index.columns}
        self._checksums = self._columns["checksum"]
        self._number = {content: number for number, content in enumerate(index.sha256)}

    def lacks(self, contents: Iterable[str]) -> int:
        """Number of these contents for which there is no row."""
        return len(set(contents) - self._number.keys())

    def about(self, content: str, column: str) -> Any:
        """Value of an index column for the row made of a content."""
        return self._columns[column][self._number[content]]

    def take(self, content: str, into: np.ndarray) -> bool:
        """Copies the row made of a content into `into`, and returns whether there is an undamaged one."""
        number = self._number.get(content)
        if number is None:
            return False
        if number < len(self.array):
            into[...] = self.array[number]
            if checksum(into) == self._checksums[number]:
                return True
        self.damaged.add(content)
        return False

    def intact(self, contents: Iterable[str]) -> dict[str, int]:
        """Checksums of the undamaged rows made of these contents, by content."""
        known = [content for content in contents if content in self._number]
        parts = [known[start : start + 256] for start in range(0, len(known), 256)]
        with ThreadPoolExecutor() as pool:  # xxhash releases Python's lock
            checksums = chain.from_iterable(pool.map(self._checksums_of, parts))
        pairs = list(zip(known, checksums, strict=True))
        self.damaged |= {content for content, check in pairs if check != self._checksums[self._number[content]]}
        return {content: check for content, check in pairs if content not in self.damaged}

    def _checksums_of(self, contents: list[str]) -> list[int]:
        return [checksum(self.array[self._number[content]]) for content in contents]


class Stamps:
    """Records of the content of files, so that a file that has not changed since need not be read again.

    A stamp consists of the metadata that git's index keeps of a file: its name, size, inode, and the times of its last
    changes. A file that was only just written is not recorded, as its next change may fall into the same tick of the
    clock.

    Args:
        path: File of the records, which `keep` writes; a missing or unreadable file counts as empty.
    """

    def __init__(self, path: Path):
        self.path, self._found, self._known = path, {}, {}
        with suppress(OSError, ValueError, KeyError):
            table = pd.read_parquet(path)
            self._known = dict(zip(table["stamp"], table["sha256"], strict=True))

    def content_of(self, file: Path, read: Callable[[Path], bytes]) -> tuple[bytes | None, str]:
        """The file's content, or None where its sha256 is known without reading it; and the sha256."""
        stat = file.stat()
        about = f" {stat.st_size} {stat.st_ino} {stat.st_mtime_ns} {stat.st_ctime_ns}"
        stamp = xxh3_128_digest(os.fsencode(file) + about.encode())
        content, sha256 = None, self._known.get(stamp)
        if sha256 is None:
            content = read(file)
            sha256 = hashlib.sha256(content).hexdigest()
        if abs(time.time_ns() - stat.st_ctime_ns) > SETTLED_NANOSECONDS:
            self._found[stamp] = sha256
        return content, sha256

    def keep(self) -> None:
        """Writes the records of the files that were asked for; removes the file where there are none."""
        if self._found:
            table = pd.DataFrame({"stamp": list(self._found), "sha256": list(self._found.values())})
            replace_file(self.path, lambda path: table.to_parquet(path, index=False))
        else:
            self.path.unlink(missing_ok=True)


def checksum(row: np.ndarray) -> int:
    """XXH3 hash of a row, shortened to 63 bits for an int64: it detects damage, not malice, at the speed of memory."""
    return xxh3_64_intdigest(np.ascontiguousarray(row).reshape(-1).view(np.uint8).data) >> 1


def earlier_rows(
    read: Callable[[], tuple[Array, pd.DataFrame]], made_by: str, row_shape: tuple[int, ...]
) -> EarlierRows[Array] | None:
    """The array and index of an earlier run, as `read` returns them, if it made its rows in the same way; else None."""
    try:
        array, index = read()
    except (OSError, EOFError, ValueError, KeyError):  # missing or invalid: made anew
        return None
    fits = array.shape[1:] == row_shape and array.dtype == np.uint8 and index.attrs.get(MADE_BY) == made_by
    return EarlierRows(array, index) if fits else None
