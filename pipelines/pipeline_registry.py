"""The pipelines by name: one a method, all on the same ingestion and the same cached crops."""

from kedro.pipeline import Pipeline

from pipelines import (
    augmentation,
    compare,
    embed,
    evaluation,
    export,
    finetune,
    ingestion,
    leaderboard,
    pretraining,
    registration,
    reporting,
    search,
)
from unlabeled.methods import METHODS

SHARED = {"images", "manifest", "summary", "quarantine", "views", "views_of", "reporting_folder", "provenance"}


def method_pipeline(method: str) -> Pipeline:
    """The six stages of a method; the last four read and write under its own name."""
    stages = (evaluation, registration, reporting)
    own = sum((stage.create_pipeline() for stage in stages), pretraining.create_pipeline(method))
    names = {"namespace": method, "inputs": SHARED, "parameters": "params:ingestion", "tags": method}
    return (
        ingestion.create_pipeline()
        + augmentation.create_pipeline()
        + Pipeline(own, prefix_datasets_with_namespace=True, **names)
    )


def register_pipelines() -> dict[str, Pipeline]:
    pipelines = {method: method_pipeline(method) for method in METHODS}
    others = {
        "ingestion": ingestion.create_pipeline(),
        "compare": compare.create_pipeline(),
        "finetune": finetune.create_pipeline(),
        "leaderboard": leaderboard.create_pipeline(),
        "embed": embed.create_pipeline(),
        "search": search.create_pipeline(),
        "export": export.create_pipeline(),
    }
    return {**pipelines, **others, "__default__": pipelines["byol"]}
