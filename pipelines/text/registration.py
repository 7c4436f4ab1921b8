"""Stage 5 of text: registers a version that takes strings, and asks the gate."""

from dataclasses import dataclass

from kedro.pipeline import Pipeline
from mlflow.models import ModelSignature

from pipelines.registry.card import Kind
from pipelines.stages.registration import EXAMPLES, Candidate, Served, outputs_of, register_version
from pipelines.stages.stage import stage
from pipelines.text import model
from unlabeled.records import Version
from unlabeled.runtime.counts import counted
from unlabeled.text.config import TextPretraining

REQUIREMENTS = ("mlflow", "numpy", "pydantic", "safetensors", "threadpoolctl", "tokenizers", "torch")
"""Packages that the registered model needs, pinned to the installed versions."""

TAKES = "It takes a string, a list of strings, or a DataFrame with a column `text`."


@dataclass(frozen=True, kw_only=True)
class TextCandidate(Candidate):
    pretraining: TextPretraining


def register(candidate: TextCandidate) -> Version:
    texts, summary = candidate.manifest.text.tolist(), candidate.summary
    signature = ModelSignature(None, outputs_of(candidate.encoder, candidate.probe))
    data = f"{counted(summary['documents'], 'documents')} of {summary['source']}"
    kind = Kind("An encoder of texts", data, '["a text", "another one"]', TAKES, "passages")
    return register_version(candidate, Served(model.__file__, signature, texts[:EXAMPLES], REQUIREMENTS), kind, texts)


def create_pipeline() -> Pipeline:
    return stage("registration", register, "version")
