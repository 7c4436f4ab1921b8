"""Compares images/s of our pretraining loop, of its bare model step, and of lightly's documented BYOL loop.

    python benchmarks/throughput.py [--path=FOLDER_OF_PARQUET] [--rounds=5] [--steps=10] [--encoder=resnet18]

All three train BYOL with the same encoder, heads, batch size and images (CIFAR-10 where `--path` has its Parquet files,
otherwise noise of the same shape), one after another in each round. The medians over the rounds are reported.

- ours: `unlabeled.training.loop.pretrain` as a run calls it: cached crops, augmentation, schedule, progress bar,
  metrics, checkpoints. Only the monitor is left out, which runs every ten epochs; its seconds are printed separately.
  Where an epoch takes a second, as on a GPU, the checkpoint is much of it: `--epochs` makes our rounds longer.
- bare: forward, backward, optimizer and EMA of the same module, as many steps on one batch that stays on the device.
- lightly: https://docs.lightly.ai/self-supervised-learning/examples/byol.html unchanged (float32, per-image
  transforms), with one worker a core. Its clock starts at the first batch, when its workers are already ahead.

The last line is a JSON object: ours, bare, lightly (images/s), ours_over_bare, ours_over_lightly, device, and more.
"""

import argparse
import copy
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import lightly
import numpy as np
import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.transforms.byol_transform import BYOLTransform, BYOLView1Transform, BYOLView2Transform
from lightly.utils.scheduler import cosine_schedule
from PIL import Image
from torch import nn

from unlabeled.config import Augmentation, Ingestion, Pretraining
from unlabeled.images.crops import cache_views
from unlabeled.images.encoder import ImageEncoder, Normalisation
from unlabeled.images.ingest import ingest
from unlabeled.images.views import Views
from unlabeled.method import Method
from unlabeled.methods.byol import BYOL
from unlabeled.nn.small_networks import build_encoder
from unlabeled.training.devices import choose_device, has_bf16
from unlabeled.training.loop import pretrain
from unlabeled.training.optimizers import build_optimizer

HIDDEN, PROJECTION = 1024, 256  # sizes of lightly's heads
RECIPE = Augmentation(views=8)  # its crops, colours and solarization are those of lightly's transforms at 32 pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", default="../shared/data/cifar10", help="a folder with CIFAR-10 as Parquet files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="steps of an epoch")
    parser.add_argument("--epochs", type=int, default=1, help="epochs of a round of ours and bare; lightly's has one")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--encoder", help="by default small_resnet on a CPU, resnet18 on a GPU")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = choose_device(options.device)
    encoder = options.encoder or ("resnet18" if device.type == "cuda" else "small_resnet")
    how = {"batch_size": options.batch_size, "epochs": options.epochs, "warmup_epochs": 0}
    config = Pretraining(**how, optimizer="sgd", learning_rate=0.06)
    with tempfile.TemporaryDirectory() as folder:
        images, normalisation, kind = load_images(Path(options.path), options.batch_size * options.steps, Path(folder))
        views = make_views(images, normalisation, config, device, Path(folder))
        contenders = {
            "ours": Ours(lambda: build_byol(encoder), views, config, Path(folder)),
            "bare": Bare(lambda: build_byol(encoder), views, config),
            "lightly": Lightly(encoder, images, config, device),
        }
        rates = measure(contenders, len(images) // options.batch_size * options.batch_size, options.rounds)
        monitor_seconds = time_monitor(encoder, images, normalisation, device)
    report(rates, monitor_seconds, kind, encoder, device, config)


def load_images(path: Path, count: int, folder: Path) -> tuple[np.ndarray, Normalisation, str]:
    """The first `count` training images, uint8 (N, 3, 32, 32), their normalisation, and their name."""
    if list(path.glob("*.parquet")):
        ingested = ingest(Ingestion(source="parquet", path=str(path), fraction=min(1.0, 1.5 * count / 50_000)), folder)
        summary = ingested.summary
        train = np.flatnonzero(ingested.manifest.split == "train")
        return ingested.images[train][:count], Normalisation(tuple(summary["mean"]), tuple(summary["std"])), "CIFAR-10"
    noise = np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    return noise, Normalisation((0.5,) * 3, (0.25,) * 3), "noise"


def make_views(
    images: np.ndarray, normalisation: Normalisation, config: Pretraining, device: torch.device, folder: Path
) -> Views:
    store = cache_views(images, [f"{i:064x}" for i in range(len(images))], RECIPE, folder)
    rows = np.arange(len(images))
    return Views(store, rows, RECIPE, normalisation, count=2, batch_size=config.batch_size, seed=0, device=device)


class Ours:
    """A round of `pretrain`, as a run calls it."""

    def __init__(self, build: Callable[[], Method], views: Views, config: Pretraining, folder: Path):
        self.build, self.views, self.config, self.resume = build, views, config, folder / "resume.safetensors"
        self.epochs = config.epochs

    def seconds(self) -> float:
        method = self.build().to(self.views.device)
        with torch.random.fork_rng():
            began = time.perf_counter()
            pretrain(method, self.views, self.config, resume=self.resume, report=lambda metrics, step: None)
            self.resume.unlink()
        return finished(self.views.device) - began


class Bare:
    """A round of model steps on one batch that is already on the device."""

    def __init__(self, build: Callable[[], Method], views: Views, config: Pretraining):
        self.epochs = config.epochs
        self.device, self.steps, self.batch = views.device, config.epochs * views.steps_per_epoch, views.batch(0)
        self.method = build().to(self.device, memory_format=torch.channels_last).train()
        self.optimizer = build_optimizer(self.method, config)

    def seconds(self) -> float:
        began = finished(self.device)
        for step in range(self.steps):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=has_bf16(self.device)):
                loss = self.method(*self.batch)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.method.after_step((step + 1) / self.steps)
        return finished(self.device) - began


class Lightly:
    """A round of lightly's example with our encoder."""

    epochs = 1

    def __init__(self, encoder: str, images: np.ndarray, config: Pretraining, device: torch.device):
        self.device = device
        self.model = LightlyBYOL(build_encoder(encoder, 3, 32)).to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.06)
        transform = BYOLTransform(
            view_1_transform=BYOLView1Transform(input_size=32, gaussian_blur=0.0),
            view_2_transform=BYOLView2Transform(input_size=32, gaussian_blur=0.0),
        )
        # One batch more, as the first one is not timed.
        images = np.concatenate([images, images[: config.batch_size]])
        self.loader = torch.utils.data.DataLoader(
            Pictures(images, transform),
            batch_size=config.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=os.cpu_count(),
        )

    def seconds(self) -> float:
        criterion, momentum, total = NegativeCosineSimilarity(), cosine_schedule(0, 10, 0.996, 1), 0
        model, device, batches = self.model, self.device, iter(self.loader)
        next(batches)
        began = finished(device)
        for x0, x1 in batches:
            update_momentum(model.backbone, model.backbone_momentum, m=momentum)
            update_momentum(model.projection_head, model.projection_head_momentum, m=momentum)
            x0, x1 = x0.to(device), x1.to(device)
            p0, z0 = model(x0), model.forward_momentum(x0)
            p1, z1 = model(x1), model.forward_momentum(x1)
            loss = 0.5 * (criterion(p0, z1) + criterion(p1, z0))
            total += loss.detach()
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        return finished(device) - began


class LightlyBYOL(nn.Module):
    """The module of that example."""

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.projection_head = BYOLProjectionHead(backbone.feature_dim, HIDDEN, PROJECTION)
        self.prediction_head = BYOLPredictionHead(PROJECTION, HIDDEN, PROJECTION)
        self.backbone_momentum = copy.deepcopy(self.backbone)
        self.projection_head_momentum = copy.deepcopy(self.projection_head)
        deactivate_requires_grad(self.backbone_momentum)
        deactivate_requires_grad(self.projection_head_momentum)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.prediction_head(self.projection_head(self.backbone(x).flatten(start_dim=1)))

    def forward_momentum(self, x: torch.Tensor) -> torch.Tensor:
        return self.projection_head_momentum(self.backbone_momentum(x).flatten(start_dim=1)).detach()


class Pictures(torch.utils.data.Dataset):
    """Images as torchvision's CIFAR10 gives them: Pillow's, through a transform."""

    def __init__(self, images: np.ndarray, transform: BYOLTransform):
        self.images, self.transform = images.transpose(0, 2, 3, 1), transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> list[torch.Tensor]:
        return self.transform(Image.fromarray(self.images[index]))


def build_byol(encoder: str) -> BYOL:
    return BYOL(build_encoder(encoder, 3, 32), hidden_dim=HIDDEN, projection_dim=PROJECTION)


def measure(contenders: dict, images: int, rounds: int) -> dict[str, list[float]]:
    """Images/s of each contender in each round, after one round of warm-up; `images` is the number in an epoch."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            rate = contender.epochs * images / contender.seconds()
            if number:
                rates[name].append(rate)
        if number:
            now = ", ".join(f"{name} {values[-1]:,.0f}" for name, values in rates.items())
            print(f"round {number} of {rounds}: {now} images/s", flush=True)
    return rates


def time_monitor(encoder: str, images: np.ndarray, normalisation: Normalisation, device: torch.device) -> float:
    """Seconds in which the monitor embeds 2,048 images, which is nearly all of its time."""
    network = build_encoder(encoder, 3, 32).to(device, memory_format=torch.channels_last)
    looking = ImageEncoder(encoder, 3, 32, normalisation, network)
    began = time.perf_counter()
    looking.embed(images[:2048])
    return time.perf_counter() - began


def finished(device: torch.device) -> float:
    """The time in seconds after the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def report(
    rates: dict[str, list[float]],
    monitor_seconds: float,
    kind: str,
    encoder: str,
    device: torch.device,
    config: Pretraining,
) -> None:
    ours, bare, theirs = (statistics.median(rates[name]) for name in ("ours", "bare", "lightly"))
    over_bare = statistics.median(a / b for a, b in zip(rates["ours"], rates["bare"], strict=True))
    over_lightly = statistics.median(a / b for a, b in zip(rates["ours"], rates["lightly"], strict=True))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} × {processor()}"
    print(f"{kind}, {encoder}, batches of {config.batch_size}, {name}; a look of the monitor: {monitor_seconds:.1f} s")
    print(f"ours {ours:,.0f}, bare {bare:,.0f}, lightly {theirs:,.0f} images/s")
    print(f"ours / bare {over_bare:.3f}, ours / lightly {over_lightly:.2f}")
    line = {"ours": ours, "bare": bare, "lightly": theirs}
    line |= {"ours_over_bare": over_bare, "ours_over_lightly": over_lightly, "device": device.type}
    line |= {"hardware": name, "encoder": encoder, "batch_size": config.batch_size, "images": kind}
    line |= {"bf16": has_bf16(device), "torch": torch.__version__, "lightly_version": lightly.__version__}
    print(json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in line.items()}))


def processor() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line] if os.name else []
    return names[0].partition(": ")[2] if names else platform.processor()


if __name__ == "__main__":
    main()
