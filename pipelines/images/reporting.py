"""Stage 6: one page of a run, and the numbers that matter on the terminal."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.datasets.files import read_json
from pipelines.stages.freshness import stop_if_of_others
from pipelines.stages.reporting import GIVEN, provenance_of, standing_of, tell
from pipelines.stages.stage import stage
from unlabeled.config import Augmentation, Evaluation, Ingestion, Pretraining, Registration

logger = logging.getLogger(__name__)

FINETUNED = "finetune.json"


def report(
    images: np.ndarray,
    manifest: pd.DataFrame,
    summary: dict[str, Any],
    quarantine: pd.DataFrame,
    views: np.ndarray,
    encoder: Any,
    features: np.ndarray,
    probe: Any,
    metrics: dict[str, Any],
    predictions: pd.DataFrame,
    history: pd.DataFrame,
    examples: dict[str, np.ndarray],
    run: dict[str, Any],
    version: dict[str, Any],
    folder: Path,
    ingestion: Ingestion,
    augmentation: Augmentation,
    pretraining: Pretraining,
    evaluation: Evaluation,
    registration: Registration,
) -> str:
    from unlabeled.images.report import ImageEvidence, build_report  # imports torch and matplotlib

    stop_if_of_others(metrics, summary, evaluation, run)
    method = run["method"]
    page = build_report(
        ImageEvidence(
            method=method,
            images=images,
            manifest=manifest,
            summary=summary,
            quarantine=quarantine,
            views=views,
            encoder=encoder,
            features=features,
            probe=probe or None,
            metrics=metrics,
            predictions=predictions,
            history=history,
            examples=examples,
            recipe=augmentation,
            pretraining=pretraining,
            evaluation=evaluation,
            finetuned=_finetuned(folder / FINETUNED, method, summary["data_digest"]),
            provenance=provenance_of(run, version),
            standing=standing_of(version),
            parameters=(ingestion, augmentation, pretraining, evaluation, registration),
        )
    )
    tell(method, summary, metrics, version, folder)
    return page


def _finetuned(file: Path, method: str, digest: str) -> dict[str, Any]:
    """What the pipeline `finetune` measured, if it was of this method and these data."""
    found = read_json(file) if file.exists() else {}
    same = (found.get("method"), found.get("data_digest")) == (method, digest)
    return found["labels"] if same else {}


def create_pipeline() -> Pipeline:
    inputs = ("images", "views", "encoder", "examples", *GIVEN)
    return stage("reporting", report, inputs, "report", folder="reporting_folder")
