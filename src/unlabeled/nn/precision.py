"""Full precision for losses under bf16 autocast, whose three digits are too few for sums over a batch."""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)


def at_least_float32(x: Tensor) -> Tensor:
    """Converts a half-precision tensor to float32, and leaves float32 and float64 as they are."""
    return x.float() if x.dtype in HALF else x


def full_precision(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Wraps a loss so that half-precision tensors become float32 and autocast is off inside it."""

    @wraps(loss)
    def in_full(*arguments):
        arguments = [at_least_float32(a) if isinstance(a, Tensor) else a for a in arguments]
        device = arguments[0].device.type
        with torch.autocast("cpu" if device == "meta" else device, enabled=False):
            return loss(*arguments)

    return in_full
