"""Stage 6 of video: writes the page of a run, and logs its main numbers."""

from pathlib import Path

from kedro.pipeline import Pipeline

from pipelines.stages.reporting import build_page
from pipelines.stages.stage import stage
from unlabeled.video.evidence import VideoEvidence


def report(evidence: VideoEvidence, folder: Path) -> str:
    from unlabeled.video.report import build_report  # imports torch and matplotlib

    return build_page(evidence, build_report, folder)


def create_pipeline() -> Pipeline:
    return stage("reporting", report, "report", folder="reporting_folder")
