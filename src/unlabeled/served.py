"""What answers a user: an encoder of any kind of data, its probe, and the names of what that predicts."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unlabeled.encoders import load_encoder
from unlabeled.probe import LinearProbe


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
    """The model in a version's folder: `encoder.*`, `classes.json` and, where there is one, `probe.safetensors`."""
    probe = folder / "probe.safetensors"
    classes = json.loads((folder / "classes.json").read_text())
    return Served(load_encoder(folder), LinearProbe.load(probe) if probe.exists() else None, classes)
