"""Arrays larger than memory: `.npy` files written a chunk at a time, under a temporary name until they are complete."""

import errno
import math
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from safetensors import SafetensorError

PARTIAL = ".partial"
READABLE = 0o644
FLUSH_EVERY = 2**25
"""Bytes after which written data are flushed to disk in the background, so that closing the file does not have to wait
for all of them."""


class ArrayWriter:
    """Writes rows to `<path>.<process>.partial`, and renames it to `path` when the block ends without an error.

    Args:
        path: The `.npy` file to leave behind.
        row_shape: The shape of one row.
        dtype: Type of the array's numbers.

    Raises:
        OSError: The disk is full or the folder cannot be written to; nothing is left behind.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: Any = np.uint8):
        self.path, self.row_shape, self.dtype, self.rows = Path(path), tuple(row_shape), np.dtype(dtype), 0
        self._partial = self.path.with_name(f"{self.path.name}.{os.getpid()}{PARTIAL}")
        self._flushed, self._flushing = 0, None

    def __enter__(self) -> "ArrayWriter":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._partial.open("wb")
        self._flusher = ThreadPoolExecutor(1)
        self._write_header()
        return self

    def append(self, chunk: np.ndarray) -> None:
        """Appends rows, an array of shape (n, *row_shape)."""
        if chunk.shape[1:] != self.row_shape:
            raise ValueError(f"rows of shape {chunk.shape[1:]} do not fit an array of {self.row_shape}")
        # Not `tofile`: on a full disk its error has neither a reason nor a number.
        self._file.write(np.ascontiguousarray(chunk, dtype=self.dtype).reshape(-1).view(np.uint8).data)
        self.rows += len(chunk)
        if self._file.tell() - self._flushed >= FLUSH_EVERY and (self._flushing is None or self._flushing.done()):
            self._flushed = self._file.tell()
            self._flushing = self._flusher.submit(os.fsync, self._file.fileno())

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if kind is None:
                self._complete()
        finally:
            self._flusher.shutdown()
            with suppress(OSError):  # errors of flushing were raised before
                self._file.close()
            self._partial.unlink(missing_ok=True)

    def _complete(self) -> None:
        self._file.seek(0)
        self._write_header()  # numpy leaves room in the header for a longer first axis
        self._file.flush()
        if self._flushing is not None:
            self._flushing.result()  # raises an error of the disk, which is reported only once
        os.fsync(self._file.fileno())
        self._file.close()
        self._partial.replace(self.path)

    def _write_header(self) -> None:
        shape = (self.rows, *self.row_shape)
        header = {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(self._file, header)


def open_array(path: Path) -> np.ndarray:
    """A read-only memory map of a `.npy` file, read only where it is accessed."""
    return np.load(path, mmap_mode="r", allow_pickle=False)


class Rows:
    """Rows of several arrays in an order of their own, readable like one array: by a number, a slice, or numbers.

    Args:
        parts: At least one array; all have rows of one shape and dtype.
        places: Row i is row `places[i]` of the concatenated parts; int64 of shape (N,).
    """

    def __init__(self, parts: list[np.ndarray], places: np.ndarray):
        self.parts, self.places = [np.asarray(part) for part in parts], places
        self.shape, self.dtype, self.ndim = (len(places), *parts[0].shape[1:]), parts[0].dtype, parts[0].ndim
        self._starts = np.cumsum([0, *map(len, parts)])

    def __len__(self) -> int:
        return len(self.places)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, key: Any) -> np.ndarray:
        """The values that numpy indexing gives; where the first index names several rows, the others have to be arrays
        of numbers."""
        rows, *others = key if isinstance(key, tuple) else (key,)
        places = self.places[rows]
        if len(self.parts) == 1:
            return self.parts[0][(places, *others)]
        part = np.searchsorted(self._starts, places, side="right") - 1
        if np.ndim(places) == 0:
            return self.parts[part][(places - self._starts[part], *others)]
        taken = np.empty((len(places), *self.shape[1 + len(others) :]), self.dtype)
        for number in np.unique(part):
            here = part == number
            index = (places[here] - self._starts[number], *(other[here] for other in others))
            taken[here] = self.parts[number][index]
        return taken


def spread(rows: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the rows, evenly spread: the first rows of a folder may all be of one class."""
    return rows if len(rows) <= most else rows[np.arange(most) * len(rows) // most]


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Replaces a file atomically: calls `write(partial)` with a path beside `path`, then renames it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The ending stays at the end: pandas and matplotlib choose the format by it.
    partial = path.with_name(f".{path.stem}.{os.getpid()}{PARTIAL}{path.suffix}")
    try:
        write(partial)
        partial.chmod(READABLE)  # safetensors makes files that only their owner can read
        partial.replace(path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)
