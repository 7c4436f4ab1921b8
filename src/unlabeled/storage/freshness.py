"""Is what lies here still of this? What decides a result is named parts, and these are compared one by one.

A part is a digest, or the value itself. Whether the bytes of a file are those that were written is another question:
`intact` answers it, and `reuse` row by row.
"""

import hashlib
import inspect
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pandas as pd

Parts = Mapping[str, object]
"""What decides a result, by name, as JSON values."""
MADE_BY = "made_by"
"""The attribute of an index that says how its rows were made."""


class Difference(NamedTuple):
    """A part in which what lies here is not of what is asked for."""

    part: str
    asked: object
    found: object


def difference(asked: Parts, found: Parts) -> Difference | None:
    """The first part of what is asked for that what lies here is not of; None: it is still of all of them.

    Parts that only `found` has are not compared.
    """
    parts = (Difference(part, value, found.get(part)) for part, value in asked.items())
    return next((each for each in parts if each.asked != each.found), None)


def is_other(today: object, recorded: object) -> bool:
    """Whether a record is of something else than today's. None: it is by an earlier release, and does not say."""
    return recorded is not None and recorded != today


def digest_of(parts: Parts) -> str:
    """SHA-256 of all parts by their names, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def made_by(modules: Iterable[ModuleType], **how: object) -> str:
    """A digest of code and parameters: rows made by others are not the same."""
    digest = hashlib.sha256(json.dumps(how, sort_keys=True).encode())
    for module in modules:
        digest.update(Path(inspect.getfile(module)).read_bytes())
    return digest.hexdigest()[:16]


def order_of(manifest: pd.DataFrame) -> str:
    """A digest of which content is in which row."""
    return hashlib.sha256("".join(manifest.sha256).encode()).hexdigest()


def contents_of(manifest: pd.DataFrame, split: str) -> str:
    """A digest of what a split holds, in whatever order."""
    return hashlib.sha256("".join(sorted(manifest.sha256[manifest.split == split])).encode()).hexdigest()[:16]
