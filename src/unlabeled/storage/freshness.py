"""Freshness of stored results: whether the named parts that decide a result are still the same.

A part is a digest, or the value itself. Whether the bytes of a file are those that were written is a separate question,
which `intact` answers, and `reuse` row by row.
"""

import hashlib
import inspect
import json
import re
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pandas as pd

Parts = Mapping[str, object]
"""Inputs that decide a result, by name, as JSON values."""
MADE_BY = "made_by"
"""Attribute of an index that holds the digest of how its rows were made."""


class Difference(NamedTuple):
    """A part that differs between the current inputs and a stored result."""

    part: str
    asked: object
    found: object


def difference(asked: Parts, found: Parts) -> Difference | None:
    """The first part that differs between the current inputs and a stored result; None: the result is current.

    Parts that only `found` has are not compared.
    """
    parts = (Difference(part, value, found.get(part)) for part, value in asked.items())
    return next((each for each in parts if each.asked != each.found), None)


def is_other(today: object, recorded: object) -> bool:
    """Whether a recorded value differs from today's. A record of None, by an earlier release, never differs."""
    return recorded is not None and recorded != today


def digest_of(parts: Parts) -> str:
    """SHA-256 of all parts by their names, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def made_by(modules: Iterable[ModuleType], **how: object) -> str:
    """Digest of code and parameters: rows with another digest were made in another way."""
    digest = hashlib.sha256(json.dumps(how, sort_keys=True).encode())
    for module in modules:
        digest.update(Path(inspect.getfile(module)).read_bytes())
    return digest.hexdigest()[:16]


def code_digest(module: str) -> str:
    """Digest of the Python code of the top-level package, or single file, that a module or `module:class` is in."""
    spec = find_spec(re.split("[.:]", module)[0])
    if spec is None:
        raise ModuleNotFoundError(module)
    files = sorted(file for folder in spec.submodule_search_locations or () for file in Path(folder).rglob("*.py"))
    digest = hashlib.sha256()
    for file in files or [Path(str(spec.origin))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def order_of(manifest: pd.DataFrame) -> str:
    """Digest of the content of each row, in order."""
    return hashlib.sha256("".join(manifest.sha256).encode()).hexdigest()


def contents_of(manifest: pd.DataFrame, split: str) -> str:
    """Digest of the contents of a split, independent of their order."""
    return hashlib.sha256("".join(sorted(manifest.sha256[manifest.split == split])).encode()).hexdigest()[:16]


def rows_digest(manifest: pd.DataFrame, columns: Iterable[str]) -> str:
    """Digest of the rows in those of the columns that the manifest has, independent of their order."""
    there = manifest[[name for name in columns if name in manifest]]
    rows = pd.util.hash_pandas_object(there, index=False)  # ty: ignore[not-callable]  # pandas has no types for it
    return hashlib.sha256(np.sort(rows.to_numpy()).tobytes()).hexdigest()[:16]
