"""SGD, AdamW and LARS over two groups of parameters: weights, and biases with norms, which are decayed if asked."""

import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from unlabeled.config import Pretraining


class Optimizer:
    """What a training needs of `torch.optim.Optimizer`, whose first step imports torch's compiler: seconds.

    Args:
        groups: Each with its `params`, and with what it has instead of `shared`'s.
        shared: What holds for all groups, the learning rate `lr` among it.
    """

    def __init__(self, groups: list[dict[str, Any]], **shared: float):
        self.param_groups = [shared | group for group in groups]
        self.state: dict[nn.Parameter, dict[str, Tensor]] = defaultdict(dict)

    def update(self, weights: list[nn.Parameter], gradients: list[Tensor], group: dict[str, Any]) -> None:
        """Moves weights of a group, in place."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self) -> None:
        """Moves every parameter that has a gradient."""
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if weights:
                self.update(weights, [p.grad for p in weights], group)

    def zero_grad(self) -> None:
        for parameter in self._parameters():
            parameter.grad = None

    def moments(self, weights: list[nn.Parameter], name: str) -> list[Tensor]:
        """What is remembered of each weight under this name; zeros of its shape at first."""
        for p in weights:
            if name not in self.state[p]:
                self.state[p][name] = torch.zeros_like(p)
        return [self.state[p][name] for p in weights]

    def state_dict(self) -> dict[str, Any]:
        """What is remembered, by the number of the parameter, and what holds for each group."""
        state = {i: self.state[p] for i, p in enumerate(self._parameters()) if p in self.state}
        return {"state": state, "param_groups": [_settings(group) for group in self.param_groups]}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave, or torch's, which may have been on another device.

        Fused kernels walk through memory: a moment has to lie there in its parameter's order, channels_last too.
        """
        parameters = self._parameters()
        for i, moments in saved["state"].items():
            p = parameters[i]
            self.state[p] = {
                name: torch.empty_like(p).copy_(moment) if moment.shape == p.shape else moment.to(p.device, copy=True)
                for name, moment in moments.items()
            }
        for group, others in zip(self.param_groups, saved["param_groups"], strict=True):
            group.update({name: others[name] for name in _settings(group) if name in others})

    def _parameters(self) -> list[nn.Parameter]:
        return [p for group in self.param_groups for p in group["params"]]


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


class SGD(Optimizer):
    """With momentum, as torch's, and by its fused kernel."""

    def __init__(self, groups: list[dict[str, Any]], lr: float, momentum: float = 0.0, weight_decay: float = 0.0):
        super().__init__(groups, lr=lr, momentum=momentum, weight_decay=weight_decay)

    def update(self, weights: list[nn.Parameter], gradients: list[Tensor], group: dict[str, Any]) -> None:
        chosen = {name: group[name] for name in ("lr", "momentum", "weight_decay")}
        unused = {"dampening": 0.0, "nesterov": False, "maximize": False, "is_first_step": False}
        momenta = self.moments(weights, "momentum_buffer") if group["momentum"] else []
        torch._fused_sgd_(weights, gradients, momenta, **chosen, **unused)


class AdamW(Optimizer):
    """Loshchilov and Hutter 2019 (arXiv:1711.05101), as torch's, and by its fused kernel."""

    def __init__(self, groups: list[dict[str, Any]], lr: float, weight_decay: float = 0.01):
        super().__init__(groups, lr=lr, weight_decay=weight_decay, beta1=0.9, beta2=0.999, eps=1e-8)

    def update(self, weights: list[nn.Parameter], gradients: list[Tensor], group: dict[str, Any]) -> None:
        for p in weights:
            if "step" not in self.state[p]:
                self.state[p]["step"] = torch.zeros((), device=p.device)
        steps = [self.state[p]["step"] for p in weights]
        torch._foreach_add_(steps, 1)
        moments = self.moments(weights, "exp_avg"), self.moments(weights, "exp_avg_sq"), []
        chosen = {name: group[name] for name in ("lr", "beta1", "beta2", "weight_decay", "eps")}
        torch._fused_adamw_(weights, gradients, *moments, steps, **chosen, amsgrad=False, maximize=False)


class LARS(Optimizer):
    """SGD whose step is scaled, a layer at a time, to the size of its weights (You et al. 2017, arXiv:1708.03888).

    Groups with `adapt` false (biases, norms) get plain SGD with momentum, as in BYOL's and SimCLR's recipes.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
    ):
        super().__init__(groups, lr=lr, momentum=momentum, weight_decay=weight_decay, trust=trust, adapt=True)

    def update(self, weights: list[nn.Parameter], gradients: list[Tensor], group: dict[str, Any]) -> None:
        ratios = self._trust_ratios(weights, gradients, group) if group["adapt"] else None
        gradients = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
        if ratios:
            torch._foreach_mul_(gradients, ratios)
        momenta = self.moments(weights, "momentum_buffer")
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, gradients)
        torch._foreach_add_(weights, momenta, alpha=-group["lr"])

    @staticmethod
    def _trust_ratios(weights: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        sizes = zip(torch._foreach_norm(weights), torch._foreach_norm(gradients), strict=True)
        return [
            torch.where((w > 0) & (g > 0), group["trust"] * w / (g + group["weight_decay"] * w), 1.0) for w, g in sizes
        ]


def build_optimizer(model: nn.Module, config: Pretraining) -> Optimizer:
    """The optimizer over the parameters that are trained; biases and norms are decayed if `decay_all`."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": config.weight_decay * config.decay_all},
    ]
    if config.optimizer == "sgd":
        return SGD(groups, config.learning_rate, config.momentum)
    if config.optimizer == "adamw":
        return AdamW(groups, config.learning_rate)
    groups[1]["adapt"] = False
    return LARS(groups, config.learning_rate, config.momentum)


def learning_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """Linear from 0 to `peak` over `warmup` steps, then a cosine to 0 at `steps`; `step` counts from 0."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (math.cos(math.pi * (step - warmup) / (steps - warmup)) + 1) / 2
