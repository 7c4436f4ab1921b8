"""The registered model of clips: videos in; their frames' and sounds' places in one space out.

MLflow stores this file itself, as it does `pipelines/images/model.py`.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class VideoEncoderModel(PythonModel):
    """`predict` takes rows with a `video`, the bytes of a video with its sound.

    It gives unit vectors, float32 (N, P): `frames_embedding` and `sound_embedding`; `similarity`, float32 (N,) in
    [−1, 1], of the one to the other; and, where there was a probe, `probability` (N, classes) of the frames.
    """

    def load_context(self, context: Any) -> None:
        from unlabeled.downstream.serve import load_served

        self.served = load_served(Path(context.artifacts["model"]))

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> dict[str, np.ndarray]:
        frames, sounds = self._read(model_input["video"])
        encoder = self.served.encoder
        first, second = encoder.shared("first", frames), encoder.shared("second", sounds)
        answer = {"frames_embedding": first, "sound_embedding": second, "similarity": (first * second).sum(1)}
        if self.served.probe is not None:
            answer["probability"] = self.served.answer(frames)["probability"]
        return answer

    def _read(self, videos: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        from unlabeled.downstream.serve import DECODING, check_request
        from unlabeled.errors import DataError
        from unlabeled.video.clips import read_clip
        from unlabeled.video.encoders import reading_for

        if videos.empty:
            raise MlflowException.invalid_parameter_value("received no rows, expected some with a video")
        try:
            check_request(videos, "videos")
        except DataError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        config, clips = reading_for(self.served.encoder.first, self.served.encoder.second), []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "video")
            for number, video in enumerate(videos):
                path.write_bytes(video)
                try:
                    with DECODING:
                        clips.append(read_clip(path, config))
                except ValueError as error:
                    raise MlflowException.invalid_parameter_value(f"the video of row {number}: {error}") from error
        return np.stack([clip.frames for clip in clips]), np.stack([clip.wave for clip in clips])


set_model(VideoEncoderModel())
