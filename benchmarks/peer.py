"""Compares the accuracy of our BYOL with lightly's on the same views: on the validation split, never on test.

    python -m benchmarks.peer ingestion.source=parquet,ingestion.path=FOLDER,pretraining.epochs=12 [--env=cifar10]
        [--seeds=1]

The argument overrides parameters of the environment, as for `kedro run --params`.

- ours: the method byol as a run trains it.
- lightly: the BYOL of its benchmark on CIFAR-10 (docs/source/getting_started/benchmarks/cifar10_benchmark.py in its
  repository): its heads, loss, target and ResNet-18 (for another encoder, our network), and SGD over all parameters at
  0.06 per 128 images. In bf16 where ours is.
- supervised: our encoder trained with all labels, as an upper bound.

The last line is a JSON object.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models import ResNetGenerator
from lightly.models.utils import update_momentum
from torch import nn

from benchmarks.recipes import blocks_of, prepared
from benchmarks.results import scores, spread
from benchmarks.throughput import LightlyBYOL
from unlabeled.errors import UnlabeledError
from unlabeled.evaluation.probe import Labels, measure
from unlabeled.images.crops import open_views
from unlabeled.images.encoder import ImageEncoder, Normalisation
from unlabeled.images.pretrain import pretrain_encoder
from unlabeled.images.views import Views
from unlabeled.nn.small_networks import build_encoder
from unlabeled.runtime.progress import be_quiet
from unlabeled.training.devices import choose_device, has_bf16

MOMENTUM, RATE, DECAY = 0.99, 0.06 / 128, 5e-4
"""lightly's momentum of the target, learning rate per image of a batch, and weight decay."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="parameters to override, as for --params")
    parser.add_argument("--env", default="cifar10")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    if options.seeds < 1:
        parser.error("expected one seed at least")
    be_quiet()
    try:
        print(json.dumps(dict(compared(options))))
    except UnlabeledError as error:
        sys.exit(str(error))


def compared(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, tuple[float, float]]]]:
    """Pairs of contender and its metrics: mean and std over the seeds."""
    contenders = {"ours": "byol", "lightly": "byol", "supervised": "supervised"}
    recipes = {name: blocks_of(options.recipe, method, options.env) for name, method in contenders.items()}
    with tempfile.TemporaryDirectory() as folder:
        data = prepared(recipes["ours"], Path(folder, "data"))
        for name, blocks in recipes.items():
            metrics = []
            for seed in range(options.seeds):
                blocks["pretraining"] = blocks["pretraining"].model_copy(update={"seed": seed})
                train = lightly_encoder if name == "lightly" else our_encoder
                began = time.perf_counter()
                encoder = train(contenders[name], blocks, *data)
                seconds = time.perf_counter() - began
                metrics.append(on_validation(encoder, blocks, *data) | {"seconds": seconds})
            accuracies = {key: [100 * value for value in values] for key, values in scores(metrics).items()}
            row = spread(accuracies | {"seconds": [each["seconds"] for each in metrics]})
            cells = (f"{key} {m:.1f}" + (f" ± {s:.1f}" if options.seeds > 1 else "") for key, (m, s) in row.items())
            print(name, *cells, sep=" | ", flush=True)
            yield name, row


def our_encoder(
    method: str, blocks: dict[str, Any], folder: Path, manifest: pd.DataFrame, summary: dict[str, Any]
) -> ImageEncoder:
    images, views = np.load(folder / "images.npy", mmap_mode="r"), open_views(folder / "crops")
    data = images, views, manifest, summary
    return pretrain_encoder(method, *data, blocks["pretraining"], blocks["augmentation"]).encoder


def lightly_encoder(
    method: str, blocks: dict[str, Any], folder: Path, manifest: pd.DataFrame, summary: dict[str, Any]
) -> ImageEncoder:
    config, recipe, device = blocks["pretraining"], blocks["augmentation"], choose_device(blocks["pretraining"].device)
    images = np.load(folder / "images.npy", mmap_mode="r")
    normalisation = Normalisation(tuple(summary["mean"]), tuple(summary["std"]))
    store = images if recipe.views == "fresh" else open_views(folder / "crops")
    rows = np.flatnonzero(manifest.split == "train")
    how = {"count": 2, "batch_size": config.batch_size, "seed": config.seed, "device": device}
    views = Views(store, rows, recipe, normalisation, **how)
    torch.manual_seed(config.seed)
    model = LightlyBYOL(lightly_network(config.encoder, *images.shape[1:3]))
    model.to(device, memory_format=torch.channels_last)
    criterion, peak = NegativeCosineSimilarity(), RATE * config.batch_size
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, peak, momentum=0.9, weight_decay=DECAY)
    for epoch in range(config.epochs):
        for group in optimizer.param_groups:
            group["lr"] = peak * (1 + math.cos(math.pi * epoch / config.epochs)) / 2
        for step in range(epoch * views.steps_per_epoch, (epoch + 1) * views.steps_per_epoch):
            update_momentum(model.backbone, model.backbone_momentum, m=MOMENTUM)
            update_momentum(model.projection_head, model.projection_head_momentum, m=MOMENTUM)
            x0, x1 = views.batch(step)[0].chunk(2)
            with torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device)):
                p0, p1 = model(x0), model(x1)
                z0, z1 = model.forward_momentum(x0), model.forward_momentum(x1)
            loss = 0.5 * (criterion(p0.float(), z1.float()) + criterion(p1.float(), z0.float()))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return ImageEncoder(config.encoder, *images.shape[1:3], normalisation, model.backbone)


def lightly_network(encoder: str, channels: int, size: int) -> nn.Module:
    """lightly's ResNet-18 without its classifier, or our network of another name: (B, C, H, W) to (B, D)."""
    if encoder == "resnet18":
        layers = [*ResNetGenerator("resnet-18").children()][:-1]
        network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        network.feature_dim = 512
        return network
    return build_encoder(encoder, channels, size)


def on_validation(
    encoder: ImageEncoder, blocks: dict[str, Any], folder: Path, manifest: pd.DataFrame, summary: dict[str, Any]
) -> dict[str, Any]:
    """The protocol's metrics on the validation split; test images are excluded."""
    split = manifest.split.replace({"test": "excluded", "validation": "test"})
    images = np.load(folder / "images.npy", mmap_mode="r")
    return measure(encoder.embed(images), Labels.of(manifest.assign(split=split)), blocks["evaluation"])[0]


if __name__ == "__main__":
    main()
