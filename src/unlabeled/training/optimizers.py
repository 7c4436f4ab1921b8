"""SGD, AdamW and LARS over two groups of parameters: weights, and biases with norms, which decay only if configured.

Most papers of the methods leave biases and norms without decay; MoCo's and SimSiam's code and lightly's benchmark on
CIFAR-10 decay all parameters (`pretraining.decay_all`).
"""

import math
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from unlabeled.config import Pretraining


class LARS(Optimizer):
    """SGD whose step is scaled to the size of the weights, layer by layer (You et al. 2017, arXiv:1708.03888).

    Groups with `adapt` false (biases, norms) get plain SGD with momentum, as in BYOL's and SimCLR's recipes. With
    `clip`, a layer moves at the lower of its own rate and `lr` (LARC, as in solo-learn's recipes), not at their
    product.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
        clip: bool = False,
    ):
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        defaults |= {"trust": trust, "clip": clip, "adapt": True}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self) -> None:  # ty: ignore[incompatible-method-override]: the loop has no closure to give
        """Updates every parameter that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group)

    def _move(self, weight: nn.Parameter, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        decay = group["weight_decay"]
        change = gradient.add(weight, alpha=decay)
        if group["adapt"]:
            size, slope = weight.norm(), gradient.norm()
            ratio = group["trust"] * size / (slope + decay * size)
            if group["clip"]:
                ratio = (ratio / group["lr"]).clamp(max=1)
            change *= torch.where((size > 0) & (slope > 0), ratio, 1.0)
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        state["momentum_buffer"].mul_(group["momentum"]).add_(change)
        weight.add_(state["momentum_buffer"], alpha=-group["lr"])


def build_optimizer(model: nn.Module, config: Pretraining) -> Optimizer:
    """The optimizer over all trainable parameters; biases and norms are decayed if `decay_all`.

    Biases and norms are the parameters of one dimension; tokens and positions have more, and decay.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": config.weight_decay * config.decay_all},
    ]
    if config.optimizer == "sgd":
        return SGD(groups, config.learning_rate, config.momentum, fused=True)
    if config.optimizer == "adamw":
        return AdamW(groups, config.learning_rate, fused=True)
    groups[1]["adapt"] = False
    return LARS(groups, config.learning_rate, config.momentum, trust=config.lars_trust, clip=config.lars_clip)


def restore(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Loads a `state_dict` whose tensors are stored densely, as in a file.

    Fused kernels iterate over memory, so a moment needs its parameter's memory order, including channels_last.
    """
    optimizer.load_state_dict(saved)
    for parameter, moments in optimizer.state.items():
        for name, moment in moments.items():
            if moment.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(moment)


def learning_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """The learning rate at a step, counted from 0: linear from 0 to `peak` over `warmup` steps, then a cosine to 0 at
    `steps`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (math.cos(math.pi * (step - warmup) / (steps - warmup)) + 1) / 2
