"""The registered model of video: embeds the frames and the sound of videos in one space.

MLflow stores this file itself, as it does `pipelines/images/model.py`.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class Refusal(MlflowException):
    """A refused input. Its message stays as it is: MLflow's server would put the whole request before it."""

    message = property(MlflowException.__str__, lambda self, message: None)


class VideoEncoderModel(PythonModel):
    """`predict` takes videos with their sound as files (bytes, base64 or paths): one, a list, or a column `video`.

    It returns unit vectors, float32 (N, P), as `frames_embedding` and `sound_embedding`; their `similarity`, float32
    (N,) in [−1, 1]; and, where there is a probe, of the frames `probability` (N, classes) and `predicted` (N,).
    """

    def load_context(self, context: PythonModelContext) -> None:
        from unlabeled.downstream.model import load_model
        from unlabeled.pairs.towers import PairEncoder

        self.model = load_model(Path(context.artifacts["model"]), PairEncoder)

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, object] | None = None
    ) -> dict[str, np.ndarray]:
        from unlabeled.downstream.serve import columns_of, rows_of
        from unlabeled.errors import DataError

        try:
            (videos,) = columns_of(model_input, ["video"]).values()
            frames, sounds = self._read(list(rows_of(videos)))
            encoder, features = self.model.encoder, self.model.named_answer(frames)
            first, second = encoder.projected("first", features.pop("embedding")), encoder.shared("second", sounds)
        except DataError as error:
            raise Refusal.invalid_parameter_value(str(error)) from error
        similarity = (first * second).sum(1)
        return {"frames_embedding": first, "sound_embedding": second, "similarity": similarity, **features}

    def _read(self, videos: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        """The frames and sounds of videos, in the form that the two towers take."""
        from unlabeled.downstream.serve import check_request, file_of, read_each
        from unlabeled.errors import DataError
        from unlabeled.video.clips import Clip, read_clip
        from unlabeled.video.encoders import reading_for

        if not videos:
            raise DataError("received no rows, expected some with a video")
        check_request(videos, "videos")
        config = reading_for(self.model.encoder.first, self.model.encoder.second)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "video")

            def read(video: Any) -> Clip:
                content = file_of(video)
                if isinstance(content, Path):
                    return read_clip(content, config)
                path.write_bytes(content)
                return read_clip(path, config)

            clips = read_each(videos, read, "the video of row {}")
        return np.stack([clip.frames for clip in clips]), np.stack([clip.wave for clip in clips])


set_model(VideoEncoderModel())
