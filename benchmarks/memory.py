"""Milliseconds and page faults of a step of BYOL on a CPU: freed memory given back to the system, and kept.

    python benchmarks/memory.py [--size=8] [--batch-size=32] [--rounds=5] [--steps=50]

The small ResNet on noise of `--size` pixels. Both are processes of their own, in turn; medians over the rounds. The
last line is a JSON object.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor

import torch
from throughput import processor

from unlabeled.config import Pretraining
from unlabeled.memory import keep_freed_memory
from unlabeled.methods.byol import BYOL
from unlabeled.networks import build_encoder
from unlabeled.optimizers import build_optimizer


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
    """Milliseconds, in the median, and page faults of a step, in the mean."""
    if keep:
        keep_freed_memory()
    encoder = build_encoder("small_resnet", 1, options.size)
    method = BYOL(encoder, hidden_dim=512, projection_dim=128).to(memory_format=torch.channels_last)
    optimizer = build_optimizer(method, Pretraining(batch_size=options.batch_size, optimizer="adamw"))
    views = torch.randn(2 * options.batch_size, 1, options.size, options.size)
    times = []
    for step in range(2 * options.steps):
        if step == options.steps:  # the first half is to find its feet
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        began = time.perf_counter()
        method(views).backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step(0.5)
        times.append(1000 * (time.perf_counter() - began))
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return statistics.median(times[options.steps :]), faults / options.steps


if __name__ == "__main__":
    main()
