"""Requests to a served model: limits of their size, and decoding of their files one after another."""

import os
from collections.abc import Callable, Iterable, Sequence
from threading import BoundedSemaphore
from typing import TypeVar

from unlabeled.errors import DataError

MAX_ROWS = 1024
"""Largest number of files or texts in a request."""
MAX_SIZE = 2**26
"""Largest size of all files of a request, in bytes."""
MAX_CHARACTERS = 2**22
"""Largest number of characters of all texts of a request: their tokens take many times as much memory."""
DECODING = BoundedSemaphore(os.cpu_count() or 1)
"""Semaphore that limits the requests whose files are decoded at the same time; others wait."""

File = TypeVar("File")
Read = TypeVar("Read")


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
        read: Raises ValueError where a file cannot be used.
        told: How an error names the file, with {} for its number.

    Raises:
        DataError: A file cannot be used.
    """
    made = []
    for number, file in enumerate(files):
        try:
            with DECODING:
                made.append(read(file))
        except ValueError as error:
            raise DataError(f"{told.format(number)}: {error}") from error
    return made
