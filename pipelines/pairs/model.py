"""The registered model of captioned images: embeds images, texts or both in one space.

MLflow stores this file itself, as it does `pipelines/images/model.py`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class Refusal(MlflowException):
    """A refused input. Its message stays as it is: MLflow's server would put all pixels of the request before it."""

    message = property(MlflowException.__str__, lambda self, message: None)


class PairEncoderModel(PythonModel):
    """`predict` takes a table with a column `image`, a column `text`, or both; or images alone; or strings alone.

    An image is a file (bytes, base64 or a path), a PIL image, or an array (H, W, C) or (C, H, W) of whole numbers from
    0 to 255.

    It returns unit vectors, float32 (N, P), as `image_embedding` and `text_embedding`. For images, where there is a
    probe, also `probability` (N, classes) and `predicted` (N,); for rows with both, also `similarity`, float32 (N,) in
    [−1, 1].
    """

    def load_context(self, context: PythonModelContext) -> None:
        from unlabeled.downstream.model import load_model
        from unlabeled.pairs.towers import PairEncoder

        self.model = load_model(Path(context.artifacts["model"]), PairEncoder)

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, object] | None = None
    ) -> dict[str, np.ndarray]:
        from unlabeled.errors import DataError

        try:
            return self._answer(_columns(model_input))
        except DataError as error:
            raise Refusal.invalid_parameter_value(str(error)) from error

    def _answer(self, given: dict[str, Any]) -> dict[str, np.ndarray]:
        from unlabeled.downstream.given_images import read_images
        from unlabeled.downstream.serve import MAX_CHARACTERS, check_request
        from unlabeled.errors import DataError

        if not given:
            raise DataError("received no rows, expected the columns image, text or both")
        encoder, answer = self.model.encoder, {}
        if len({len(rows) for rows in given.values()}) > 1:
            raise DataError(f"received {len(given['image'])} images and {len(given['text'])} texts, expected as many")
        if "text" in given:
            check_request(texts := [*given["text"]], "texts", MAX_CHARACTERS)
        if "image" in given:
            images = read_images(given["image"], encoder.first.pixel_format, "the image of row {}")
            features = self.model.named_answer(images)
            answer["image_embedding"] = encoder.projected("first", features.pop("embedding"))
            answer |= features
        if "text" in given:
            answer["text_embedding"] = encoder.shared("second", texts)
        if len(given) == 2:
            answer["similarity"] = (answer["image_embedding"] * answer["text_embedding"]).sum(1)
        return answer


def _columns(given: Any) -> dict[str, Any]:
    """The rows of the columns `image` and `text`; a column without a value is left out.

    Raises:
        DataError: Some rows of a column have a value, and others have none.
    """
    from unlabeled.downstream.serve import columns_of, rows_of
    from unlabeled.errors import DataError

    there = {}
    for name, column in columns_of(given, ["image", "text"]).items():
        rows = rows_of(column)
        if isinstance(rows, list):
            missing = pd.isna(pd.Series(rows, dtype=object))
            if missing.all():
                continue
            if missing.any():
                raise DataError(f"row {missing.argmax()} has no {name}, but other rows have one: send them apart")
        strings = isinstance(rows, list) and all(isinstance(row, str) for row in rows)
        there[name or ("text" if strings else "image")] = rows
    return there


set_model(PairEncoderModel())
