"""The registered model of images: returns embeddings and, where there is a probe, class probabilities.

MLflow stores this file itself and runs it to load the model ("models from code"), with a copy of the package
`unlabeled` beside it: nothing is unpickled, and the project need not be installed.
"""

from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class Refusal(MlflowException):
    """A refused input. Its message stays as it is: MLflow's server would put all pixels of the request before it."""

    message = property(MlflowException.__str__, lambda self, message: None)


class EncoderModel(PythonModel):
    """`predict` takes images and gives float32 `embedding` (N, D), `probability` (N, classes) and `predicted` (N,).

    An image is a file (bytes, base64 or a path), a PIL image, or an array (H, W, C) or (C, H, W) of whole numbers from
    0 to 255. Many are a list, one array, or a table with one column, or with a column `image`. Files may also come as
    base64 in the parameter `files`, beside images that are then ignored.
    """

    def load_context(self, context: PythonModelContext) -> None:
        from unlabeled.downstream.model import load_model
        from unlabeled.images.encoder import ImageEncoder

        self.model = load_model(Path(context.artifacts["model"]), ImageEncoder)

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, list[str]] | None = None
    ) -> dict[str, np.ndarray]:
        # `model_input` has any of those forms; MLflow warns of every hint that names more than one.
        from unlabeled.errors import DataError

        try:
            return self.model.named_answer(self._images(model_input, (params or {}).get("files")))
        except DataError as error:
            raise Refusal.invalid_parameter_value(str(error)) from error

    def _images(self, given: Any, files: list[str] | None) -> np.ndarray:
        from unlabeled.downstream.given_images import read_images
        from unlabeled.downstream.serve import columns_of

        pixel_format = self.model.encoder.pixel_format
        if files:
            return read_images([*files], pixel_format, "files[{}] cannot be used")
        (images,) = columns_of(given, ["image"]).values()
        return read_images(images, pixel_format)


set_model(EncoderModel())
