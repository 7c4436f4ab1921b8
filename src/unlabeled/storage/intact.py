"""Checks that arrays and weights are as written: the only place that compares them with the digests in a record."""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from unlabeled.errors import DataError
from unlabeled.storage.arrays import Rows
from unlabeled.storage.freshness import is_other

DIGEST = "digest"
"""Key, in the file of an encoder or a probe, of the digest of its content when it was saved."""
CHECK_BATCH_SIZE = 256
"""Rows that a thread checks at a time."""


def digest_of_weights(weights: Mapping[str, np.ndarray]) -> str:
    """Digest of all weights by their names, 16 hexadecimal digits: equal for equal names and values."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weights[name]).tobytes())
    return digest.hexdigest()[:16]


def check_weights(file: Path, expected: str | None, remedy: str) -> None:
    """Raises DataError where a safetensors file does not hold the recorded weights.

    Args:
        expected: Recorded digest; None: the record is of an earlier release without one.
        remedy: Advice that ends the error message.
    """
    try:
        found = digest_of_weights(load_file(file))
    except Exception as error:  # safetensors raises its own kinds
        raise DataError(f"{file} is damaged ({error}): {remedy}") from error
    if is_other(found, expected):
        raise DataError(f"{file} is damaged or of another training (its digest is {found}, not {expected}): {remedy}")


def check_files(folder: Path, expected: Mapping[str, str], remedy: str) -> None:
    """Raises DataError where a file, named by its path in the folder, is missing or does not have the expected
    SHA-256."""
    for name, digest in expected.items():
        file = folder / name
        if not file.is_file() or digest_of_file(file) != digest:
            raise DataError(f"{file} is {'damaged or another' if file.exists() else 'missing'}: {remedy}")


def digest_of_file(file: Path) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def check_rows(array: np.ndarray | Rows, checksums: np.ndarray, file: Path, remedy: str) -> None:
    """Raises DataError where rows of an array do not have their checksums, int64 of shape (N,)."""
    from unlabeled.storage.reuse import checksum  # imports xxhash, which a served model does not have

    array = array if isinstance(array, Rows) else np.asarray(array)  # rows of a memmap are slow to make
    count = min(len(array), len(checksums))

    def damaged(first: int) -> int:
        rows = range(first, min(first + CHECK_BATCH_SIZE, count))
        return sum(checksum(array[row]) != checksums[row] for row in rows)

    with ThreadPoolExecutor() as pool:  # xxhash releases Python's lock
        bad = abs(len(array) - len(checksums)) + sum(pool.map(damaged, range(0, count, CHECK_BATCH_SIZE)))
    if bad:
        raise DataError(f"{file} is damaged or of another run, in {bad:,} of {len(checksums):,} rows: {remedy}")


def check_array(array: np.ndarray, expected: int | None, file: Path, remedy: str) -> None:
    """Raises DataError where an array does not have its recorded checksum; None: the record is of an earlier
    release."""
    from unlabeled.storage.reuse import checksum  # imports xxhash

    if is_other(checksum(array), expected):
        raise DataError(f"{file} is damaged or of another run: {remedy}")
