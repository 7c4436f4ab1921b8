"""Milliseconds and page faults of a step of BYOL on a CPU: freed memory given back to the system, and kept.

    python benchmarks/memory.py [--size=8] [--batch-size=32] [--rounds=5] [--steps=50]

The small ResNet on noise of `--size` pixels, by the bare step of throughput.py. Both are processes of their own, in
turn; medians over the rounds. The last line is a JSON object.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace

import torch
from throughput import Bare, processor

from unlabeled.config import Pretraining
from unlabeled.memory import keep_freed_memory
from unlabeled.methods.byol import BYOL
from unlabeled.networks import build_encoder

HEADS = {"hidden_dim": 512, "projection_dim": 128}
"""Of the default recipe."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    measured = {"given back": [], "kept": []}
    for _ in range(options.rounds):
        for name, numbers in measured.items():
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                numbers.append(process.submit(measure, name == "kept", options).result())
    result = {"threads": torch.get_num_threads(), "cpu": processor()}
    for name, numbers in measured.items():
        milliseconds, faults = (statistics.median(column) for column in zip(*numbers, strict=True))
        print(f"{name:>10}: {milliseconds:.1f} ms and {faults:,.0f} page faults a step")
        result[name] = {"milliseconds": milliseconds, "faults": faults}
    print(json.dumps(result))


def measure(keep: bool, options: argparse.Namespace) -> tuple[float, float]:
    """Milliseconds and page faults of a step, after as many that do not count."""
    if keep:
        keep_freed_memory()
    batch = (torch.randn(2 * options.batch_size, 1, options.size, options.size),)
    supply = SimpleNamespace(device=torch.device("cpu"), steps_per_epoch=options.steps, batch=lambda step: batch)
    config = Pretraining(epochs=1, batch_size=options.batch_size, optimizer="adamw")
    bare = Bare(lambda: BYOL(build_encoder("small_resnet", 1, options.size), **HEADS), supply, config)
    bare.seconds()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    seconds = bare.seconds()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return 1000 * seconds / options.steps, faults / options.steps


if __name__ == "__main__":
    main()
