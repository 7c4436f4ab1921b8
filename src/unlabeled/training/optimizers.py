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
from unlabeled.method import Method


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


def build_optimizer(model: Method, config: Pretraining) -> Optimizer:
    """The optimizer over all trainable parameters; biases and norms are decayed if `decay_all`.

    Biases and norms are the parameters of one dimension; tokens and positions have more, and decay. A group's
    `lr_scale` is its learning rate as a fraction of that of the step.
    """
    scales = layer_scales(model.encoder, config.layer_decay) if config.layer_decay < 1 else {}
    groups: list[dict[str, Any]] = []
    trained = [
        (parameter, scales.get(id(parameter), 1.0)) for parameter in model.parameters() if parameter.requires_grad
    ]
    for scale in sorted({1.0, *scales.values()}, reverse=True):
        own = [parameter for parameter, its in trained if its == scale]
        decays = config.weight_decay, config.weight_decay * config.decay_all
        parts = [p for p in own if p.ndim > 1], [p for p in own if p.ndim <= 1]
        groups += [
            {"params": part, "weight_decay": decay, "lr_scale": scale}
            for part, decay in zip(parts, decays, strict=True)
        ]
    if config.optimizer == "sgd":
        return SGD(groups, config.learning_rate, config.momentum, fused=True)
    if config.optimizer == "adamw":
        return AdamW(groups, config.learning_rate, fused=True)
    for group in groups[1::2]:
        group["adapt"] = False
    return LARS(groups, config.learning_rate, config.momentum, trust=config.lars_trust, clip=config.lars_clip)


def layer_scales(encoder: Any, decay: float) -> dict[int, float]:
    """Learning rate of each parameter of an `ImageNetwork`, by its id, as a fraction of that of the last layer: decay
    to the power of the layers above it."""
    layers = encoder.layers()
    last = max(layers.values())
    return {id(parameter): decay ** (last - layers[name]) for name, parameter in encoder.named_parameters()}


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
