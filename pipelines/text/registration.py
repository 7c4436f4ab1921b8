"""Stage 5 of text: registers a version that takes strings, and asks the gate."""

from dataclasses import dataclass

from kedro.pipeline import Pipeline
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from pipelines.registry.card import Kind
from pipelines.stages.registration import EXAMPLES, Candidate, Served, outputs_of, register_version
from pipelines.stages.stage import stage
from pipelines.text import model
from unlabeled.records import Version
from unlabeled.runtime.counts import counted
from unlabeled.text.config import TextPretraining

REQUIREMENTS = ("mlflow", "numpy", "pydantic", "safetensors", "threadpoolctl", "tokenizers", "torch")
"""Packages that the registered model needs, pinned to the installed versions."""


@dataclass(frozen=True, kw_only=True)
class TextCandidate(Candidate):
    pretraining: TextPretraining


def register(candidate: TextCandidate) -> Version:
    texts, summary = candidate.manifest.text.tolist(), candidate.summary
    signature = ModelSignature(Schema([ColSpec(DataType.string)]), outputs_of(candidate.encoder, candidate.probe))
    data = f"{counted(summary['documents'], 'documents')} of {summary['source']}"
    kind = Kind("An encoder of texts", data, '["a text", "another one"])', "passages")
    return register_version(candidate, Served(model.__file__, signature, texts[:EXAMPLES], REQUIREMENTS), kind, texts)


def create_pipeline() -> Pipeline:
    return stage("registration", register, "version")
