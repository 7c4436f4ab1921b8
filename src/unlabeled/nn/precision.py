"""Losses in full precision under bf16 autocast: their sums over a batch do not bear its three digits."""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor


def full_precision(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The loss of its tensors in float32 where they come in less, and without autocast inside."""

    @wraps(loss)
    def in_full(*arguments):
        arguments = [a.float() if isinstance(a, Tensor) and a.dtype in HALF else a for a in arguments]
        device = arguments[0].device.type
        with torch.autocast("cpu" if device == "meta" else device, enabled=False):
            return loss(*arguments)

    return in_full


HALF = (torch.bfloat16, torch.float16)
