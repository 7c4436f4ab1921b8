"""Rows that an earlier run made of the same content, taken over where they are undamaged; which files it has read."""

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

SETTLED = 2 * 10**9
"""Nanoseconds since a file's last change after which another change is sure to show in its stamp."""


class EarlierRows(Generic[Array]):
    """Rows of an array by the content that they were made of.

    Args:
        array: Shape (N, …).
        index: N rows with the columns `sha256`, of the content, and `checksum`, of the array's row.

    Attributes:
        damaged: The contents whose rows have been looked at, and are not as they were made.
    """

    def __init__(self, array: Array, index: pd.DataFrame):
        self.array = array
        self.damaged: set[str] = set()
        self._columns = {name: index[name].to_numpy() for name in index.columns}
        self._checksums = self._columns["checksum"]
        self._number = {content: number for number, content in enumerate(index.sha256)}

    def lacks(self, contents: Iterable[str]) -> int:
        """How many of these contents no row is made of."""
        return len(set(contents) - self._number.keys())

    def about(self, content: str, column: str) -> Any:
        """What the index says of the row made of this content."""
        return self._columns[column][self._number[content]]

    def take(self, content: str, into: np.ndarray) -> bool:
        """Copies the row made of this content, where there is one that is not damaged; whether there is."""
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
        """The checksums of the rows made of these contents, of those that are there and not damaged."""
        known = [content for content in contents if content in self._number]
        parts = [known[start : start + 256] for start in range(0, len(known), 256)]
        with ThreadPoolExecutor() as pool:  # xxhash lets go of Python's lock
            checksums = chain.from_iterable(pool.map(self._checksums_of, parts))
        pairs = list(zip(known, checksums, strict=True))
        self.damaged |= {content for content, check in pairs if check != self._checksums[self._number[content]]}
        return {content: check for content, check in pairs if content not in self.damaged}

    def _checksums_of(self, contents: list[str]) -> list[int]:
        return [checksum(self.array[self._number[content]]) for content in contents]


class Stamps:
    """Which content each file had when it was read: as long as nobody has touched it since, it need not be read again.

    A stamp is made of what git keeps of a file in its index: its name, size, inode, and the times of its last changes.
    A file that has only just been written is not noted, as its next change may fall into the same tick of the clock.

    Args:
        path: Where `keep` leaves what is known; a missing or unreadable file there means that nothing is.
    """

    def __init__(self, path: Path):
        self.path, self._found, self._known = path, {}, {}
        with suppress(OSError, ValueError, KeyError):
            table = pd.read_parquet(path)
            self._known = dict(zip(table["stamp"], table["sha256"], strict=True))

    def content_of(self, file: Path, read: Callable[[Path], bytes]) -> tuple[bytes | None, str]:
        """The file's content, or None where it is known without being read, and the sha256 of it."""
        stat = file.stat()
        about = f" {stat.st_size} {stat.st_ino} {stat.st_mtime_ns} {stat.st_ctime_ns}"
        stamp = xxh3_128_digest(os.fsencode(file) + about.encode())
        content, sha256 = None, self._known.get(stamp)
        if sha256 is None:
            content = read(file)
            sha256 = hashlib.sha256(content).hexdigest()
        if abs(time.time_ns() - stat.st_ctime_ns) > SETTLED:
            self._found[stamp] = sha256
        return content, sha256

    def keep(self) -> None:
        """Leaves what is known of the files that have been asked for; where there are none, nothing."""
        if self._found:
            table = pd.DataFrame({"stamp": list(self._found), "sha256": list(self._found.values())})
            replace_file(self.path, lambda path: table.to_parquet(path, index=False))
        else:
            self.path.unlink(missing_ok=True)


def checksum(row: np.ndarray) -> int:
    """XXH3 in the 63 bits that an int64 has for it: against damage, not against malice, at the speed of memory."""
    return xxh3_64_intdigest(np.ascontiguousarray(row).reshape(-1).view(np.uint8).data) >> 1


def earlier_rows(
    read: Callable[[], tuple[Array, pd.DataFrame]], made_by: str, row_shape: tuple[int, ...]
) -> EarlierRows[Array] | None:
    """What an earlier run left, array and index as `read` gives them, if it made its rows in the same way."""
    try:
        array, index = read()
    except (OSError, EOFError, ValueError, KeyError):  # nothing there, or not what it should be: made anew
        return None
    fits = array.shape[1:] == row_shape and array.dtype == np.uint8 and index.attrs.get(MADE_BY) == made_by
    return EarlierRows(array, index) if fits else None
