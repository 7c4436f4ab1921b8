"""The registered model of video: embeds the frames and the sound of videos in one space.

MLflow stores this file itself, as it does `pipelines/images/model.py`.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class VideoEncoderModel(PythonModel):
    """`predict` takes rows with a `video`, the bytes of a video with its sound.

    It returns unit vectors, float32 (N, P), as `frames_embedding` and `sound_embedding`; their `similarity`, float32
    (N,) in [−1, 1]; and, where there is a probe, `probability` (N, classes) of the frames.
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
            frames, sounds = self._read(model_input["video"].tolist())
            encoder, features = self.model.encoder, self.model.answer(frames)
            first, second = encoder.projected("first", features.pop("embedding")), encoder.shared("second", sounds)
        except DataError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        similarity = (first * second).sum(1)
        return {"frames_embedding": first, "sound_embedding": second, "similarity": similarity, **features}

    def _read(self, videos: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """The frames and sounds of videos, in the form that the two towers take."""
        from unlabeled.downstream.serve import check_request, read_each
        from unlabeled.errors import DataError
        from unlabeled.video.clips import Clip, read_clip
        from unlabeled.video.encoders import reading_for

        if not videos:
            raise DataError("received no rows, expected some with a video")
        check_request(videos, "videos")
        config = reading_for(self.model.encoder.first, self.model.encoder.second)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "video")

            def read(video: bytes) -> Clip:
                path.write_bytes(video)
                return read_clip(path, config)

            clips = read_each(videos, read, "the video of row {}")
        return np.stack([clip.frames for clip in clips]), np.stack([clip.wave for clip in clips])


set_model(VideoEncoderModel())
