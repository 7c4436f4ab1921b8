"""From ingested images to a trained encoder: builds the method, its views and its monitor, and runs the loop."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from unlabeled.config import Augmentation, Pretraining
from unlabeled.errors import ConfigError, TrainingError
from unlabeled.evaluation import health
from unlabeled.evaluation.monitor import WATCHED, embedding_monitor
from unlabeled.images.encoder import ImageEncoder, Normalisation
from unlabeled.images.views import Views
from unlabeled.method import ClosedForm, Method, load_method
from unlabeled.nn.small_networks import WIDTHS
from unlabeled.storage.arrays import spread
from unlabeled.storage.freshness import order_of
from unlabeled.training.loop import Monitor, Report, choose_device, pretrain, tell
from unlabeled.training.setup import as_config_error, constants_of, fingerprint_of, rows_to_train_on, tentatively

DIVISIBLE = 840
"""Pixels a side that every grid and every size of patches divides: for images whose size is not known yet."""
ILLUSTRATED = 12
"""Images at most that the method is shown for `examples`."""
JUDGED = 256
"""Images at most by which a method says whether they suit it."""


class Pretrained(NamedTuple):
    """What a training leaves."""

    encoder: ImageEncoder
    history: list[dict[str, float]]
    """A row of metrics an epoch."""
    examples: dict[str, np.ndarray]
    """What the method makes of a few images that it has not seen: rows of pictures by name, uint8 (B, C, H, W)."""


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
) -> Pretrained:
    """Trains the method of that name on the train split.

    Args:
        images: uint8 of shape (N, C, H, W); read where views are cropped afresh, and by the monitor.
        views: uint8 of shape (N, K, C, h, w).
        manifest: Its `split` says what to train on; its `target` serves the kNN monitor alone.
        summary: Of ingestion: `mean`, `std` and `data_digest`.
        resume: See `train.pretrain`.

    Raises:
        ConfigError, TrainingError: What cannot be trained, and what went wrong on the way.
    """
    channels, size = images.shape[1], recipe.crop_size or images.shape[-1]
    check(method, config, size)
    kind = load_method(method)
    rows = rows_to_train_on(manifest, len(images), config, "images", kind.supervised)
    normalisation = Normalisation.of(summary)
    device = choose_device(config.device)
    classes = int(manifest.target.max()) + 1
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        encoder, model = build_method(method, config, channels, size, normalisation, classes)
    if reason := model.suits(torch.from_numpy(images[spread(rows, JUDGED)]).float() / 255):
        raise TrainingError(f"{method} does not suit these images: {reason}")
    supply = Views(
        images if recipe.views == "fresh" else checked_views(views, recipe, images),
        rows,
        recipe,
        normalisation,
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
    shown = images[(unseen if len(unseen) else rows)[:ILLUSTRATED]]
    return Pretrained(encoder, history, _illustrations(model, encoder, shown, config.seed))


def check(method: str, config: Pretraining, size: int | None = None) -> None:
    """Raises ConfigError or TrainingError for what is known to be wrong before there are images.

    Args:
        size: Pixels a side of a view; None: not known yet, and what depends on it is seen later.
    """
    choose_device(config.device)
    size, anything = size or DIVISIBLE, Normalisation((0.0,) * 3, (1.0,) * 3)
    with tentatively():
        _, model = build_method(method, config, 3, size, anything, classes=2)
        if not isinstance(model, ClosedForm):
            views = torch.zeros(model.views * config.batch_size, 3, size, size)
            labels = [torch.zeros(config.batch_size, dtype=torch.int64)] if model.supervised else []
            with _misfit_as_config_error(method, config.encoder), as_config_error():
                model(views, *labels)


def build_method(
    name: str, config: Pretraining, channels: int, size: int, normalisation: Normalisation, classes: int
) -> tuple[ImageEncoder, Method]:
    """An encoder, and the method of that name on it; `classes` are for a supervised one."""
    kind = load_method(name)
    labels = {"classes": classes} if kind.supervised else {}
    with as_config_error():
        encoder = ImageEncoder(config.encoder, channels, size, normalisation)
        return encoder, kind(encoder.network, **labels, **constants_of(name, config))


@contextmanager
def _misfit_as_config_error(method: str, encoder: str) -> Iterator[None]:
    """What torch says of shapes; what meta tensors cannot do says nothing of them."""
    try:
        yield
    except RuntimeError as error:
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
    """The one row of the history of a method that is not trained."""
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
    """The rows' images as they are, normalised: float32 batches that can be walked again."""

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


def checked_views(views: np.ndarray, recipe: Augmentation, images: np.ndarray) -> np.ndarray:
    """The views, if they are what the recipe makes of the images; else TrainingError."""
    size = recipe.crop_size or images.shape[-1]
    expected = (len(images), recipe.views, images.shape[1], size, size)
    if views.shape != expected:
        raise TrainingError(
            f"the cached views have the shape {views.shape}, and the parameters ask for {expected}: run the stage "
            f"augmentation again"
        )
    return views


def fingerprint(
    method: str, manifest: pd.DataFrame, summary: dict[str, Any], config: Pretraining, recipe: Augmentation
) -> str:
    """Of all that decides the weights, so that nothing is resumed that would end in others."""
    small = {"widths": WIDTHS} if config.encoder == "small_resnet" else {}
    return fingerprint_of(method, summary, config, recipe, order=order_of(manifest), **small)


def _monitor(encoder: ImageEncoder, images: np.ndarray, manifest: pd.DataFrame, views: Views) -> Monitor:
    """What `embedding_monitor` measures, and how near the views of an image lie to each other."""
    measure = embedding_monitor(encoder, images.__getitem__, manifest, WATCHED)

    def watch(method: Method) -> dict[str, float]:
        measured = measure()
        if views.count > 1:
            first, second, *_ = _features_of_views(encoder.network, views)
            measured["alignment"] = health.alignment(first, second)
        return measured

    return watch


@torch.no_grad()
def _features_of_views(network: torch.nn.Module, views: Views) -> tuple[torch.Tensor, ...]:
    """Of the first step's views, each (B, D); the network in eval mode."""
    network.eval()
    features = network(views.batch(0)[0])
    network.train()
    return features.float().cpu().chunk(views.count)
