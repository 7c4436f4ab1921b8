"""Full precision for losses under bf16 autocast, whose three digits are too few for sums over a batch."""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor


def full_precision(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Wraps a loss so that half-precision tensors become float32 and autocast is off inside it."""

    @wraps(loss)
    def in_full(*arguments):
        arguments = [a.float() if isinstance(a, Tensor) and a.dtype in HALF else a for a in arguments]
        device = arguments[0].device.type
        with torch.autocast("cpu" if device == "meta" else device, enabled=False):
            return loss(*arguments)

    return in_full


HALF = (torch.bfloat16, torch.float16)
