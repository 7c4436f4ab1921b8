"""The pipelines by name: one a method, all on the same ingestion and the same cached crops."""

from kedro.pipeline import Pipeline

from pipelines import augmentation, compare, evaluation, finetune, ingestion, pretraining, registration
from unlabeled.methods import METHODS

SHARED = {"images", "manifest", "summary", "views", "views_of"}


def method_pipeline(method: str) -> Pipeline:
    """The five stages of a method; the last three read and write under its own name."""
    own = pretraining.create_pipeline(method) + evaluation.create_pipeline() + registration.create_pipeline()
    return (
        ingestion.create_pipeline()
        + augmentation.create_pipeline()
        + Pipeline(own, namespace=method, inputs=SHARED, tags=method, prefix_datasets_with_namespace=True)
    )


def register_pipelines() -> dict[str, Pipeline]:
    pipelines = {method: method_pipeline(method) for method in METHODS}
    others = {
        "ingestion": ingestion.create_pipeline(),
        "compare": compare.create_pipeline(),
        "finetune": finetune.create_pipeline(),
    }
    return {**pipelines, **others, "__default__": pipelines["byol"]}
