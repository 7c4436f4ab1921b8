"""Is what lies here still of this? What decides a result is named parts, and these are compared one by one."""

import hashlib
import json
from collections.abc import Mapping
from typing import NamedTuple

Parts = Mapping[str, object]
"""What decides a result, by name: digests, or the values themselves as JSON has them."""


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
