"""What files of the project hold at least, by their names: one that holds something else is refused in a sentence."""

from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from unlabeled.errors import DataError

Numbers = dict[str, dict[str, Any]]
KEYS: dict[str, dict[str, Any]] = {
    "summary.json": {
        "source": str,
        "data_digest": str,
        "classes": list[str],
        "labelled": int,
        "splits": dict[str, int],
        "quarantined": int,
    },
    "run.json": {"run_id": str, "method": str, "seed": int},
    "metrics.json": {
        "data_digest": str,
        "protocol": str,
        "linear_probe_accuracy": float | None,
        "knn_accuracy": float | None,
        "few_label": Numbers,
        "baselines": Numbers,
        "embedding_std": float,
        "rankme": float,
        "seconds": float,
    },
    "version.json": {
        "name": str,
        "version": str,
        "champion": bool,
        "verdict": str,
        "reason": str,
        "selection": str,
    },
    "finetune.json": {"method": str, "data_digest": str, "labels": dict[str, Numbers]},
}
"""Keys of JSON files, with the types of their values."""
COLUMNS = {
    "manifest.parquet": {"path", "sha256", "label", "split", "target"},
    "predictions.parquet": {"row", "sha256", "target", "predicted", "confidence"},
}
"""Columns of tables."""
STRICT = ConfigDict(strict=True, protected_namespaces=())
MODELS: dict[str, type[BaseModel]] = {
    name: create_model(name, __config__=STRICT, **{key: (kind, ...) for key, kind in keys.items()})
    for name, keys in KEYS.items()
}


def check_shape(path: Path, held: Any) -> None:
    """Raises DataError where what was read from a file is not what the project writes under this name."""
    problem = _problem(path.name, held)
    if problem:
        raise DataError(f"{path} is none that this project writes ({problem}): run the stage that writes it again")


def _problem(name: str, held: Any) -> str:
    """In words; empty: there is none."""
    if name in COLUMNS:
        columns = set(held.columns) if isinstance(held, pd.DataFrame) else set()
        return f"it lacks the columns {_listed(missing)}" if (missing := COLUMNS[name] - columns) else ""
    if name not in MODELS:
        return ""
    if not isinstance(held, dict):
        return f"received a {type(held).__name__}, expected keys and values"
    try:
        MODELS[name].model_validate(held)
    except ValidationError as error:
        first, *_ = error.errors()
        if first["type"] == "missing" and len(first["loc"]) == 1:
            return f"it lacks {_listed(KEYS[name].keys() - held.keys())}"
        key, expected = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Input should be ")
        return f"{key}: received {first['input']!r}, expected {expected}"
    return ""


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))
