"""Rows that an earlier run made of the same content, taken over where they are undamaged."""

import hashlib
import json
import logging
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from unlabeled.arrays import Rows

logger = logging.getLogger(__name__)

MADE_BY = "made_by"
"""The attribute of an index that says how its rows were made."""


class EarlierRows:
    """Rows of an array by the content that they were made of.

    Args:
        array: Shape (N, …).
        index: N rows with the columns `sha256`, of the content, and `checksum`, of the array's row.

    Attributes:
        damaged: The contents whose rows have been looked at, and are not as they were made.
    """

    def __init__(self, array: np.ndarray | Rows, index: pd.DataFrame):
        self.array, self.damaged = array, set()
        self._columns = {name: index[name].to_numpy() for name in index.columns}
        self._checksums = self._columns["checksum"]
        self._number = {content: number for number, content in enumerate(index.sha256)}

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
        with ThreadPoolExecutor() as pool:  # zlib lets go of Python's lock
            checksums = chain.from_iterable(pool.map(self._checksums_of, parts))
        pairs = list(zip(known, checksums, strict=True))
        self.damaged |= {content for content, check in pairs if check != self._checksums[self._number[content]]}
        return {content: check for content, check in pairs if content not in self.damaged}

    def _checksums_of(self, contents: list[str]) -> list[int]:
        return [checksum(self.array[self._number[content]]) for content in contents]


def order_of(manifest: pd.DataFrame) -> str:
    """A digest of which content is in which row."""
    return hashlib.sha256("".join(manifest.sha256).encode()).hexdigest()


def checksum(row: np.ndarray) -> int:
    """CRC-32: against damage, not against malice."""
    return zlib.crc32(np.ascontiguousarray(row).reshape(-1).view(np.uint8))


def earlier_rows(
    read: Callable[[], tuple[np.ndarray | Rows, pd.DataFrame]], made_by: str, row_shape: tuple[int, ...]
) -> EarlierRows | None:
    """What an earlier run left, array and index as `read` gives them, if it made its rows in the same way."""
    try:
        array, index = read()
    except (OSError, ValueError, KeyError):  # nothing there, or not what it should be: made anew
        return None
    fits = array.shape[1:] == row_shape and array.dtype == np.uint8 and index.attrs.get(MADE_BY) == made_by
    return EarlierRows(array, index) if fits else None


def made_by(modules: Iterable[ModuleType], **how: Any) -> str:
    """A digest of code and parameters: rows made by others are not the same."""
    digest = hashlib.sha256(json.dumps(how, sort_keys=True).encode())
    for module in modules:
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()[:16]
