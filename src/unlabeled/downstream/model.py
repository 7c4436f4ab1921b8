"""A trained model of any kind of data in memory, as used by `embed`, `search`, export and the served models."""

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
    """An encoder with its probe and its classes, as a version keeps them.

    Attributes:
        encoder: The encoder, with the size, channels and normalisation that it was trained with.
        probe: The linear probe; None where there were no labels.
        classes: Names of the classes that the probe predicts.
        name, version: Name and version in the registry; empty for a model from elsewhere.
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

    def named_answer(self, data: Any) -> dict[str, np.ndarray]:
        """The answer and, with a probe, as `predicted` (N,) the name of each row's most probable class."""
        answer = self.answer(data)
        if "probability" in answer:
            answer["predicted"] = np.array(self.classes, np.str_)[answer["probability"].argmax(1)]
        return answer


def load_model(folder: Path, kind: type[Encoder]) -> LoadedModel[Encoder]:
    """The model in a version's folder: `encoder.*`, `classes.json` and, where there is one, `probe.safetensors`.

    Args:
        kind: Expected class of the encoder; `Saved` accepts any.

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
