"""What answers a user: an encoder of any kind of data, its probe, and the names of what that predicts."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, NamedTuple

import numpy as np

from unlabeled.encoders import load_encoder
from unlabeled.errors import DataError
from unlabeled.evaluation.probe import LinearProbe

MAX_ROWS = 1024
"""Files, or texts, of a request."""
MAX_SIZE = 2**26
"""Bytes of all of them."""
MAX_CHARACTERS = 2**22
"""Characters of all texts: tokens take many times as much."""
DECODING = BoundedSemaphore(os.cpu_count() or 1)
"""Held by requests while their files are decoded: others wait."""


class Served(NamedTuple):
    """A model as a version keeps it; `probe` is None where there were no labels."""

    encoder: Any
    probe: LinearProbe | None
    classes: list[str]

    def answer(self, data: Any) -> dict[str, np.ndarray]:
        """float32 `embedding` (N, D) of what the encoder embeds and, with a probe, `probability` (N, classes)."""
        embedding = self.encoder.embed(data)
        if self.probe is None:
            return {"embedding": embedding}
        return {"embedding": embedding, "probability": self.probe.probabilities(embedding)}


def load_served(folder: Path) -> Served:
    """The model in a version's folder: `encoder.*`, `classes.json` and, where there is one, `probe.safetensors`.

    Raises:
        DataError: A file is missing or damaged, or they do not belong together.
    """
    encoder, file = load_encoder(folder), folder / "probe.safetensors"
    try:
        classes = json.loads((folder / "classes.json").read_text())
        probe = LinearProbe.load(file) if file.exists() else None
        shape = len(classes), encoder.feature_dim
        if probe is not None and probe.weight.shape != shape:
            raise ValueError(f"the probe has the shape {probe.weight.shape}, expected {shape}")
    except Exception as error:  # safetensors raises its own kinds, json others
        raise DataError(f"{folder} is not a saved model ({error}): register it again") from error
    return Served(encoder, probe, classes)


def check_request(rows: Sequence[Any], kind: str, most: int = MAX_SIZE) -> None:
    """Raises DataError where a request has more files or texts than are answered at a time; `kind`: in the plural."""
    if len(rows) > MAX_ROWS:
        raise DataError(f"received {len(rows):,} {kind}, expected {MAX_ROWS:,} at most: ask for them in parts")
    size = sum(len(row) for row in rows if isinstance(row, str | bytes))
    if size > most:
        raise DataError(f"received {kind} of {size:,} bytes, expected {most:,} at most: ask for them in parts")
