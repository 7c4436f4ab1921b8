"""Exponential moving averages of networks."""

import math
from collections.abc import Iterable

import torch
from torch import nn


def cosine_momentum(start: float, progress: float, end: float = 1) -> float:
    """Momentum τ on a cosine from `start` at progress 0 to `end` at 1: end − (end − start)(cos(π · progress) + 1) /
    2."""
    return end - (end - start) * (math.cos(math.pi * progress) + 1) / 2


@torch.no_grad()
def follow(slow: nn.Module, fast: Iterable[nn.Module], momentum: float) -> None:
    """Moves the parameters of `slow` towards those of the modules that it copies: ξ ← τξ + (1 − τ)θ."""
    torch._foreach_lerp_(list(slow.parameters()), [p for module in fast for p in module.parameters()], 1 - momentum)
