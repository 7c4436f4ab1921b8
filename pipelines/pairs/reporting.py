"""Stage 6 of captioned images: one page of a run, and the numbers that matter on the terminal."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.stages.freshness import stop_if_of_others
from pipelines.stages.reporting import GIVEN, provenance_of, standing_of, tell
from pipelines.stages.stage import stage
from unlabeled.config import Registration
from unlabeled.pairs.config import PairAugmentation, PairEvaluation, PairPretraining, PairsIngestion


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
    shown: dict[str, list[list[int]]],
    history: pd.DataFrame,
    run: dict[str, Any],
    version: dict[str, Any],
    folder: Path,
    ingestion: PairsIngestion,
    augmentation: PairAugmentation,
    pretraining: PairPretraining,
    evaluation: PairEvaluation,
    registration: Registration,
) -> str:
    from unlabeled.images.report import ImageEvidence, build_report
    from unlabeled.pairs.report import retrieval  # imports torch and matplotlib

    stop_if_of_others(metrics, summary, evaluation, run)
    evidence = ImageEvidence(
        method=run["method"],
        images=images,
        manifest=manifest,
        summary=summary,
        quarantine=quarantine,
        views=views,
        encoder=encoder.first,
        features=features,
        probe=probe or None,
        metrics=metrics,
        predictions=predictions,
        history=history,
        examples={},
        recipe=augmentation,
        pretraining=pretraining,
        evaluation=evaluation,
        finetuned={},
        provenance=provenance_of(run, version),
        standing=standing_of(version),
        parameters=(ingestion, augmentation, pretraining, evaluation, registration),
    )
    found = retrieval(evidence, shown)
    page = build_report(evidence, [found] if found else [])
    tell(run["method"], summary, metrics, version, folder)
    return page


def create_pipeline() -> Pipeline:
    inputs = ("images", "views", "encoder", "shown", *GIVEN)
    return stage("reporting", report, inputs, "report", folder="reporting_folder")
