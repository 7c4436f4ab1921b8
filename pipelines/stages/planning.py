"""Logs the plan of a training on images: steps, time, disk and memory, before the first long stage."""

import logging
from typing import Any

from pipelines.registry.starts import resolved
from pipelines.stages.defaults import Defaults
from pipelines.stages.pretraining import CHECKPOINT
from unlabeled.catalogue import IMAGE_METHODS

logger = logging.getLogger(__name__)


def method_to_train(pipeline: Any) -> str | None:
    """The method of images that a run trains; None: it trains none."""
    nodes = pipeline.only_nodes_with_tags("pretraining").nodes
    return next((node.namespace for node in nodes if node.namespace in IMAGE_METHODS), None)


def log_plan(method: str, catalog: Any, defaults: Defaults) -> None:
    """Logs the plan of a training; nothing for a short one."""
    from unlabeled.images.plan import plan_training  # imports torch

    data = [catalog.load(name) for name in ("images", "manifest", "summary")]
    names = [f"{method}.pretraining", f"{method}.augmentation"]
    blocks: Any = [defaults.fit(name, catalog.load(f"params:{name}"), catalog) for name in names]
    blocks[0] = resolved(blocks[0])
    checkpoint = catalog.load(f"{method}.model_folder") / CHECKPOINT
    plan = plan_training(method, *data, *blocks, catalog.load("augmentation_folder"), resume=checkpoint)
    if plan is None:
        return
    for line in plan.lines():
        logger.info("%s", line)
    if warning := plan.warning():
        logger.warning("%s", warning)
