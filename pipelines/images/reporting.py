"""Stage 6: writes the page of a run, and logs its main numbers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from kedro.pipeline import Pipeline

from pipelines.datasets.files import read_json
from pipelines.stages.reporting import build_page
from pipelines.stages.stage import stage
from unlabeled.images.evidence import ImageEvidence
from unlabeled.records import Numbers

FINETUNED = "finetune.json"


def report(evidence: ImageEvidence, examples: dict[str, np.ndarray], folder: Path) -> str:
    from unlabeled.images.report import build_report  # imports torch and matplotlib

    finetuned = _finetuned(folder / FINETUNED, evidence.run["method"], evidence.summary["data_digest"])
    return build_page(replace(evidence, examples=examples, finetuned=finetuned), build_report, folder)


def _finetuned(file: Path, method: str, digest: str) -> dict[str, Numbers]:
    """The results of the pipeline `finetune`; empty where they are of another method or other data."""
    found = read_json(file) if file.exists() else {}
    same = (found.get("method"), found.get("data_digest")) == (method, digest)
    return found["labels"] if same else {}


def create_pipeline() -> Pipeline:
    return stage("reporting", report, "report", folder="reporting_folder")
