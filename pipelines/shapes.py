"""The keys and columns that files of the project must hold, by file name; other content is reported as an error."""

from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from unlabeled.errors import DataError
from unlabeled.records import Finetuned, Metrics, RunRecord, Summary, Version

RECORDS: dict[str, Any] = {
    "summary.json": Summary,
    "run.json": RunRecord,
    "metrics.json": Metrics,
    "version.json": Version,
    "finetune.json": Finetuned,
}
"""The type of the content of JSON files."""
COLUMNS = {
    "manifest.parquet": {"path", "sha256", "label", "split", "target"},
    "predictions.parquet": {"row", "sha256", "target", "predicted", "confidence"},
}
"""Columns that tables must have."""
RULES = {name: TypeAdapter(with_config(ConfigDict(strict=True))(record)) for name, record in RECORDS.items()}


def check_shape(path: Path, held: Any) -> None:
    """Raises DataError where the content of a file is not of the shape that the project writes under this name."""
    problem = _problem(path.name, held)
    if problem:
        raise DataError(f"{path} is none that this project writes ({problem}): run the stage that writes it again")


def _problem(name: str, held: Any) -> str:
    """The difference to the expected shape, in words; empty: none."""
    if name in COLUMNS:
        columns = set(held.columns) if isinstance(held, pd.DataFrame) else set()
        return f"it lacks the columns {_listed(missing)}" if (missing := COLUMNS[name] - columns) else ""
    if name not in RULES:
        return ""
    if not isinstance(held, dict):
        return f"received a {type(held).__name__}, expected keys and values"
    try:
        RULES[name].validate_python(held)
    except ValidationError as error:
        first, *_ = error.errors()
        if first["type"] == "missing" and len(first["loc"]) == 1:
            return f"it lacks {_listed(RECORDS[name].__required_keys__ - held.keys())}"
        key, expected = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Input should be ")
        return f"{key}: received {first['input']!r}, expected {expected}"
    return ""


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))
