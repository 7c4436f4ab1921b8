"""Requests to a served model: how large they may be, and their files read one after another."""

import os
from collections.abc import Callable, Iterable, Sequence
from threading import BoundedSemaphore
from typing import TypeVar

from unlabeled.errors import DataError

MAX_ROWS = 1024
"""Files, or texts, of a request."""
MAX_SIZE = 2**26
"""Bytes of all of them."""
MAX_CHARACTERS = 2**22
"""Characters of all texts: tokens take many times as much."""
DECODING = BoundedSemaphore(os.cpu_count() or 1)
"""Held by requests while their files are decoded: others wait."""

File = TypeVar("File")
Read = TypeVar("Read")


def check_request(rows: Sequence[object], kind: str, most: int = MAX_SIZE) -> None:
    """Raises DataError where a request has more files or texts than are answered at a time; `kind`: in the plural."""
    if len(rows) > MAX_ROWS:
        raise DataError(f"received {len(rows):,} {kind}, expected {MAX_ROWS:,} at most: ask for them in parts")
    size = sum(len(row) for row in rows if isinstance(row, str | bytes))
    if size > most:
        raise DataError(f"received {kind} of {size:,} bytes, expected {most:,} at most: ask for them in parts")


def read_each(files: Iterable[File], read: Callable[[File], Read], told: str) -> list[Read]:
    """What `read` makes of each file of a request.

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
