"""A trained model of any kind of data in memory: what `embed`, `search`, export and the served models answer with."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import numpy as np

from unlabeled.encoders import Encoder, load_encoder
from unlabeled.errors import DataError
from unlabeled.evaluation.probe import LinearProbe


@dataclass(frozen=True)
class LoadedModel(Generic[Encoder]):
    """An encoder and what a version keeps beside it.

    Attributes:
        encoder: Knows the size, the channels and the normalisation that it was trained with.
        probe: None: there were no labels.
        classes: Names of what the probe predicts.
        name, version: In the registry; empty where it is not from there.
    """

    encoder: Encoder
    probe: LinearProbe | None = None
    classes: Sequence[str] = ()
    name: str = ""
    version: str = ""

    def answer(self, data: Any) -> dict[str, np.ndarray]:
        """float32 `embedding` (N, D) of what the encoder embeds and, with a probe, `probability` (N, classes)."""
        embedding = self.encoder.embed(data)
        if self.probe is None:
            return {"embedding": embedding}
        return {"embedding": embedding, "probability": self.probe.probabilities(embedding)}


def load_model(folder: Path, kind: type[Encoder]) -> LoadedModel[Encoder]:
    """The model in a version's folder: `encoder.*`, `classes.json` and, where there is one, `probe.safetensors`.

    Args:
        kind: Of encoder that is expected; Saved: any.

    Raises:
        DataError: A file is missing or damaged, or they do not belong together, or the encoder is of another kind.
    """
    encoder, file = load_encoder(folder), folder / "probe.safetensors"
    try:
        if not isinstance(encoder, kind):
            raise ValueError(f"a {type(encoder).__name__}, expected a {kind.__name__}")
        classes = json.loads((folder / "classes.json").read_text())
        probe = LinearProbe.load(file) if file.exists() else None
        shape = len(classes), encoder.feature_dim
        if probe is not None and probe.weight.shape != shape:
            raise ValueError(f"the probe has the shape {probe.weight.shape}, expected {shape}")
    except Exception as error:  # safetensors raises its own kinds, json others
        raise DataError(f"{folder} is not a saved model ({error}): register it again") from error
    return LoadedModel(encoder, probe, classes)
