"""Inputs of a registered model: their rows in any form, limits of a request, and decoding of one file at a time."""

import base64
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Number
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, TypeVar

import numpy as np

from unlabeled.errors import DataError

MAX_ROWS = 1024
"""Largest number of files or texts in a request."""
MAX_SIZE = 2**26
"""Largest size of all files of a request, in bytes."""
MAX_CHARACTERS = 2**22
"""Largest number of characters of all texts of a request: their tokens take many times as much memory."""
DECODING = BoundedSemaphore(os.cpu_count() or 1)
"""Semaphore that limits the requests whose files are decoded at the same time; others wait."""

MAX_QUOTED = 40
"""Largest number of characters of an input that an error repeats."""

File = TypeVar("File")
Read = TypeVar("Read")


def columns_of(given: Any, names: Sequence[str]) -> dict[str, Any]:
    """The columns of a table with these names. What is not a table, or is one of a single other column, is named "".

    Args:
        given: A DataFrame, a mapping, or a list of mappings; anything else is not a table.

    Raises:
        DataError: A table has several columns, and none of these names.
    """
    if isinstance(given, list) and given and all(map(_is_row, given)):
        given = {name: [row.get(name) for row in given] for name in given[0]}
    if not (_is_row(given) or hasattr(given, "columns")):
        return {"": given}
    there = list(given.keys())
    if found := {name: given[name] for name in names if name in there}:
        return found
    if len(there) == 1:
        return {"": given[there[0]]}
    received = _quoted(", ".join(map(str, there)))
    raise DataError(f"received {len(there)} columns ({received}), expected one, or {' or '.join(names)} among them")


def _is_row(given: Any) -> bool:
    """Whether this maps columns to values; a mapping with `bytes` is a file, as Hugging Face's tables hold them."""
    return isinstance(given, Mapping) and "bytes" not in given


def rows_of(given: Any) -> list[Any] | np.ndarray:
    """The rows of a column, or of one or many inputs: one array where all of it is numbers, else a list."""
    if isinstance(given, str | bytes | bytearray | os.PathLike | Mapping):
        return [given]
    if isinstance(given, list | tuple) and given and not isinstance(given[0], Number | list | tuple):
        return list(given)
    try:
        array = np.asarray(given)
    except ValueError:  # lists of unequal lengths
        return list(given)
    return array if array.dtype.kind in "biuf" else array.ravel().tolist()


def file_of(row: Any) -> bytes | Path:
    """The content of a file, or its path.

    A string is base64 or a `data:` address, never a path: a server must not read the files that a request names.

    Raises:
        ValueError: The row is none of these.
    """
    if isinstance(row, Mapping):
        row = row.get("bytes")
    if isinstance(row, bytes | bytearray):
        return bytes(row)
    if isinstance(row, os.PathLike):
        return Path(row)
    if isinstance(row, str):
        content = row.partition(",")[2] if row.startswith("data:") else row
        try:
            return base64.b64decode("".join(content.split()), validate=True)
        except ValueError as error:
            raise ValueError(f"the text {_quoted(row)!r} is not base64; write a path as pathlib.Path(…)") from error
    if row is None or row != row:
        raise ValueError("it is empty")
    raise ValueError(f"received a {type(row).__name__}, expected bytes, base64 or a pathlib.Path")


def _quoted(text: str) -> str:
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}…"


def check_request(rows: Sequence[object], kind: str, most: int = MAX_SIZE) -> None:
    """Raises DataError where a request exceeds a limit; `kind`: name of the rows in the plural."""
    if len(rows) > MAX_ROWS:
        raise DataError(f"received {len(rows):,} {kind}, expected {MAX_ROWS:,} at most: ask for them in parts")
    size = sum(len(row) for row in rows if isinstance(row, str | bytes))
    if size > most:
        raise DataError(f"received {kind} of {size:,} bytes, expected {most:,} at most: ask for them in parts")


def read_each(files: Iterable[File], read: Callable[[File], Read], told: str) -> list[Read]:
    """Applies `read` to each file of a request.

    Args:
        read: Raises ValueError, OSError or DataError where a file cannot be used.
        told: How an error names the file, with {} for its number.

    Raises:
        DataError: A file cannot be used.
    """
    made = []
    for number, file in enumerate(files):
        try:
            with DECODING:
                made.append(read(file))
        except OSError as error:
            raise DataError(f"{told.format(number)}: {error.strerror or error}: {error.filename}") from error
        except (ValueError, DataError) as error:
            raise DataError(f"{told.format(number)}: {error}") from error
    return made
