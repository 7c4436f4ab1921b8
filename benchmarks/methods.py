"""Compares images/s of our loop with the bare step for each method; measures what MAE saves and MoCo's queue costs.

    python benchmarks/methods.py [--methods=simclr,moco] [--rounds=3] [--steps=6] [--epochs=1] [--batch-size=128]
        [--device=auto]

The images are noise of CIFAR-10's size, the encoder is the small ResNet (for MAE the recipe's ViT), and the constants
are those of conf/cifar10. Ours and bare are interleaved as in throughput.py, and the medians over the rounds are
reported. A round is `--epochs` epochs of `--steps` steps, with a checkpoint after the last. The cost of the queue is
reported for the small ResNet and for the recipe's ResNet-18. The last line is a JSON object.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml
from throughput import RECIPE, Bare, Ours, finished, measure
from torch import nn

from unlabeled.catalogue import IMAGE_METHODS
from unlabeled.config import Pretraining
from unlabeled.images.crops import cache_views
from unlabeled.images.encoder import Normalisation
from unlabeled.images.views import Views
from unlabeled.method import ClosedForm, Method, load_method
from unlabeled.nn.small_networks import build_encoder
from unlabeled.training.devices import choose_device, has_bf16

CONF = Path(__file__).resolve().parents[1] / "conf/cifar10"
NOISE = Normalisation((0.5,) * 3, (0.25,) * 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", help="by default all that are trained by gradients")
    for name, default in {"rounds": 3, "steps": 6, "epochs": 1, "batch-size": 128}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = choose_device(options.device)
    names = options.methods.split(",") if options.methods else list(IMAGE_METHODS)
    config = Pretraining(batch_size=options.batch_size, epochs=options.epochs, warmup_epochs=0, learning_rate=1e-4)
    random, count = np.random.default_rng(0), options.batch_size * options.steps
    images, targets = random.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), random.integers(0, 10, count)
    table = {}
    with tempfile.TemporaryDirectory() as folder:
        store = cache_views(images, [f"{i:064x}" for i in range(count)], RECIPE, Path(folder))
        for name in names:
            kind = load_method(name)
            if issubclass(kind, ClosedForm):
                continue
            supply = {"count": kind.views, "batch_size": options.batch_size, "seed": 0, "device": device}
            supply["targets"] = targets if kind.supervised else None
            views = Views(store, np.arange(count), RECIPE, NOISE, **supply)
            contenders = {
                "ours": Ours(lambda name=name: build(name), views, config, Path(folder)),
                "bare": Bare(lambda name=name: build(name), views, config),
            }
            rates = measure(contenders, count, options.rounds)
            ratio = statistics.median(a / b for a, b in zip(rates["ours"], rates["bare"], strict=True))
            table[name] = {**{key: statistics.median(each) for key, each in rates.items()}, "ours_over_bare": ratio}
            print(
                f"{name}: ours {table[name]['ours']:,.0f}, bare {table[name]['bare']:,.0f} images/s, ratio {ratio:.3f}"
            )
    shares = {
        "mae_over_full_vit": ratio_of_steps(build("mae"), Whole(build("mae").encoder), options, device),
        "moco_queue_cost": queue_cost("small_resnet", options, device),
        "moco_queue_cost_resnet18": queue_cost("resnet18", options, device),
    }
    print(f"a step of MAE takes {shares['mae_over_full_vit']:.2f} of the full ViT's; ", end="")
    keys = len(build("moco").queue)
    print(f"{keys:,} keys instead of one batch's cost MoCo {100 * shares['moco_queue_cost']:.1f} % of a step, ", end="")
    print(f"{100 * shares['moco_queue_cost_resnet18']:.1f} % of a ResNet-18's")
    print(json.dumps({"methods": table, **shares, "device": device.type, "torch": torch.__version__}))


def queue_cost(architecture: str, options: argparse.Namespace, device: torch.device) -> float:
    """Fraction of a step's time by which the recipe's queue takes longer than the keys of one batch."""
    short = build("moco", architecture, queue_size=2 * options.batch_size)
    return ratio_of_steps(build("moco", architecture), short, options, device) - 1


def build(name: str, architecture: str | None = None, **changes) -> Method:
    """The method with its constants for CIFAR-10. None: the encoder of its recipe, or the small ResNet."""
    file = CONF / f"parameters_{name}.yml"
    own = yaml.safe_load(file.read_text())[name]["pretraining"] if file.exists() else {}
    encoder = build_encoder(architecture or own.get("encoder", "small_resnet"), 3, 32)
    encoder.normalisation = NOISE
    kind = load_method(name)
    labels = {"classes": 10} if kind.supervised else {}
    return kind(encoder, **labels, **own.get("method", {}) | changes)


class Whole(nn.Module):
    """An encoder on all patches whose loss is a mean, to compare with MAE."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.encoder(batch).float().square().mean()


def ratio_of_steps(one: nn.Module, other: nn.Module, options: argparse.Namespace, device: torch.device) -> float:
    """Median ratio of the seconds that two modules take for forward and backward, interleaved."""
    ratios = []
    for module in (one, other):
        module.to(device, memory_format=torch.channels_last)
    for _ in range(options.rounds + 1):
        seconds = []
        for module in (one, other):
            batch = torch.randn(getattr(module, "views", 1) * options.batch_size, 3, 32, 32, device=device)
            began = finished(device)
            for _ in range(options.steps):
                with torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device)):
                    loss = module(batch)
                loss.backward()
                module.zero_grad()
            seconds.append(finished(device) - began)
        ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios[1:])


if __name__ == "__main__":
    main()
