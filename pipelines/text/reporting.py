"""Stage 6 of text: one page of a run, and the numbers that matter on the terminal."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.stages.freshness import stop_if_of_others
from pipelines.stages.reporting import GIVEN, provenance_of, standing_of, tell
from pipelines.stages.stage import stage
from unlabeled.config import Evaluation, Registration
from unlabeled.text.config import Packing, TextIngestion, TextPretraining


def report(
    manifest: pd.DataFrame,
    summary: dict[str, Any],
    quarantine: pd.DataFrame,
    sequences_of: dict[str, Any],
    features: np.ndarray,
    probe: Any,
    metrics: dict[str, Any],
    predictions: pd.DataFrame,
    shown: list[list[str]],
    history: pd.DataFrame,
    run: dict[str, Any],
    version: dict[str, Any],
    folder: Path,
    ingestion: TextIngestion,
    augmentation: Packing,
    pretraining: TextPretraining,
    evaluation: Evaluation,
    registration: Registration,
) -> str:
    from unlabeled.text.report import TextEvidence, build_report  # imports torch and matplotlib

    stop_if_of_others(metrics, summary, evaluation, run)
    page = build_report(
        TextEvidence(
            method=run["method"],
            manifest=manifest,
            summary={**summary, "padding": sequences_of["padding"]},
            quarantine=quarantine,
            features=features,
            probe=probe or None,
            metrics=metrics,
            predictions=predictions,
            history=history,
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
    return stage("reporting", report, ("sequences_of", "shown", *GIVEN), "report", folder="reporting_folder")
