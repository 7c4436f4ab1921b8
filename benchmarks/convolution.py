"""Milliseconds of convolutions, forward and backward, on a CPU in bfloat16: oneDNN's beside the products of patches.

    python benchmarks/convolution.py [--batch-size=64] [--rounds=30]

One line a layer of `unlabeled.networks.SmallResNet` on images of 8 to 32 pixels; both are timed in turn, and the
medians reported. `unlabeled.convolution.SMALL` follows from the table. The last line is a JSON object: the whole
network on images of 8 pixels, with products up to SMALL and without.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from unittest.mock import patch

import torch
from throughput import processor
from torch import Tensor, nn

from unlabeled import convolution
from unlabeled.networks import SmallResNet
from unlabeled.train import has_bf16

LAYERS = [  # inputs, outputs, kernel, stride, pixels a side of the input
    (64, 64, 3, 1, 16),
    (64, 64, 3, 1, 8),
    (64, 128, 3, 2, 16),
    (64, 128, 3, 2, 8),
    (64, 128, 1, 2, 8),
    (128, 128, 3, 1, 4),
    (128, 256, 3, 2, 4),
    (128, 256, 1, 2, 4),
    (256, 256, 3, 1, 4),
    (256, 256, 3, 1, 2),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    print("inputs outputs kernel stride pixels   oneDNN  patches   ratio")
    for inputs, outputs, kernel, stride, side in LAYERS:
        layer = convolution.Conv2d(inputs, outputs, kernel, stride).to(memory_format=torch.channels_last)
        x = images(options.batch_size, inputs, side).requires_grad_()
        theirs, ours = compare(layer, x, options.rounds)
        print(f"{inputs:6} {outputs:7} {kernel:6} {stride:6} {side:6} {theirs:8.2f} {ours:8.2f} {theirs / ours:7.2f}")
    network = SmallResNet(1, 8).to(memory_format=torch.channels_last)
    theirs, ours = compare(network, images(options.batch_size, 1, 8), options.rounds, convolution.SMALL)
    result = {"oneDNN": theirs, "patches": ours, "ratio": theirs / ours, "threads": torch.get_num_threads()}
    print(json.dumps(result | {"bf16": has_bf16(torch.device("cpu")), "cpu": processor()}))


def images(batch: int, channels: int, side: int) -> Tensor:
    return torch.randn(batch, channels, side, side).to(memory_format=torch.channels_last)


def compare(network: nn.Module, x: Tensor, rounds: int, small: int = 10**6) -> tuple[float, float]:
    """Median milliseconds with oneDNN's convolutions alone, and with products up to `small` pixels a side."""

    def with_small(pixels: int) -> Callable[[], float]:
        def timed() -> float:
            with patch.object(convolution, "SMALL", pixels):
                return step(network, x)

        return timed

    contenders = with_small(0), with_small(small)
    times = [[timed() for timed in contenders] for _ in range(rounds + 3)][3:]
    return tuple(statistics.median(column) for column in zip(*times, strict=True))


def step(network: nn.Module, x: Tensor) -> float:
    """Milliseconds of one pass forward and back."""
    began = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16):
        network(x).sum().backward()
    network.zero_grad(set_to_none=True)
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
