"""Stage 5 of clips: a version that takes videos, before the same gate."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec

from pipelines.images import registration as of_images
from pipelines.registry.card import Kind
from pipelines.registry.provenance import Provenance
from pipelines.stages.registration import GIVEN, enter, log_files
from pipelines.stages.stage import stage
from pipelines.video import model
from unlabeled.config import Evaluation, Registration
from unlabeled.runtime.counts import counted
from unlabeled.video.config import VideoPretraining

REQUIREMENTS = (*of_images.REQUIREMENTS, "av")
INPUTS = Schema([ColSpec(DataType.binary, "video")])


def register(
    encoder: Any,
    probe: Any,
    metrics: dict[str, Any],
    predictions: pd.DataFrame,
    frames: np.ndarray,
    sounds: np.ndarray,
    manifest: pd.DataFrame,
    summary: dict[str, Any],
    run: dict[str, Any],
    provenance: Provenance,
    pretraining: VideoPretraining,
    evaluation: Evaluation,
    config: Registration,
) -> dict[str, Any]:
    """Adds a version with the alias `challenger`, and `champion` where it has earned it."""
    vectors = [
        TensorSpec(np.dtype(np.float32), (-1, encoder.width), f"{kind}_embedding") for kind in ("frames", "sound")
    ]
    signature = ModelSignature(INPUTS, Schema([*vectors, TensorSpec(np.dtype(np.float32), (-1,), "similarity")]))

    def log(record: dict[str, Any]) -> str:
        example = pd.DataFrame({"video": [_film(frames[0], sounds[0], summary)]})
        return log_files(encoder, probe, summary, record, model.__file__, signature, example, REQUIREMENTS)

    stored = counted(summary["frames"], "frames")
    kind = Kind(
        "An encoder of videos and their sounds",
        f"{counted(summary['clips'], 'clips')} of {summary['source']} ({stored} of {summary['image_size']}², "
        f"{summary['seconds']:g} s of sound at {summary['rate']:,} Hz)",
        'pandas.DataFrame({"video": [file.read_bytes()]}))',
        "clips",
    )
    blocks = (pretraining, evaluation, config)
    return enter(encoder, log, kind, metrics, predictions, frames, manifest, summary, run, provenance, *blocks)


def _film(frames: np.ndarray, wave: np.ndarray, summary: dict[str, Any]) -> bytes:
    """An mp4 of what is stored of a clip."""
    from unlabeled.video.clips import write_clip  # imports PyAV

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "clip.mp4")
        even = frames[:, :, : frames.shape[2] // 2 * 2, : frames.shape[3] // 2 * 2]
        write_clip(file, even, max(1, round(len(frames) / summary["seconds"])), wave, summary["rate"])
        return file.read_bytes()


def create_pipeline() -> Pipeline:
    inputs = ("frames", "sounds", *GIVEN)
    return stage("registration", register, inputs, "version", config="params:registration")
