"""Stage 6 of text: writes the page of a run, and logs its main numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from kedro.pipeline import Pipeline

from pipelines.stages.reporting import build_page
from pipelines.stages.stage import stage
from unlabeled.text.evidence import TextEvidence


def report(evidence: TextEvidence, sequences_of: dict[str, Any], folder: Path) -> str:
    from unlabeled.text.report import build_report  # imports torch and matplotlib

    summary = {**evidence.summary, "padding": sequences_of["padding"]}
    return build_page(replace(evidence, summary=summary), build_report, folder)


def create_pipeline() -> Pipeline:
    return stage("reporting", report, "report", folder="reporting_folder")
