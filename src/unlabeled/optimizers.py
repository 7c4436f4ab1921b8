"""SGD, AdamW and LARS over two groups of parameters: weights, and biases with norms, which are decayed if asked."""

import math

import torch
from torch import Tensor, nn

from unlabeled.config import Pretraining


class LARS(torch.optim.Optimizer):
    """SGD whose step is scaled, a layer at a time, to the size of its weights (You et al. 2017, arXiv:1708.03888).

    Groups with `adapt` false (biases, norms) get plain SGD with momentum, as in BYOL's and SimCLR's recipes.
    """

    def __init__(self, params, lr: float, momentum: float = 0.9, weight_decay: float = 0.0, trust: float = 0.001):
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "adapt": True}
        )

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if not weights:
                continue
            gradients = [p.grad for p in weights]
            ratios = self._trust_ratios(weights, gradients, group) if group["adapt"] else None
            gradients = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
            if ratios:
                torch._foreach_mul_(gradients, ratios)
            for p in weights:
                if not self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            momenta = [self.state[p]["momentum_buffer"] for p in weights]
            torch._foreach_mul_(momenta, group["momentum"])
            torch._foreach_add_(momenta, gradients)
            torch._foreach_add_(weights, momenta, alpha=-group["lr"])

    @staticmethod
    def _trust_ratios(weights: list[Tensor], gradients: list[Tensor], group: dict) -> list[Tensor]:
        sizes = zip(torch._foreach_norm(weights), torch._foreach_norm(gradients), strict=True)
        return [
            torch.where((w > 0) & (g > 0), group["trust"] * w / (g + group["weight_decay"] * w), 1.0) for w, g in sizes
        ]


def build_optimizer(model: nn.Module, config: Pretraining) -> torch.optim.Optimizer:
    """The optimizer over the parameters that are trained; biases and norms are decayed if `decay_all`."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": config.weight_decay * config.decay_all},
    ]
    fused = trained[0].device.type in ("cpu", "cuda")
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, config.learning_rate, momentum=config.momentum, fused=fused)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, config.learning_rate, fused=fused)
    groups[1]["adapt"] = False
    return LARS(groups, config.learning_rate, momentum=config.momentum)


def learning_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """Linear from 0 to `peak` over `warmup` steps, then a cosine to 0 at `steps`; `step` counts from 0."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (math.cos(math.pi * (step - warmup) / (steps - warmup)) + 1) / 2
