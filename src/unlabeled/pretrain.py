"""From ingested images to a trained encoder: builds the method, its views and its monitor, and runs the loop."""

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from unlabeled import health
from unlabeled.config import Augmentation, Evaluation, Pretraining
from unlabeled.encoders import ImageEncoder, Normalisation, build_encoder
from unlabeled.errors import ConfigError, TrainingError
from unlabeled.methods import METHODS, Method
from unlabeled.probe import Labels, knn_accuracy
from unlabeled.train import Monitor, Report, choose_device, pretrain
from unlabeled.views import Views

WATCHED = 2048
"""Images at most of each split that the monitor embeds."""


def pretrain_encoder(
    method: str,
    images: np.ndarray,
    views: np.ndarray,
    manifest: pd.DataFrame,
    summary: dict[str, Any],
    config: Pretraining,
    recipe: Augmentation,
    *,
    resume: Path | None = None,
    report: Report | None = None,
) -> tuple[ImageEncoder, list[dict[str, float]]]:
    """Trains the method of that name on the train split.

    Args:
        images: uint8 of shape (N, C, H, W); read where views are cropped afresh, and by the monitor.
        views: uint8 of shape (N, K, C, h, w).
        manifest: Its `split` says what to train on; its `target` serves the kNN monitor alone.
        summary: Of ingestion: `mean`, `std` and `data_digest`.
        resume: See `train.pretrain`.

    Returns:
        The encoder, and a row of metrics an epoch.

    Raises:
        ConfigError, TrainingError: What cannot be trained, and what went wrong on the way.
    """
    if len(manifest) != len(images):
        raise TrainingError(
            f"the manifest has {len(manifest)} rows for {len(images)} images: run the stage ingestion again"
        )
    check(method, config)
    rows = np.flatnonzero(manifest.split == "train")
    if config.batch_size > len(rows):
        raise TrainingError(
            f"pretraining.batch_size: received {config.batch_size}, but there are {len(rows)} images to train on: "
            f"lower it, or add images"
        )
    normalisation = Normalisation(tuple(summary["mean"]), tuple(summary["std"]))
    device = choose_device(config.device)
    channels, size = images.shape[1], recipe.crop_size or images.shape[-1]
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        network = build_encoder(config.encoder, channels, size)
        model = _build_method(method, network, config)
    encoder = ImageEncoder(config.encoder, channels, size, normalisation, network)
    supply = Views(
        images if recipe.views == "fresh" else _checked(views, recipe, images),
        rows,
        recipe,
        normalisation,
        count=model.views,
        batch_size=config.batch_size,
        seed=config.seed,
        device=device,
    )
    history = pretrain(
        model,
        supply,
        config,
        resume=resume,
        fingerprint=_fingerprint(method, manifest, summary, config, recipe),
        monitor=_monitor(encoder, images, manifest, supply),
        report=report,
    )
    return encoder, history


def check(method: str, config: Pretraining) -> None:
    """Raises ConfigError or TrainingError for what is known to be wrong before there are images."""
    choose_device(config.device)
    constants = inspect.signature(METHODS[method]).parameters
    unknown = sorted(config.method.keys() - constants.keys() | config.method.keys() & {"encoder"})
    if unknown:
        allowed = ", ".join(constant for constant in constants if constant != "encoder")
        raise ConfigError(f"pretraining.method.{unknown[0]} is not a constant of {method}: choose from {allowed}")


def _build_method(name: str, network: torch.nn.Module, config: Pretraining) -> Method:
    try:
        return METHODS[name](network, **config.method)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"pretraining.method: {error}") from error


def _checked(views: np.ndarray, recipe: Augmentation, images: np.ndarray) -> np.ndarray:
    size = recipe.crop_size or images.shape[-1]
    expected = (len(images), recipe.views, images.shape[1], size, size)
    if views.shape != expected:
        raise TrainingError(
            f"the cached views have the shape {views.shape}, and the parameters ask for {expected}: run the stage "
            f"augmentation again"
        )
    return views


def _fingerprint(
    method: str, manifest: pd.DataFrame, summary: dict[str, Any], config: Pretraining, recipe: Augmentation
) -> str:
    """Of all that decides the weights, so that nothing is resumed that would end in others."""
    what = {
        "method": method,
        "data": summary["data_digest"],
        "order": hashlib.sha256("".join(manifest.sha256).encode()).hexdigest(),
        "torch": torch.__version__,
        "config": config.model_dump(exclude={"monitor_every", "checkpoint_seconds", "min_embedding_std"}),
        "recipe": recipe.model_dump(),
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _monitor(encoder: ImageEncoder, images: np.ndarray, manifest: pd.DataFrame, views: Views) -> Monitor:
    """kNN accuracy on the validation split, and the health of the embedding of a fixed sample and of its views."""
    sampled = np.concatenate([_spread(np.flatnonzero(manifest.split == split)) for split in ("train", "validation")])
    labels, pixels = Labels.of(manifest.iloc[sampled]), images[sampled]
    train = np.flatnonzero(manifest.split.iloc[sampled] == "train")
    can_vote = len(labels.validation) > 0 and len(labels.train) > 0
    protocol = Evaluation()

    def watch(method: Method) -> dict[str, float]:
        features = encoder.embed(pixels)
        embedding = torch.from_numpy(features[train])
        measured = {"embedding_std": health.embedding_std(embedding), "rankme": health.rankme(embedding)}
        if can_vote:
            measured["knn_accuracy"] = knn_accuracy(features, labels, protocol, on="validation")
        if views.count > 1:
            first, second, *_ = _features_of_views(encoder.network, views)
            measured["alignment"] = health.alignment(first, second)
        return measured

    return watch


def _spread(rows: np.ndarray) -> np.ndarray:
    """At most WATCHED of them, evenly: the first ones of a folder may all be of one class."""
    return rows[:: max(1, -(-len(rows) // WATCHED))]


@torch.no_grad()
def _features_of_views(network: torch.nn.Module, views: Views) -> tuple[torch.Tensor, ...]:
    """Of the first step's views, each (B, D); the network in eval mode."""
    network.eval()
    features = network(views.batch(0))
    network.train()
    return features.float().cpu().chunk(views.count)
