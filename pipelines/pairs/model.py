"""The registered model of captioned images: images, texts or both in; their places in one space out.

MLflow stores this file itself, as it does `pipelines/images/model.py`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class PairEncoderModel(PythonModel):
    """`predict` takes rows with an `image`, the bytes of its file, a `text`, or both.

    It gives unit vectors, float32 (N, P): `image_embedding`, `text_embedding`; of images, where there was a probe,
    `probability` (N, classes); and of rows with both, `similarity`, float32 (N,) in [−1, 1].
    """

    def load_context(self, context: Any) -> None:
        from unlabeled.downstream.serve import load_served

        self.served = load_served(Path(context.artifacts["model"]))

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> dict[str, np.ndarray]:
        from unlabeled.downstream.serve import MAX_CHARACTERS, MAX_SIZE, check_request
        from unlabeled.errors import DataError

        given = {name: model_input[name] for name in ("image", "text") if name in model_input}
        given = {name: column for name, column in given.items() if column.notna().any()}
        for name, column in given.items():
            if not column.notna().all():
                message = f"row {int(column.isna().argmax())} has no {name}, and others have: ask for them apart"
                raise MlflowException.invalid_parameter_value(message)
            try:
                check_request(column, f"{name}s", MAX_CHARACTERS if name == "text" else MAX_SIZE)
            except DataError as error:
                raise MlflowException.invalid_parameter_value(str(error)) from error
        if not given:
            raise MlflowException.invalid_parameter_value("received no rows, expected the columns image, text or both")
        answer = {}
        if "image" in given:
            images = self._decode(given["image"])
            answer |= {"image_embedding": self.served.encoder.shared("first", images)}
            if self.served.probe is not None:
                answer["probability"] = self.served.answer(images)["probability"]
        if "text" in given:
            answer["text_embedding"] = self.served.encoder.shared("second", given["text"].tolist())
        if len(given) == 2:
            answer["similarity"] = (answer["image_embedding"] * answer["text_embedding"]).sum(1)
        return answer

    def _decode(self, files: pd.Series) -> np.ndarray:
        from unlabeled.downstream.serve import DECODING
        from unlabeled.images.decode import decode_alone

        encoder, decoded = self.served.encoder.first, []
        pixel_range = encoder.normalisation.pixel_range
        for number, file in enumerate(files):
            try:
                with DECODING:
                    decoded.append(decode_alone(file, encoder.image_size, encoder.channels, pixel_range))
            except ValueError as error:
                raise MlflowException.invalid_parameter_value(f"the image of row {number}: {error}") from error
        return np.stack(decoded)


set_model(PairEncoderModel())
