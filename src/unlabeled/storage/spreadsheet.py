"""CSV that is safe to open in a spreadsheet: no cell becomes a formula, and reading returns the texts that were
written."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from unlabeled.runtime.legible import legible

FORMULA = re.compile(r"'*[=+\-@＝＋－＠]")
"""Pattern of a text that a spreadsheet would evaluate, including the quotes that prevent it."""
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Writes a table; texts that would be formulas get a `'` in front, and control characters become escapes."""
    _with_texts(frame, _quoted).to_csv(path, index=False)


def read_csv(path: Path) -> pd.DataFrame:
    """Reads a table of `write_csv`, without the `'` in front of texts."""
    return _with_texts(pd.read_csv(path), _unquoted)


def _with_texts(frame: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    texts = frame.select_dtypes(["object", "string"])
    return frame.assign(**{name: texts[name].map(lambda cell: _changed(cell, change)) for name in texts})


def _changed(cell: object, change: Callable[[str], str]) -> object:
    return change(cell) if isinstance(cell, str) else cell


def _quoted(text: str) -> str:
    shown = legible(text)
    return f"'{shown}" if FORMULA.match(shown) and not NUMBER.fullmatch(shown) else shown


def _unquoted(text: str) -> str:
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text
