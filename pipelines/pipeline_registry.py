"""The pipelines by name: one for each method and command. Methods of images share ingestion and cached crops."""

from types import ModuleType

from kedro.pipeline import Pipeline

from pipelines.commands import compare, embed, export, finetune, leaderboard, search
from pipelines.images import augmentation, evaluation, ingestion, pretraining, registration, reporting
from pipelines.pairs import augmentation as pairs_augmentation
from pipelines.pairs import evaluation as pairs_evaluation
from pipelines.pairs import ingestion as pairs_ingestion
from pipelines.pairs import pretraining as pairs_pretraining
from pipelines.pairs import registration as pairs_registration
from pipelines.pairs import reporting as pairs_reporting
from pipelines.text import augmentation as text_augmentation
from pipelines.text import evaluation as text_evaluation
from pipelines.text import ingestion as text_ingestion
from pipelines.text import pretraining as text_pretraining
from pipelines.text import registration as text_registration
from pipelines.text import reporting as text_reporting
from pipelines.video import augmentation as video_augmentation
from pipelines.video import evaluation as video_evaluation
from pipelines.video import ingestion as video_ingestion
from pipelines.video import pretraining as video_pretraining
from pipelines.video import registration as video_registration
from pipelines.video import reporting as video_reporting
from unlabeled.catalogue import IMAGE_METHODS, PAIR_METHODS, TEXT_METHODS, VIDEO_METHODS

SHARED = {"images", "manifest", "summary", "quarantine", "views", "views_of"}
SHARED |= {"baselines_folder", "reporting_folder", "provenance"}
"""Datasets that methods of images share, without the name of a method."""


def method_pipeline(method: str) -> Pipeline:
    """The six stages of a method of images; the last four read and write under the method's name."""
    stages = (evaluation, registration, reporting)
    own = sum((stage.create_pipeline() for stage in stages), pretraining.create_pipeline(method))
    names = {"namespace": method, "inputs": SHARED, "parameters": "params:ingestion", "tags": method}
    return (
        ingestion.create_pipeline()
        + augmentation.create_pipeline()
        + Pipeline(own, prefix_datasets_with_namespace=True, **names)
    )


def text_pipeline(method: str) -> Pipeline:
    stages = (text_ingestion, text_augmentation, text_evaluation, text_registration, text_reporting)
    return _separate_pipeline(method, text_pretraining.create_pipeline(method), stages)


def pairs_pipeline(method: str) -> Pipeline:
    stages = (pairs_ingestion, pairs_augmentation, pairs_evaluation, pairs_registration, pairs_reporting)
    return _separate_pipeline(method, pairs_pretraining.create_pipeline(method), stages)


def video_pipeline(method: str) -> Pipeline:
    stages = (video_ingestion, video_augmentation, video_evaluation, video_registration, video_reporting)
    return _separate_pipeline(method, video_pretraining.create_pipeline(method), stages)


def _separate_pipeline(method: str, pretraining: Pipeline, stages: tuple[ModuleType, ...]) -> Pipeline:
    """The six stages of a method that shares no data with other methods."""
    own = sum((stage.create_pipeline() for stage in stages), pretraining)
    names = {"namespace": method, "inputs": {"reporting_folder", "provenance"}, "tags": method}
    return Pipeline(own, prefix_datasets_with_namespace=True, **names)


def register_pipelines() -> dict[str, Pipeline]:
    pipelines = {method: method_pipeline(method) for method in IMAGE_METHODS}
    pipelines |= {method: text_pipeline(method) for method in TEXT_METHODS}
    pipelines |= {method: pairs_pipeline(method) for method in PAIR_METHODS}
    pipelines |= {method: video_pipeline(method) for method in VIDEO_METHODS}
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
