"""Milliseconds of convolutions, forward and backward, on a CPU: oneDNN's beside our products.

    python benchmarks/convolution.py [--precision=bf16|fp32] [--batch-size=64] [--rounds=30]

Ours are products of patches; in float32, of 3×3 kernels and a stride of 1, minimal filtering. Without `--precision` it
is what a training would take. One line a layer, such as `unlabeled.networks.SmallResNet` has on images of 8 to 32
pixels; both are timed in turn, and the medians reported. The limits in `unlabeled.convolution` follow from the tables.
Then whole networks on images of 8 pixels, by oneDNN alone and as they are, by the channels of their three blocks, all
in turn. The last line is a JSON object, of the default.
"""

import argparse
import json
import statistics
import time
from unittest.mock import patch

import torch
from throughput import processor
from torch import Tensor, nn

from unlabeled import convolution
from unlabeled.memory import keep_freed_memory
from unlabeled.networks import SmallResNet
from unlabeled.train import has_bf16

LAYERS = [  # inputs, outputs, kernel, stride, pixels a side of the input
    (32, 32, 3, 1, 8),
    (32, 64, 3, 2, 8),
    (32, 64, 1, 2, 8),
    (64, 256, 3, 2, 4),
    (64, 256, 1, 2, 4),
    (48, 48, 3, 1, 16),
    (64, 64, 3, 1, 16),
    (128, 128, 3, 1, 16),
    (128, 128, 3, 1, 14),
    (48, 48, 3, 1, 8),
    (64, 64, 3, 1, 8),
    (96, 96, 3, 1, 8),
    (256, 256, 3, 1, 7),
    (192, 192, 3, 1, 6),
    (256, 256, 3, 1, 5),
    (64, 128, 3, 2, 16),
    (64, 128, 3, 2, 8),
    (64, 128, 1, 2, 8),
    (32, 32, 3, 1, 4),
    (64, 64, 3, 1, 4),
    (128, 128, 3, 1, 4),
    (128, 256, 3, 2, 4),
    (128, 256, 1, 2, 4),
    (256, 256, 3, 1, 4),
    (64, 64, 3, 1, 2),
    (256, 256, 3, 1, 2),
]
WIDTHS = [None, (64, 128, 256), (32, 128, 256), (32, 96, 256), (24, 96, 256), (16, 64, 256)]
"""Of the blocks of the small ResNet; None: its own."""
NEVER = {"SMALL": 0, "FEWEST": float("inf")}
ALWAYS = {"FEWEST": 0, "CHANNELS_A_PIXEL": 0} | dict.fromkeys(["SMALL", "SMALL_IN_FLOAT32"], float("inf"))
AS_IT_IS = {name: getattr(convolution, name) for name in ALWAYS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=["bf16", "fp32"])
    parser.add_argument("--batch-size", type=int, default=64, help="of views")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    bf16 = options.precision == "bf16" if options.precision else has_bf16(torch.device("cpu"))
    keep_freed_memory()  # as a training does
    print("inputs outputs kernel stride pixels   oneDNN     ours   ratio")
    for inputs, outputs, kernel, stride, side in LAYERS:
        layer = convolution.Conv2d(inputs, outputs, kernel, stride).to(memory_format=torch.channels_last)
        x = images(options.batch_size, inputs, side).requires_grad_()
        theirs, ours = medians([(layer, NEVER), (layer, ALWAYS)], x, options.rounds, bf16)
        print(f"{inputs:6} {outputs:7} {kernel:6} {stride:6} {side:6} {theirs:8.2f} {ours:8.2f} {theirs / ours:7.2f}")
    networks = [SmallResNet(1, 8, widths).to(memory_format=torch.channels_last) for widths in WIDTHS]
    ways = [(network, limits) for network in networks for limits in (NEVER, AS_IT_IS)]
    times = medians(ways, images(options.batch_size, 1, 8), options.rounds, bf16)
    print("channels of the blocks               oneDNN     ours   ratio")
    for widths, theirs, ours in zip(WIDTHS, times[::2], times[1::2], strict=True):
        print(f"{widths or 'the default'!s:34} {theirs:8.2f} {ours:8.2f} {theirs / ours:7.2f}")
    theirs, ours, *_ = times
    result = {"oneDNN": theirs, "ours": ours, "ratio": theirs / ours, "threads": torch.get_num_threads()}
    print(json.dumps(result | {"bf16": bf16, "cpu": processor()}))


def images(batch: int, channels: int, side: int) -> Tensor:
    return torch.randn(batch, channels, side, side).to(memory_format=torch.channels_last)


def medians(ways: list[tuple[nn.Module, dict[str, float]]], x: Tensor, rounds: int, bf16: bool) -> list[float]:
    """Milliseconds of networks, each with our products within its limits, in turn."""
    times = [[step(network, x, bf16, limits) for network, limits in ways] for _ in range(rounds + 3)][3:]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def step(network: nn.Module, x: Tensor, bf16: bool, limits: dict[str, float]) -> float:
    """Milliseconds of one pass forward and back."""
    with patch.multiple(convolution, **limits), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        began = time.perf_counter()
        network(x).sum().backward()
        passed = time.perf_counter() - began
    network.zero_grad(set_to_none=True)
    return 1000 * passed


if __name__ == "__main__":
    main()
