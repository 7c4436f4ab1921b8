"""The registered model of text: returns embeddings and, where there is a probe, class probabilities.

MLflow stores this file itself, as it does `pipelines/images/model.py`.
"""

from pathlib import Path

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class TextEncoderModel(PythonModel):
    """`predict` takes strings, as a list or one column, and returns float32 `embedding` (N, D) and `probability`."""

    def load_context(self, context: PythonModelContext) -> None:
        from unlabeled.downstream.model import load_model
        from unlabeled.text.encoder import TextEncoder

        self.model = load_model(Path(context.artifacts["model"]), TextEncoder)

    def predict(
        self, context: PythonModelContext, model_input, params: dict[str, object] | None = None
    ) -> dict[str, np.ndarray]:
        from unlabeled.downstream.serve import MAX_CHARACTERS, check_request
        from unlabeled.errors import DataError

        texts = np.asarray(model_input).ravel().tolist()
        try:
            check_request(texts, "texts", MAX_CHARACTERS)
            return self.model.answer(texts)
        except DataError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


set_model(TextEncoderModel())
