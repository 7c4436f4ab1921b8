"""Pretraining on ingested images: builds the method, its views and its monitor, and runs the loop."""

import logging
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from unlabeled.catalogue import NETWORKS
from unlabeled.config import Augmentation, Block, Pretraining
from unlabeled.errors import ConfigError, TrainingError
from unlabeled.evaluation import health
from unlabeled.evaluation.monitor import MAX_MONITORED_IMAGES, embedding_monitor
from unlabeled.images.encoder import ImageEncoder, Normalisation
from unlabeled.images.start import Start, match, started
from unlabeled.images.start_files import read_start
from unlabeled.images.views import Views
from unlabeled.method import ClosedForm, Method, load_method
from unlabeled.nn.network import freeze
from unlabeled.nn.small_networks import WIDTHS
from unlabeled.records import Summary
from unlabeled.storage.arrays import Rows, spread
from unlabeled.storage.freshness import order_of
from unlabeled.training.devices import choose_device
from unlabeled.training.history import Monitor, Report, tell
from unlabeled.training.loop import pretrain
from unlabeled.training.setup import as_config_error, constants_of, fingerprint_of, rows_to_train_on, tentatively

logger = logging.getLogger(__name__)

DIVISIBLE_SIDE = 840
"""Side in pixels, divisible by every grid and patch size, for images whose size is not known yet."""
MAX_ILLUSTRATED_IMAGES = 12
"""Largest number of images that the method illustrates for `examples`."""
MAX_JUDGED_IMAGES = 256
"""Largest number of images by which a method decides whether the images suit it."""


class Pretrained(NamedTuple):
    """The results of a training."""

    encoder: ImageEncoder
    history: list[dict[str, float]]
    """One row of metrics for each epoch."""
    examples: dict[str, np.ndarray]
    """The method's pictures of a few images that it was not trained on: rows by name, uint8 (B, C, H, W)."""


def pretrain_encoder(
    method: str,
    images: np.ndarray,
    views: np.ndarray,
    manifest: pd.DataFrame,
    summary: Summary,
    config: Pretraining,
    recipe: Augmentation,
    *,
    resume: Path | None = None,
    report: Report | None = None,
) -> Pretrained:
    """Trains the method of that name on the train split.

    Args:
        images: uint8 of shape (N, C, H, W); read where views are cropped afresh, and by the monitor.
        views: uint8 of shape (N, K, C, h, w).
        manifest: Its `split` decides which images are trained on; its `target` serves only the kNN monitor.
        summary: Summary of ingestion with `mean`, `std` and `data_digest`.
        resume: See `train.pretrain`.

    Raises:
        ConfigError, TrainingError: The parameters do not allow a training, or it failed.
    """
    channels, size = images.shape[1], recipe.crop_size or images.shape[-1]
    check(method, config, size)
    kind = load_method(method)
    rows = rows_to_train_on(manifest, len(images), config, "images", kind.supervised)
    device = choose_device(config.device)
    classes = int(manifest.target.max()) + 1
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        encoder, model = build_method(method, config, channels, size, Normalisation.of(summary), classes)
    if start := start_of(config):
        logger.info("%s", match(encoder.network, config.encoder, start).sentence(start.name))
    if reason := model.reason_unsuitable(torch.from_numpy(images[spread(rows, MAX_JUDGED_IMAGES)]).float() / 255):
        raise TrainingError(f"{method} does not suit these images: {reason}")
    supply = Views(
        images if recipe.views == "fresh" else checked_views(views, recipe, images),
        rows,
        recipe,
        encoder.normalisation,
        count=model.views,
        batch_size=config.batch_size,
        seed=config.seed,
        device=device,
        targets=manifest.target.to_numpy(copy=True) if kind.supervised else None,
    )
    monitor = _monitor(encoder, images, manifest, supply)
    if isinstance(model, ClosedForm):
        return Pretrained(encoder, _solve(model, encoder, images, rows, config, monitor, report), {})
    history = pretrain(
        model,
        supply,
        config,
        resume=resume,
        fingerprint=fingerprint(method, manifest, summary, config, recipe),
        monitor=monitor,
        report=report,
    )
    tell(history, supply.unit)
    unseen = np.flatnonzero(manifest.split == "validation")
    shown = images[spread(unseen if len(unseen) else rows, MAX_ILLUSTRATED_IMAGES)]
    return Pretrained(encoder, history, _illustrations(model, encoder, shown, config.seed))


def check(method: str, config: Pretraining, size: int | None = None) -> None:
    """Raises ConfigError or TrainingError for mistakes that can be found before there are images.

    Args:
        size: Pixels a side of a view; None: not known yet, so that checks which depend on it come later.
    """
    choose_device(config.device)
    anything = Normalisation((0.0,) * 3, (1.0,) * 3)
    if size is None:
        size = _fitting_size(config.encoder)
    with tentatively():
        encoder, model = build_method(method, config.model_copy(update={"weights": None}), 3, size, anything, classes=2)
        if config.layer_decay < 1:
            with as_config_error():
                encoder.network.layers()
        if not isinstance(model, ClosedForm):
            views = torch.zeros(model.views * config.batch_size, 3, size, size)
            labels = [torch.zeros(config.batch_size, dtype=torch.int64)] if model.supervised else []
            with _misfit_as_config_error(method, config.encoder), as_config_error():
                model(views, *labels)
    if start := start_of(config):
        match(encoder.network, config.encoder, start)  # outside, as it needs values


def start_of(config: Pretraining) -> Start | None:
    """The weights that a training starts from; None: random ones."""
    return None if config.weights is None else read_start(config.weights, config.encoder)


def _fitting_size(architecture: str) -> int:
    """Side in pixels of images that the architecture takes, where theirs is not known yet."""
    if architecture in NETWORKS:
        return DIVISIBLE_SIDE
    from unlabeled.nn.backbones import usual_size  # seconds to import

    with as_config_error():
        return usual_size(architecture)


def build_method(
    name: str, config: Pretraining, channels: int, size: int, normalisation: Normalisation, classes: int
) -> tuple[ImageEncoder, Method]:
    """An encoder, and the named method on it.

    Args:
        normalisation: That of the data; weights that the encoder starts from bring their own.
        classes: Number of classes, for a supervised method.
    """
    kind = load_method(name)
    labels = {"classes": classes} if kind.supervised else {}
    with as_config_error():
        encoder = ImageEncoder(config.encoder, channels, size, normalisation)
        if start := start_of(config):
            encoder = started(encoder, start)
        if config.freeze:
            freeze(encoder.network, int(config.freeze))
        return encoder, kind(encoder.network, **labels, **constants_of(name, config))


@contextmanager
def _misfit_as_config_error(method: str, encoder: str) -> Generator[None]:
    """Turns torch's errors about shapes into a ConfigError. Operations that meta tensors do not support are ignored."""
    try:
        yield
    except (RuntimeError, AssertionError) as error:  # timm asserts the size of images
        if not isinstance(error, NotImplementedError) and "meta" not in str(error):
            raise ConfigError(f"pretraining.encoder: {method} does not fit {encoder!r} ({error})") from error


def _solve(
    method: ClosedForm,
    encoder: ImageEncoder,
    images: np.ndarray,
    rows: np.ndarray,
    config: Pretraining,
    monitor: Monitor,
    report: Report | None,
) -> list[dict[str, float]]:
    """Solves a closed-form method; returns its history, which has a single row."""
    began = time.perf_counter()
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        with as_config_error():
            loss = method.fit(_Batches(encoder, images, rows, config.batch_size))
    seconds = time.perf_counter() - began
    measured = {"loss": loss, "images_per_second": len(rows) / seconds, "seconds": seconds, **monitor(method)}
    if report:
        report(measured, 1)
    return [{"epoch": 1, **measured}]


class _Batches:
    """The normalised images of some rows without augmentation: float32 batches, which can be iterated repeatedly."""

    def __init__(self, encoder: ImageEncoder, images: np.ndarray, rows: np.ndarray, batch_size: int):
        self.encoder, self.images, self.rows, self.batch_size = encoder, images, rows, batch_size

    def __iter__(self) -> Iterator[Tensor]:
        for start in range(0, len(self.rows), self.batch_size):
            yield self.encoder.prepare(self.images[self.rows[start : start + self.batch_size]])


@torch.no_grad()
def _illustrations(method: Method, encoder: ImageEncoder, images: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    batch = encoder.prepare(images)
    mean, std = (each[:, None, None] for each in encoder.normalisation.tensors(batch.device))
    method.eval()
    with torch.random.fork_rng([batch.device] if batch.device.type == "cuda" else []):
        torch.manual_seed(seed)
        rows = method.illustrate(batch)
    return {name: (255 * (row * std + mean)).round().clamp(0, 255).byte().cpu().numpy() for name, row in rows.items()}


def checked_views(views: np.ndarray | Rows, recipe: Augmentation, images: np.ndarray) -> np.ndarray | Rows:
    """Returns the views if they have the shape that the recipe gives; raises TrainingError otherwise."""
    size = recipe.crop_size or images.shape[-1]
    expected = (len(images), recipe.views, images.shape[1], size, size)
    if views.shape != expected:
        raise TrainingError(
            f"the cached views have the shape {views.shape}, and the parameters ask for {expected}: run the stage "
            f"augmentation again"
        )
    return views


def fingerprint(method: str, manifest: pd.DataFrame, summary: Summary, config: Pretraining, recipe: Block) -> str:
    """Digest of everything that decides the weights, so that a checkpoint is resumed only where it leads to the same
    ones."""
    small = {"widths": WIDTHS} if config.encoder == "small_resnet" else {}
    return fingerprint_of(method, summary, config, recipe, order=order_of(manifest), **small, **digest_of_start(config))


def digest_of_start(config: Pretraining) -> dict[str, str]:
    """The digest of the weights that a training starts from, by the key of records; empty where they are random."""
    start = start_of(config)
    return {"start": start.digest} if start else {}


def _monitor(encoder: ImageEncoder, images: np.ndarray, manifest: pd.DataFrame, views: Views) -> Monitor:
    """A monitor with the measurements of `embedding_monitor` and, with several views, their alignment."""
    measure = embedding_monitor(encoder, images.__getitem__, manifest, MAX_MONITORED_IMAGES)

    def watch(method: Method) -> dict[str, float]:
        measured = measure()
        if views.count > 1:
            first, second, *_ = _features_of_views(encoder.network, views)
            measured["alignment"] = health.alignment(first, second)
        return measured

    return watch


@torch.no_grad()
def _features_of_views(network: torch.nn.Module, views: Views) -> tuple[torch.Tensor, ...]:
    """Features of the views of the first step, one (B, D) for each; the network in eval mode."""
    network.eval()
    features = network(views.batch(0)[0])
    network.train()
    return features.float().cpu().chunk(views.count)
