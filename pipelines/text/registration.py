"""Stage 5 of text: a version that takes strings, before the same gate."""

from typing import Any

import pandas as pd
from kedro.pipeline import Pipeline
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from pipelines.registry.card import Kind
from pipelines.registry.provenance import Provenance
from pipelines.stages.registration import EXAMPLES, GIVEN, enter, log_files, outputs_of
from pipelines.stages.stage import stage
from pipelines.text import model
from unlabeled.config import Evaluation, Pretraining, Registration
from unlabeled.runtime.counts import counted

REQUIREMENTS = (
    "mlflow",
    "numpy",
    "pydantic",
    "safetensors",
    "threadpoolctl",
    "tokenizers",
    "torch",
)
"""What the registered model needs, and no more; pinned to what it was made with."""


def register(
    encoder: Any,
    probe: Any,
    metrics: dict[str, Any],
    predictions: pd.DataFrame,
    manifest: pd.DataFrame,
    summary: dict[str, Any],
    run: dict[str, Any],
    provenance: Provenance,
    pretraining: Pretraining,
    evaluation: Evaluation,
    config: Registration,
) -> dict[str, Any]:
    """Adds a version with the alias `challenger`, and `champion` where it has earned it."""
    texts = manifest.text.tolist()
    signature = ModelSignature(Schema([ColSpec(DataType.string)]), outputs_of(encoder, probe))

    def log(record: dict[str, Any]) -> str:
        example = texts[:EXAMPLES]
        return log_files(encoder, probe, summary, record, model.__file__, signature, example, REQUIREMENTS)

    kind = Kind(
        "An encoder of texts",
        f"{counted(summary['documents'], 'documents')} of {summary['source']}",
        '["a text", "another one"])',
        "passages",
    )
    blocks = (pretraining, evaluation, config)
    return enter(encoder, log, kind, metrics, predictions, texts, manifest, summary, run, provenance, *blocks)


def create_pipeline() -> Pipeline:
    return stage("registration", register, GIVEN, "version", config="params:registration")
