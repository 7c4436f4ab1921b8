"""The registered model: images in, embeddings and, where there was a probe, class probabilities out.

MLflow stores this file itself and runs it to load the model ("models from code"), with a copy of the package
`unlabeled` beside it: nothing is unpickled, and the project need not be installed.
"""

import base64
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class EncoderModel(PythonModel):
    """`predict` takes images (N, C, H, W), whole numbers from 0 to 255, and gives float32 `embedding` (N, D) and
    `probability` (N, classes).

    With the parameter `files`, image files as base64, it answers these instead, decoded as ingestion does.
    """

    def load_context(self, context: Any) -> None:
        from unlabeled.downstream.serve import load_served

        self.served = load_served(Path(context.artifacts["model"]))

    def predict(
        self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> dict[str, np.ndarray]:
        from unlabeled.errors import DataError

        files = (params or {}).get("files")
        try:
            return self.served.answer(self._decode(files) if files else np.asarray(model_input))
        except DataError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def _decode(self, files: list[str]) -> np.ndarray:
        from unlabeled.downstream.serve import DECODING, check_request
        from unlabeled.images.decode import decode_alone

        check_request(files, "files")
        encoder, decoded = self.served.encoder, []
        pixel_range = encoder.normalisation.pixel_range
        for number, file in enumerate(files):
            try:
                content = base64.b64decode(file, validate=True)
                with DECODING:
                    decoded.append(decode_alone(content, encoder.image_size, encoder.channels, pixel_range))
            except ValueError as error:  # no base64, or no image
                raise MlflowException.invalid_parameter_value(f"files[{number}] cannot be used: {error}") from error
        return np.stack(decoded)


set_model(EncoderModel())
