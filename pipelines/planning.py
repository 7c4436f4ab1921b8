"""Says what a training on images will take, once it is known how many there are, and before anything long begins."""

import logging
from typing import Any, NamedTuple

from pipelines.pretraining import CHECKPOINT
from unlabeled.methods import IMAGE_METHODS

logger = logging.getLogger(__name__)


class Training(NamedTuple):
    """That of a run, by its method."""

    method: str

    def say(self, catalog: Any) -> None:
        """Says the plan; nothing where there is little to do."""
        from unlabeled.image_plan import plan_training  # imports torch

        blocks = [catalog.load(f"params:{self.method}.{block}") for block in ("pretraining", "augmentation")]
        data = [catalog.load(name) for name in ("images", "manifest", "summary")]
        checkpoint = catalog.load(f"{self.method}.model_folder") / CHECKPOINT
        crops = catalog.load("augmentation_folder")
        plan = plan_training(self.method, *data, *blocks, crops, resume=checkpoint)
        for line in plan.lines() if plan else ():
            logger.info("%s", line)
        if warning := plan and plan.warning():
            logger.warning("%s", warning)


def training_of(pipeline: Any) -> Training | None:
    """What a run will train on images; None: nothing."""
    nodes = pipeline.only_nodes_with_tags("pretraining").nodes
    return next((Training(node.namespace) for node in nodes if node.namespace in IMAGE_METHODS), None)
