"""Finds what costs our BYOL accuracy on CIFAR-10: trainings of 40 epochs on the same images that differ in one thing.

    python -m benchmarks.arms [--params=ingestion.path=FOLDER_OF_PARQUET] [--env=cifar10] [--out=arms] [--minutes=9]
        [--steps=2]

`ours` is the recipe of the run of 200 epochs in docs/results.md, with the transform and the crops of then. Every other
arm of BYOL changes one thing of it, but for `today's recipe`, which has the published transform and torchvision's
crops. `supervised` is the ceiling on these images. kNN and linear probe learn from the training split, and are measured
on the validation split, never on test.

Needs one GPU. Each arm appends a line of JSON to `<out>/arms.jsonl`. After `--minutes` the script stops within an epoch
and a measurement; called again, it does no arm twice, and goes on within the arm that it stopped in. `--steps` cuts
every arm to so many steps, to try the script where there is no GPU. `--params` overrides parameters of all arms, as for
`kedro run`.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
from lightly.models.utils import update_momentum
from omegaconf import OmegaConf
from torch import Tensor, nn

from benchmarks.peer import MOMENTUM, lightly_network
from benchmarks.recipes import merged
from benchmarks.throughput import HIDDEN, PROJECTION
from unlabeled.config import Augmentation, Evaluation, Pretraining
from unlabeled.errors import TrainingError, UnlabeledError
from unlabeled.evaluation.probe import Labels, fit_linear_probe, knn_accuracy
from unlabeled.images.augment import resample
from unlabeled.images.encoder import ImageEncoder, Normalisation
from unlabeled.images.ingest import Ingested, ingest
from unlabeled.images.pretrain import build_method, fingerprint
from unlabeled.images.views import Views
from unlabeled.method import Method
from unlabeled.runtime.progress import be_quiet
from unlabeled.storage.freshness import digest_of
from unlabeled.training.devices import choose_device
from unlabeled.training.loop import pretrain
from unlabeled.training.setup import rows_to_train_on

EPOCHS = {"pretraining.epochs": 40, "pretraining.checkpoint_seconds": 20}
AS_MEASURED = {"augmentation.saturation": 0.2, "augmentation.solarize": [0.0, 0.2]}
"""What the run of 200 epochs had and the environment cifar10 has no more: BYOL's transform."""


class LightlyBYOL(Method):
    """BYOL of lightly's benchmark: its heads, a forward pass (and BatchNorm) for each view, and its loss, −cos."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.projector = BYOLProjectionHead(encoder.feature_dim, HIDDEN, PROJECTION)
        self.predictor = BYOLPredictionHead(PROJECTION, HIDDEN, PROJECTION)
        self.target = deepcopy(nn.Sequential(self.encoder, self.projector)).requires_grad_(False)
        self.distance = NegativeCosineSimilarity()

    def forward(self, batch: Tensor) -> Tensor:
        """Symmetrised loss, a scalar in [−1, 1], of two views as one batch, shape (2B, C, h, w)."""
        first, second = batch.chunk(2)
        p1, p2 = (self.predictor(self.projector(self.encoder(view))).float() for view in (first, second))
        with torch.no_grad():
            t1, t2 = (self.target(view).float() for view in (first, second))
        return (self.distance(p1, t2) + self.distance(p2, t1)) / 2

    def after_step(self, progress: float) -> None:
        update_momentum(self.encoder, self.target[0], m=MOMENTUM)
        update_momentum(self.projector, self.target[1], m=MOMENTUM)


class NarrowedCrops(Views):
    """Views of the run of 200 epochs: a box that does not fit is narrowed. Today it is drawn again, as torchvision
    does."""

    def _fresh(self, rows: Tensor) -> Tensor:
        images = self._taken(rows).float()
        shape = len(images), self.count
        draw = torch.rand(4, shape[0] * shape[1], generator=self._generator, device=self.device)
        boxes = narrowed_boxes(draw, *images.shape[-2:], self.recipe).unflatten(0, shape)
        size = self.recipe.crop_size or images.shape[-1]
        return resample(images, boxes, size).transpose(0, 1).flatten(0, 1)


def narrowed_boxes(draw: Tensor, height: int, width: int, recipe: Augmentation) -> Tensor:
    """Boxes of a random area and aspect ratio inside an image; a box that would stick out is narrowed to fit.

    Args:
        draw: Shape (4, n), float32, uniform in [0, 1).

    Returns:
        Tensor of shape (n, 4), float32: top, left, height, width in pixels, not rounded.
    """
    low, high = recipe.crop_scale
    area = (low + (high - low) * draw[0]) * height * width
    low, high = map(math.log, recipe.crop_ratio)
    ratio = torch.exp(low + (high - low) * draw[1])
    tall, wide = (area / ratio).sqrt().clamp(max=height), (area * ratio).sqrt().clamp(max=width)
    return torch.stack([draw[2] * (height - tall), draw[3] * (width - wide), tall, wide], 1)


Builder = Callable[[str, Pretraining, int, int, Normalisation, int], tuple[ImageEncoder, Method]]
"""A function with the arguments of `build_method`."""


def build_lightly(
    name: str, config: Pretraining, channels: int, size: int, normalisation: Normalisation, classes: int
) -> tuple[ImageEncoder, Method]:
    """lightly's ResNet, whose stem has no ReLU and whose weights are drawn as torch draws them, and its BYOL on it."""
    network = lightly_network(config.encoder, channels, size)
    return ImageEncoder(config.encoder, channels, size, normalisation, network), LightlyBYOL(network)


def build_without_stem_relu(*arguments: Any) -> tuple[ImageEncoder, Method]:
    """Our BYOL on our network without the ReLU between the first convolution and the first block."""
    encoder, method = build_method(*arguments)
    for network in (method.encoder, method.target[0]):
        name = next(name for name, child in network.named_children() if isinstance(child, nn.ReLU))
        setattr(network, name, nn.Identity())
    return encoder, method


@dataclass(frozen=True)
class Arm:
    """A training: the parameters that it changes, by their dotted names, and what the parameters cannot say."""

    changes: Mapping[str, Any]
    method: str = "byol"
    build: Builder = build_method
    views: type[Views] = NarrowedCrops


MILD = {"augmentation.crop_scale": [0.5, 1.0], "augmentation.jitter": 0.0, "augmentation.gray": 0.0}
LIGHTLY = {"pretraining.learning_rate": 0.24, "pretraining.weight_decay": 0.0005}
ARMS = {
    "ours": Arm(AS_MEASURED),
    "lightly's network and BatchNorm by view": Arm(AS_MEASURED | LIGHTLY, build=build_lightly),
    "published transform": Arm({}),
    "torchvision's crops": Arm(AS_MEASURED, views=Views),
    "today's recipe": Arm({}, views=Views),
    "supervised": Arm(MILD, method="supervised", views=Views),
    "without the stem's ReLU": Arm(AS_MEASURED, build=build_without_stem_relu),
    "normalised projections": Arm(AS_MEASURED | {"pretraining.method.projection_norm": True}),
    "float32": Arm(AS_MEASURED | {"pretraining.precision": "fp32"}),
}
"""The first ones matter most: time may be short."""


class OutOfTimeError(Exception):
    """The time for this call is used up."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", default="", help="parameters to override in all arms, as for kedro run")
    parser.add_argument("--env", default="cifar10")
    parser.add_argument("--out", type=Path, default=Path("arms"), help="folder of arms.jsonl, images and checkpoint")
    parser.add_argument("--minutes", type=float, default=9, help="time after which no further epoch begins")
    parser.add_argument("--steps", type=int, help="steps of each arm; by default 40 epochs")
    run(parser.parse_args())


def run(options: argparse.Namespace) -> None:
    """Trains and measures the arms that `arms.jsonl` does not have yet, until the time is up; prints all lines."""
    be_quiet()
    file = options.out / "arms.jsonl"
    try:
        for line in measured(options, {line["fingerprint"] for line in lines_of(file)}):
            with file.open("a") as lines:
                lines.write(json.dumps(line) + "\n")
    except OutOfTimeError as error:
        print(f"out of time {error}: call again to go on")
    except UnlabeledError as error:
        sys.exit(str(error))
    for line in lines_of(file):
        print(f"{line['arm']:39} | {line.get('error') or in_words(line)}")


def lines_of(file: Path) -> list[dict[str, Any]]:
    """The lines that earlier calls wrote."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def in_words(line: dict[str, Any]) -> str:
    knn, probe = line["knn_accuracy"], line["linear_probe_accuracy"]
    return f"kNN {knn:6.1%} | linear probe {probe:6.1%} | {line['seconds']:4.0f} s"


def measured(options: argparse.Namespace, done: set[str]) -> Iterator[dict[str, Any]]:
    """A line for each arm whose fingerprint is not in `done`. Raises OutOfTimeError."""
    deadline = time.perf_counter() + 60 * options.minutes
    recipes = {name: blocks_of(arm, options) for name, arm in ARMS.items()}
    if choose_device(recipes["ours"]["pretraining"].device).type == "cpu" and not options.steps:
        raise TrainingError("arms.py needs a GPU, and torch finds none here: --steps=2 tries each arm for two steps")
    options.out.mkdir(parents=True, exist_ok=True)
    data = ingest(recipes["ours"]["ingestion"], options.out)
    for name, blocks in recipes.items():
        decisive = data.manifest, data.summary, blocks["pretraining"], blocks["augmentation"]
        decisive = {"arm": name, "steps": options.steps, "training": fingerprint(ARMS[name].method, *decisive)}
        line = {"arm": name, "fingerprint": digest_of(decisive), "changes": dict(ARMS[name].changes)}
        if line["fingerprint"] in done:
            continue
        if time.perf_counter() > deadline:
            raise OutOfTimeError(f"before {name!r}")
        yield line | outcome(line, blocks, data, options, deadline)


def outcome(
    line: dict[str, Any], blocks: dict[str, Any], data: Ingested, options: argparse.Namespace, deadline: float
) -> dict[str, Any]:
    """What became of an arm: accuracies, seconds and settings, or the error that ended its training."""
    config, resume = blocks["pretraining"], options.out / "resume.safetensors"
    encoder, method, views = built(ARMS[line["arm"]], blocks, data)
    if options.steps:
        config, views.steps_per_epoch = config.model_copy(update={"epochs": 1}), options.steps

    def stop_in_time(metrics: dict[str, float], epoch: int) -> None:
        if epoch < config.epochs and time.perf_counter() > deadline:
            raise OutOfTimeError(f"after epoch {epoch} of {line['arm']!r}")

    where = {"resume": resume, "fingerprint": line["fingerprint"], "report": stop_in_time}
    try:
        *_, last = pretrain(method, views, config, **where, title=line["arm"])
    except TrainingError as error:
        return {"error": str(error)}
    resume.unlink()
    return {
        **accuracies(encoder, data.images, data.manifest, blocks["evaluation"]),
        **{key: last[key] for key in ("loss", "seconds", "images_per_second")},
        "epochs": config.epochs,
        "steps": config.epochs * views.steps_per_epoch,
        **config.model_dump(include={"encoder", "batch_size", "seed"}),
        "device": str(encoder.device),
        "torch": torch.__version__,
    }


def blocks_of(arm: Arm, options: argparse.Namespace) -> dict[str, Any]:
    """The parameters of an arm by block."""
    given = OmegaConf.create()
    for key, value in (EPOCHS | dict(arm.changes)).items():
        OmegaConf.update(given, key, value, force_add=True)
    given = OmegaConf.merge(given, OmegaConf.from_dotlist([*filter(None, options.params.split(","))]))
    return merged(OmegaConf.to_container(given), arm.method, options.env)


def built(arm: Arm, blocks: dict[str, Any], data: Ingested) -> tuple[ImageEncoder, Method, Views]:
    """The encoder, the method and the views of an arm; crops are cut at each use."""
    config, recipe, images = blocks["pretraining"], blocks["augmentation"], data.images
    normalisation = Normalisation.of(data.summary)
    size, classes = recipe.crop_size or images.shape[-1], int(data.manifest.target.max()) + 1
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        encoder, method = arm.build(arm.method, config, images.shape[1], size, normalisation, classes)
    rows = rows_to_train_on(data.manifest, len(images), config, "images", method.supervised)
    supply = {"count": method.views, "batch_size": config.batch_size, "seed": config.seed}
    supply["device"] = choose_device(config.device)
    supply["targets"] = data.manifest.target.to_numpy(copy=True) if method.supervised else None
    return encoder, method, arm.views(images, rows, recipe, normalisation, **supply)


def accuracies(
    encoder: ImageEncoder, images: np.ndarray, manifest: pd.DataFrame, config: Evaluation
) -> dict[str, float]:
    """kNN and linear probe on the validation split; images of other splits than train are left out."""
    rows = np.flatnonzero(manifest.split.isin(["train", "validation"]))
    manifest = manifest.iloc[rows]
    labels = Labels.of(manifest.assign(split=manifest.split.replace({"validation": "test"})))
    features = encoder.embed(images[rows])
    predicted = fit_linear_probe(features, labels, config).predict(features[labels.test])
    return {
        "knn_accuracy": knn_accuracy(features, labels, config),
        "linear_probe_accuracy": float((predicted == labels.targets[labels.test]).mean()),
        "validation_images": len(labels.test),
        "train_images": len(labels.train),
    }


if __name__ == "__main__":
    main()
