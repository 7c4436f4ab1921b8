"""The registered model of images: returns embeddings and, where there is a probe, class probabilities.

MLflow stores this file itself and runs it to load the model ("models from code"), with a copy of the package
`unlabeled` beside it: nothing is unpickled, and the project need not be installed.
"""

import base64
from pathlib import Path

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class EncoderModel(PythonModel):
    """`predict` takes images (N, C, H, W), whole numbers from 0 to 255, and gives float32 `embedding` (N, D) and
    `probability` (N, classes).

    With the parameter `files`, a list of image files as base64, it embeds these instead, decoded as in ingestion.
    """

    def load_context(self, context: PythonModelContext) -> None:
        from unlabeled.downstream.model import load_model
        from unlabeled.images.encoder import ImageEncoder

        self.model = load_model(Path(context.artifacts["model"]), ImageEncoder)

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, list[str]] | None = None
    ) -> dict[str, np.ndarray]:
        from unlabeled.downstream.serve import check_request, read_each
        from unlabeled.errors import DataError

        files = (params or {}).get("files")
        try:
            if not files:
                return self.model.answer(np.asarray(model_input))
            check_request(files, "files")
            return self.model.answer(np.stack(read_each(files, self._pixels, "files[{}] cannot be used")))
        except DataError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def _pixels(self, file: str) -> np.ndarray:
        """The pixels of a file in base64. Raises ValueError where it is not base64 or not an image."""
        from unlabeled.images.pixels import read_alone

        return read_alone(base64.b64decode(file, validate=True), self.model.encoder.pixel_format)


set_model(EncoderModel())
