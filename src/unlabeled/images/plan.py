"""Plan of a training on images: the time to cut the crops, then that of the steps."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from unlabeled.config import Augmentation, Pretraining
from unlabeled.images.crops import count_missing, cut_some, keys_of, shape_of
from unlabeled.images.encoder import Normalisation
from unlabeled.images.pretrain import build_method, fingerprint
from unlabeled.images.views import Views
from unlabeled.method import ClosedForm, load_method
from unlabeled.records import Summary
from unlabeled.training.devices import choose_device
from unlabeled.training.plan import (
    MIN_COMPARED_STEPS,
    MIN_LONG_SECONDS,
    Pace,
    Plan,
    available_memory,
    faster,
    free_disk,
    pace_of,
    seconds_of,
    steps_left,
)
from unlabeled.training.setup import rows_to_train_on

SMALLER_CROP_SHARE = 2 / 3
"""Fraction of a crop's side that a suggested smaller crop keeps."""
MIN_SUGGESTED_CROP = 32
"""Smallest side of a suggested crop, in pixels."""
FASTEST_ENCODER = "small_resnet"
"""The fastest encoder."""
TIMED_IMAGES = 8
"""Images whose crops are cut to time the cutting."""


def plan_training(
    method: str,
    images: np.ndarray,
    manifest: pd.DataFrame,
    summary: Summary,
    config: Pretraining,
    recipe: Augmentation,
    crops: Path,
    *,
    resume: Path | None = None,
) -> Plan | None:
    """Plan of `pretrain_encoder`, including missing crops in `crops`; None for a training of hardly any time.

    A few steps are timed of a network of the same kind, which is thrown away, on noise of the views' size.
    """
    kind = load_method(method)
    if issubclass(kind, ClosedForm):
        return None
    rows = rows_to_train_on(manifest, len(images), config, "images", kind.supervised)
    decides = fingerprint(method, manifest, summary, config, recipe)
    steps = steps_left(config.epochs * (len(rows) // config.batch_size), resume, decides)
    if not steps:
        return None
    pace = partial(_pace, method, images[rows[: config.batch_size]], summary)
    missing, sample = count_missing(images, keys_of(manifest), recipe, crops), images[: min(len(images), TIMED_IMAGES)]
    device, now = choose_device(config.device), pace(config, recipe)
    plan = Plan(
        steps,
        config.batch_size,
        Views.unit,
        config.epochs,
        now,
        available_memory(device),
        cutting=missing * seconds_of(partial(cut_some, sample, recipe)) / len(sample) if missing else 0.0,
        crops=missing * math.prod(shape_of(images, recipe)),
        free=free_disk(crops),
        gpu=device.type != "cpu",
    )
    if plan.seconds < MIN_LONG_SECONDS or steps < MIN_COMPARED_STEPS:
        return plan
    smaller = round((recipe.crop_size or images.shape[-1]) * SMALLER_CROP_SHARE)
    with_crops, with_encoder = recipe.model_copy(update={"crop_size": smaller}), {"encoder": FASTEST_ENCODER}
    changes = {}
    if smaller >= MIN_SUGGESTED_CROP:
        changes[f"augmentation.crop_size={smaller}"] = lambda: pace(config, with_crops)
    if config.encoder != FASTEST_ENCODER and config.weights is None:
        changes[f"pretraining.encoder={FASTEST_ENCODER}"] = lambda: pace(config.model_copy(update=with_encoder), recipe)
    return replace(plan, shorter=faster(now, changes))


def _pace(method: str, images: np.ndarray, summary: Summary, config: Pretraining, recipe: Augmentation) -> Pace:
    """Pace of a step on a batch of images, or on noise of the size of their crops."""
    normalisation = Normalisation(tuple(summary["mean"]), tuple(summary["std"]))
    device, count = choose_device(config.device), len(images)
    size = recipe.crop_size or images.shape[-1]
    with torch.random.fork_rng([]):
        _, model = build_method(method, config, images.shape[1], size, normalisation, len(summary["classes"]))
    noise = np.random.default_rng(0).integers(0, 256, (count, model.views, images.shape[1], size, size), np.uint8)
    supply = Views(
        images if recipe.views == "fresh" else noise,
        np.arange(count),
        recipe,
        normalisation,
        count=model.views,
        batch_size=count,
        seed=config.seed,
        device=device,
        targets=np.zeros(count, np.int64) if model.supervised else None,
    )
    return pace_of(model, supply, config)
