"""Stage 6 of clips: one page of a run, and the numbers that matter on the terminal."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.stages.freshness import stop_if_of_others
from pipelines.stages.reporting import GIVEN, provenance_of, standing_of, tell
from pipelines.stages.stage import stage
from unlabeled.config import Evaluation, Registration
from unlabeled.video.config import Spectrograms, VideoIngestion, VideoPretraining


def report(
    frames: np.ndarray,
    sounds: np.ndarray,
    manifest: pd.DataFrame,
    summary: dict[str, Any],
    quarantine: pd.DataFrame,
    features: np.ndarray,
    probe: Any,
    metrics: dict[str, Any],
    predictions: pd.DataFrame,
    shown: list[list[int]],
    history: pd.DataFrame,
    run: dict[str, Any],
    version: dict[str, Any],
    folder: Path,
    ingestion: VideoIngestion,
    augmentation: Spectrograms,
    pretraining: VideoPretraining,
    evaluation: Evaluation,
    registration: Registration,
) -> str:
    from unlabeled.video.report import VideoEvidence, build_report  # imports torch and matplotlib

    stop_if_of_others(metrics, summary, evaluation, run)
    page = build_report(
        VideoEvidence(
            method=run["method"],
            frames=frames,
            sounds=sounds,
            manifest=manifest,
            summary=summary,
            quarantine=quarantine,
            features=features,
            probe=probe or None,
            metrics=metrics,
            predictions=predictions,
            history=history,
            recipe=augmentation,
            pretraining=pretraining,
            evaluation=evaluation,
            finetuned={},
            provenance=provenance_of(run, version),
            standing=standing_of(version),
            parameters=(ingestion, augmentation, pretraining, evaluation, registration),
            shown=shown,
        )
    )
    tell(run["method"], summary, metrics, version, folder)
    return page


def create_pipeline() -> Pipeline:
    inputs = ("frames", "sounds", "shown", *GIVEN)
    return stage("reporting", report, inputs, "report", folder="reporting_folder")
