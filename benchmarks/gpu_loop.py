"""Compares images/s of our loop on a GPU with the loop in other forms that may be faster, in one run.

    python -m benchmarks.gpu_loop [--path=FOLDER_OF_PARQUET] [--encoder=resnet18] [--batch-size=512] [--steps=80]
        [--rounds=5]

All train BYOL by `unlabeled.training.loop.pretrain` on views that are cut at each use, one after another in each round,
without monitor and checkpoints. The medians over the rounds are reported, after a round of warm-up in which torch
compiles.

- today: as a run trains.
- compiled: the method by torch.compile, as with `pretraining.compile`.
- CUDA graphs: by torch.compile with mode="reduce-overhead".
- wide target: the target's forward pass takes the views of two steps at once. Not the same training: for every second
  step the target is a step old, and BatchNorm's batches are twice as large.
- own stream: the views of the next step are finished on a stream of their own, while the step before computes.

Needs a GPU of CUDA. The last line is a JSON object: images/s of each, and its ratio to today's (the median over the
rounds).
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.throughput import HIDDEN, PROJECTION, finished, load_images, measure
from unlabeled.config import Augmentation, Pretraining
from unlabeled.images.encoder import Normalisation
from unlabeled.images.views import Views
from unlabeled.method import Method
from unlabeled.methods.byol import BYOL, byol_loss
from unlabeled.nn.small_networks import build_encoder
from unlabeled.training.batches import Supply
from unlabeled.training.devices import has_bf16
from unlabeled.training.loop import pretrain

RECIPE = Augmentation(views="fresh", saturation=0.4, solarize=(0.0,))
"""The transform of the environment cifar10."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, default=Path("../shared/data/cifar10"), help="Parquet files of CIFAR-10")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=80, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("gpu_loop.py needs a GPU of CUDA, and torch finds none on this machine")
    device, count = torch.device("cuda"), options.batch_size * options.steps
    with tempfile.TemporaryDirectory() as folder:
        images, normalisation, kind = load_images(options.path, count, Path(folder))
        contenders = variants(options.encoder, images, normalisation, options.batch_size, device)
        rates = measure(contenders, len(images) // options.batch_size * options.batch_size, options.rounds)
    report(rates, {"images": kind, "encoder": options.encoder, "batch_size": options.batch_size})


class Contender:
    """A method that is trained for an epoch in each round, and keeps what torch has compiled for it."""

    epochs = 1

    def __init__(self, method: Method, supply: Supply, config: Pretraining):
        self.method, self.supply, self.config = method.to(supply.device), supply, config
        self.losses: list[float] = []

    def seconds(self) -> float:
        began = finished(self.supply.device)
        self.losses += [row["loss"] for row in pretrain(self.method, self.supply, self.config)]
        return finished(self.supply.device) - began


def variants(
    encoder: str,
    images: np.ndarray,
    normalisation: Normalisation,
    batch_size: int,
    device: torch.device,
    **how: Any,
) -> dict[str, Contender]:
    """The contenders by name; `how` goes to torch.compile."""
    config = Pretraining(batch_size=batch_size, epochs=1, warmup_epochs=0, optimizer="sgd", learning_rate=0.06)

    def views() -> Views:
        rows, options = np.arange(len(images)), {"count": 2, "batch_size": batch_size, "seed": 0, "device": device}
        return Views(images, rows, RECIPE, normalisation, **options)

    def byol(kind: Callable[..., BYOL] = BYOL) -> BYOL:
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            return kind(build_encoder(encoder, 3, 32), hidden_dim=HIDDEN, projection_dim=PROJECTION)

    return {
        "today": Contender(byol(), views(), config),
        "compiled": Contender(compiled(byol(), **how), views(), config),
        "CUDA graphs": Contender(compiled(byol(), **(how or {"mode": "reduce-overhead"})), views(), config),
        "wide target": Contender(byol(WideTarget), TwoSteps(views()), config),
        "own stream": Contender(byol(), OwnStream(views()), config),
    }


def compiled(method: Method, **how: Any) -> Method:
    """The method with its forward pass compiled. The loss is copied: CUDA graphs write each to the same memory."""
    forward = torch.compile(method.forward, **how)

    def fresh(*batch: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return forward(*batch).clone()

    method.forward = fresh
    return method


class WideTarget(BYOL):
    """BYOL whose target sees the views of two steps at once, before the first of them."""

    def forward(self, batch: Tensor, both: Tensor) -> Tensor:
        """Symmetrised loss of two views as one batch, shape (2B, C, h, w).

        Args:
            both: The views of this step and the next, (4B, C, h, w), at the first of two steps; else empty.
        """
        prediction = self.predictor(self.projector(self.encoder(batch)))
        if len(both):
            with torch.no_grad():
                self.targets = [*self.target(both).float().chunk(2)]
        (p1, p2), (t1, t2) = prediction.float().chunk(2), self.targets.pop(0).chunk(2)
        return byol_loss(p1, t2) + byol_loss(p2, t1)


class Supplied:
    """Views that another supply makes."""

    def __init__(self, views: Views):
        self.views, self.unit, self.device = views, views.unit, views.device
        self.steps_per_epoch, self.batch_size = views.steps_per_epoch, views.batch_size


class TwoSteps(Supplied):
    """Batches for `WideTarget`: the views of a step, and at every first of two steps those of both."""

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        if step % 2:
            return self.second, self.second[:0]
        (first,), (self.second,) = self.views.batch(step), self.views.batch(step + 1)
        return first, torch.cat([first, self.second])


class OwnStream(Supplied):
    """The batches of `views`, each finished on a stream of its own while the step before computes.

    Without CUDA they are finished one step ahead, on the same thread.
    """

    def __init__(self, views: Views):
        super().__init__(views)
        self.stream = torch.cuda.Stream() if views.device.type == "cuda" else None
        self.ahead: tuple[int, tuple[Tensor, ...]] | None = None

    def batch(self, step: int) -> tuple[Tensor, ...]:
        at, batch = self.ahead if self.ahead and self.ahead[0] == step else (step, self.finish(step))
        if self.stream:
            current = torch.cuda.current_stream()
            current.wait_stream(self.stream)
            for tensor in batch:
                tensor.record_stream(current)
        self.ahead = at + 1, self.finish(at + 1)
        return batch

    def finish(self, step: int) -> tuple[Tensor, ...]:
        with torch.cuda.stream(self.stream) if self.stream else nullcontext():
            return self.views.batch(step)


def report(rates: dict[str, list[float]], settings: dict[str, Any]) -> None:
    """Prints a line for each contender, and all numbers as JSON."""
    results = {}
    for name, each in rates.items():
        ratio = statistics.median(a / b for a, b in zip(each, rates["today"], strict=True))
        results[name] = {"images_per_second": round(statistics.median(each), 1), "over_today": round(ratio, 4)}
        print(f"{name:12} {statistics.median(each):9,.0f} images/s, {ratio:.3f} of today's")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    settings |= {"bf16": has_bf16(torch.device("cuda" if torch.cuda.is_available() else "cpu"))}
    print(json.dumps({**results, **settings, "device": device, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
