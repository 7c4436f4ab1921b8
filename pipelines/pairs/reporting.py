"""Stage 6 of captioned images: writes the page of a run, and logs its main numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from kedro.pipeline import Pipeline

from pipelines.stages.reporting import build_page
from pipelines.stages.stage import stage
from unlabeled.pairs.evidence import PairEvidence


def report(evidence: PairEvidence, folder: Path) -> str:
    from unlabeled.pairs.report import build_report  # imports torch and matplotlib

    towers: Any = evidence.encoder
    return build_page(replace(evidence, encoder=towers.first), build_report, folder)


def create_pipeline() -> Pipeline:
    return stage("reporting", report, "report", folder="reporting_folder")
