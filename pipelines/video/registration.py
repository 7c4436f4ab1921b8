"""Stage 5 of video: registers a version that takes videos, and asks the gate."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from pipelines.images import registration as of_images
from pipelines.registry.card import Kind
from pipelines.stages.registration import Candidate, Served, embeddings, register_version
from pipelines.stages.stage import stage
from pipelines.video import model
from unlabeled.records import Summary, Version
from unlabeled.runtime.counts import counted
from unlabeled.video.config import VideoPretraining

REQUIREMENTS = (*of_images.REQUIREMENTS, "av")
TAKES = "It takes files (`bytes` or `pathlib.Path`): one, a list, or a DataFrame with a column `video`."


@dataclass(frozen=True, kw_only=True)
class VideoCandidate(Candidate):
    pretraining: VideoPretraining


def register(candidate: VideoCandidate, frames: np.ndarray, sounds: np.ndarray) -> Version:
    from unlabeled.video.clips import clip_file  # imports PyAV

    outputs = [*embeddings(candidate.encoder, "frames", "sound"), TensorSpec(np.dtype(np.float32), (-1,), "similarity")]
    summary = candidate.summary
    example = pd.DataFrame({"video": [clip_file(frames[0], sounds[0], summary["seconds"], summary["rate"])]})
    served = Served(model.__file__, ModelSignature(None, Schema(outputs)), example, REQUIREMENTS)
    kind = Kind("An encoder of videos and their sounds", _stored(summary), 'Path("clip.mp4")', TAKES, "clips")
    return register_version(candidate, served, kind, frames)


def _stored(summary: Summary) -> str:
    """Number, source, frames and sound of the clips, in words."""
    stored = f"{counted(summary['frames'], 'frames')} of {summary['image_size']}²"
    sound = f"{summary['seconds']:g} s of sound at {summary['rate']:,} Hz"
    return f"{counted(summary['clips'], 'clips')} of {summary['source']} ({stored}, {sound})"


def create_pipeline() -> Pipeline:
    return stage("registration", register, "version")
