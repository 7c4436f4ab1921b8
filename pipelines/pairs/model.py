"""The registered model of captioned images: embeds images, texts or both in one space.

MLflow stores this file itself, as it does `pipelines/images/model.py`.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class PairEncoderModel(PythonModel):
    """`predict` takes rows with an `image`, the bytes of its file, a `text`, or both.

    It returns unit vectors, float32 (N, P), as `image_embedding` and `text_embedding`. For images, where there is a
    probe, also `probability` (N, classes); for rows with both, also `similarity`, float32 (N,) in [−1, 1].
    """

    def load_context(self, context: PythonModelContext) -> None:
        from unlabeled.downstream.model import load_model
        from unlabeled.pairs.towers import PairEncoder

        self.model = load_model(Path(context.artifacts["model"]), PairEncoder)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, object] | None = None
    ) -> dict[str, np.ndarray]:
        from unlabeled.errors import DataError

        try:
            return self._answer(model_input)
        except DataError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def _answer(self, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        from unlabeled.downstream.serve import MAX_CHARACTERS, MAX_SIZE, check_request, read_each
        from unlabeled.errors import DataError
        from unlabeled.images.pixels import read_alone

        given = {name: rows[name] for name in ("image", "text") if name in rows}
        given = {name: column for name, column in given.items() if column.notna().any()}
        for name, column in given.items():
            if not column.notna().all():
                row = int(column.isna().argmax())
                raise DataError(f"row {row} has no {name}, but other rows have one: send them apart")
            check_request(column.tolist(), f"{name}s", MAX_CHARACTERS if name == "text" else MAX_SIZE)
        if not given:
            raise DataError("received no rows, expected the columns image, text or both")
        encoder, answer = self.model.encoder, {}
        if "image" in given:
            read = partial(read_alone, pixel_format=encoder.first.pixel_format)
            images = np.stack(read_each(given["image"], read, "the image of row {}"))
            features = self.model.answer(images)
            answer["image_embedding"] = encoder.projected("first", features.pop("embedding"))
            answer |= features
        if "text" in given:
            answer["text_embedding"] = encoder.shared("second", given["text"].tolist())
        if len(given) == 2:
            answer["similarity"] = (answer["image_embedding"] * answer["text_embedding"]).sum(1)
        return answer


set_model(PairEncoderModel())
