"""Rows that an earlier run made of the same content, taken over where they are undamaged."""

import hashlib
import json
import logging
import zlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from unlabeled.arrays import open_array

logger = logging.getLogger(__name__)

MADE_BY = "made_by"
"""The attribute of an index that says how its rows were made."""


class EarlierRows:
    """Rows of an array by the content that they were made of.

    Args:
        array: Shape (N, …), as `open_array` gives it.
        index: N rows with the columns `sha256`, of the content, and `checksum`, of the array's row.
    """

    def __init__(self, array: np.ndarray, index: pd.DataFrame):
        self.index, self.damaged = index, 0
        self._array, self._checksums = array, index.checksum.to_numpy()
        self._number = {content: number for number, content in enumerate(index.sha256)}

    def number(self, content: str) -> int | None:
        """Which row was made of this content."""
        return self._number.get(content)

    def take(self, content: str, into: np.ndarray) -> int | None:
        """Copies the row made of this content, and returns its checksum; None: none is there, or it is damaged."""
        number = self.number(content)
        if number is None:
            return None
        if number < len(self._array):
            into[...] = self._array[number]
            if checksum(into) == self._checksums[number]:
                return int(self._checksums[number])
        self.damaged += 1
        return None


def checksum(row: np.ndarray) -> int:
    """CRC-32: against damage, not against malice."""
    return zlib.crc32(np.ascontiguousarray(row).reshape(-1).view(np.uint8))


def earlier_rows(array: Path, index: Path, made_by: str, row_shape: tuple[int, ...]) -> EarlierRows | None:
    """What an earlier run left, if it made its rows in the same way."""
    try:
        rows, read = open_array(array), pd.read_parquet(index)
    except (OSError, ValueError):  # nothing there, or not what it should be: made anew
        return None
    fits = rows.shape[1:] == row_shape and rows.dtype == np.uint8 and read.attrs.get(MADE_BY) == made_by
    return EarlierRows(rows, read) if fits else None


def made_by(modules: Iterable[ModuleType], **how: Any) -> str:
    """A digest of code and parameters: rows made by others are not the same."""
    digest = hashlib.sha256(json.dumps(how, sort_keys=True).encode())
    for module in modules:
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()[:16]
