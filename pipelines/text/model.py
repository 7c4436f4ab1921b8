"""The registered model of text: strings in, embeddings and, where there was a probe, class probabilities out.

MLflow stores this file itself, as it does `pipelines/model.py`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class TextEncoderModel(PythonModel):
    """`predict` takes strings, a list or one column, and gives float32 `embedding` (N, D) and `probability`."""

    def load_context(self, context: Any) -> None:
        from unlabeled.encoders import load_encoder
        from unlabeled.probe import LinearProbe

        folder = Path(context.artifacts["model"])
        self.encoder = load_encoder(folder)
        probe = folder / "probe.safetensors"
        self.probe = LinearProbe.load(probe) if probe.exists() else None
        self.classes = json.loads((folder / "classes.json").read_text())

    def predict(self, context, model_input, params: dict[str, Any] | None = None) -> dict[str, np.ndarray]:
        embedding = self.encoder.embed([str(text) for text in np.asarray(model_input).ravel()])
        if self.probe is None:
            return {"embedding": embedding}
        return {"embedding": embedding, "probability": self.probe.probabilities(embedding)}


set_model(TextEncoderModel())
