"""Times attention, forward and backward, on a CPU: torch's in bfloat16 against `unlabeled.nn.attention`.

    python benchmarks/attention.py [--rounds=20]

Prints one line a shape, from small_vit's on images of 8 pixels to GPT's on 256 tokens: median milliseconds of each.
Both take turns.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from unlabeled.nn.attention import attention

SHAPES = [(32, 3, 5, 64), (32, 4, 17, 24), (64, 3, 65, 64), (32, 4, 64, 32), (32, 4, 128, 32), (16, 8, 256, 32)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} threads\nbatch heads tokens dim    torch     ours   ratio")
    for shape in SHAPES:
        inputs = [torch.randn(shape, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
        contenders = F.scaled_dot_product_attention, attention
        times = [[step(each, inputs) for each in contenders] for _ in range(options.rounds + 3)][3:]
        theirs, ours = (statistics.median(column) for column in zip(*times, strict=True))
        print("{:5} {:5} {:6} {:3}".format(*shape), f"{theirs:8.2f} {ours:8.2f} {theirs / ours:7.2f}")


def step(function: Callable[..., Tensor], inputs: list[Tensor]) -> float:
    """Milliseconds of one forward and backward pass."""
    began = time.perf_counter()
    function(*inputs).sum().backward()
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
