"""From ingested images to a trained encoder: builds the method, its views and its monitor, and runs the loop."""

import hashlib
import inspect
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from unlabeled.config import Augmentation, Block, Evaluation, Pretraining
from unlabeled.encoders import ImageEncoder, Normalisation
from unlabeled.errors import ConfigError, TrainingError
from unlabeled.evaluation import health
from unlabeled.evaluation.probe import Labels, knn_accuracy
from unlabeled.images.views import Views
from unlabeled.method import ClosedForm, Method
from unlabeled.methods import load_method
from unlabeled.nn.small_networks import WIDTHS
from unlabeled.storage.arrays import spread
from unlabeled.storage.reuse import order_of
from unlabeled.training.loop import REMEDY, Monitor, Report, choose_device, pretrain, tell

DIVISIBLE = 840
"""Pixels a side that every grid and every size of patches divides: for images whose size is not known yet."""
ILLUSTRATED = 12
"""Images at most that the method is shown for `examples`."""
JUDGED = 256
"""Images at most by which a method says whether they suit it."""
LOOP = 2
"""Raised where the code makes other weights of the same parameters, so that nothing is resumed across it."""
WATCHED = 2048
"""Images at most of each split that the monitor embeds."""


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


def rows_to_train_on(
    manifest: pd.DataFrame, count: int, config: Pretraining, unit: str, supervised: bool = False
) -> np.ndarray:
    """The rows of the train split, int64; those with a label, where the method is supervised.

    Args:
        count: How many data there are, and should be rows.
        unit: What they are, in the plural.

    Raises:
        TrainingError: There are more, or fewer; or fewer to train on than a batch has.
    """
    if len(manifest) != count:
        raise TrainingError(f"the manifest has {len(manifest)} rows for {count} {unit}: run the stage ingestion again")
    rows = np.flatnonzero((manifest.split == "train") & ((manifest.target >= 0) | (not supervised)))
    if config.batch_size > len(rows):
        raise TrainingError(
            f"pretraining.batch_size: received {config.batch_size}, but there are {len(rows)} {unit} to train on: "
            f"lower it, or add {unit}"
        )
    return rows


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


@contextmanager
def tentatively() -> Iterator[None]:
    """For what is built only to see whether it can be: on meta tensors, which have shapes and no numbers."""
    with torch.device("meta"), torch.random.fork_rng([]), torch.no_grad():
        yield


def build_method(
    name: str, config: Pretraining, channels: int, size: int, normalisation: Normalisation, classes: int
) -> tuple[ImageEncoder, Method]:
    """An encoder, and the method of that name on it; `classes` are for a supervised one."""
    kind = load_method(name)
    labels = {"classes": classes} if kind.supervised else {}
    with as_config_error():
        encoder = ImageEncoder(config.encoder, channels, size, normalisation)
        return encoder, kind(encoder.network, **labels, **constants_of(name, config))


def constants_of(method: str, config: Pretraining) -> dict[str, Any]:
    """`pretraining.method`, its names and types those of the method's constructor."""
    parameters = inspect.signature(load_method(method)).parameters
    expected = {name: p.annotation for name, p in parameters.items() if name not in ("encoder", "classes")}
    constants = {}
    for name, value in config.method.items():
        if name not in expected:
            allowed = ", ".join(expected) or "none: it has no constants"
            raise ConfigError(f"pretraining.method.{name} is not a constant of {method}: choose from {allowed}")
        try:
            constants[name] = TypeAdapter(expected[name]).validate_python(value)
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Input should be ")
            raise ConfigError(f"pretraining.method.{name}: received {value!r}, expected {message}") from error
    return constants


@contextmanager
def as_config_error() -> Iterator[None]:
    """What a method or a network says of its constants, with the key to change."""
    try:
        yield
    except ValueError as error:
        key, _, _ = str(error).partition(":")
        place = "pretraining." if key == "encoder" else "pretraining.method." if key.isidentifier() else ""
        raise ConfigError(f"{place}{error}") from error


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


def fingerprint_of(method: str, summary: dict[str, Any], config: Pretraining, recipe: Block, **more: Any) -> str:
    """Of what decides the weights for every kind of data, and of what more does for one of them."""
    what = {
        "method": method,
        "data": summary["data_digest"],
        "torch": torch.__version__,
        "loop": LOOP,
        "config": config.model_dump(exclude={"monitor_every", "checkpoint_seconds", "min_embedding_std"}),
        "recipe": recipe.model_dump(),
        **more,
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


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


def embedding_monitor(
    encoder: Any, data_of: Callable[[np.ndarray], Any], manifest: pd.DataFrame, most: int
) -> Callable[[], dict[str, float]]:
    """A function that measures kNN accuracy on the validation split, and the health of the embedding of a fixed sample.

    Args:
        encoder: Of any kind of data.
        data_of: What it embeds, by rows of the manifest.
        most: Rows of each split that are embedded.
    """
    sampled = np.concatenate(
        [spread(np.flatnonzero(manifest.split == split), most) for split in ("train", "validation")]
    )
    labels, data = Labels.of(manifest.iloc[sampled]), data_of(sampled)
    train = np.flatnonzero(manifest.split.iloc[sampled] == "train")
    can_vote = len(labels.validation) > 0 and len(np.unique(labels.targets[labels.train])) > 1
    protocol = Evaluation()

    def measure() -> dict[str, float]:
        features = encoder.embed(data)
        if not np.isfinite(features).all():
            raise TrainingError(f"the embedding is not finite: {REMEDY}")
        embedding = torch.from_numpy(features[train])
        measured = {"embedding_std": health.embedding_std(embedding), "rankme": health.rankme(embedding)}
        if can_vote:
            measured["knn_accuracy"] = knn_accuracy(features, labels, protocol, on="validation")
        return measured

    return measure


@torch.no_grad()
def _features_of_views(network: torch.nn.Module, views: Views) -> tuple[torch.Tensor, ...]:
    """Of the first step's views, each (B, D); the network in eval mode."""
    network.eval()
    features = network(views.batch(0)[0])
    network.train()
    return features.float().cpu().chunk(views.count)
