"""The registered model of text: returns embeddings and, where there is a probe, class probabilities.

MLflow stores this file itself, as it does `pipelines/images/model.py`.
"""

from pathlib import Path

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class Refusal(MlflowException):
    """A refused input. Its message stays as it is: MLflow's server would put all texts of the request before it."""

    message = property(MlflowException.__str__, lambda self, message: None)


class TextEncoderModel(PythonModel):
    """`predict` takes texts and gives float32 `embedding` (N, D), `probability` (N, classes) and `predicted` (N,).

    Texts are strings: one, a list, or a table with one column, or with a column `text`.
    """

    def load_context(self, context: PythonModelContext) -> None:
        from unlabeled.downstream.model import load_model
        from unlabeled.text.encoder import TextEncoder

        self.model = load_model(Path(context.artifacts["model"]), TextEncoder)

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, object] | None = None
    ) -> dict[str, np.ndarray]:
        from unlabeled.downstream.serve import MAX_CHARACTERS, check_request, columns_of, rows_of
        from unlabeled.errors import DataError

        try:
            (column,) = columns_of(model_input, ["text"]).values()
            texts = list(rows_of(column))
            if not texts:
                raise DataError("received no texts, expected a string or a list of strings")
            check_request(texts, "texts", MAX_CHARACTERS)
            return self.model.named_answer(texts)
        except DataError as error:
            raise Refusal.invalid_parameter_value(str(error)) from error


set_model(TextEncoderModel())
