import copy
import math

import pytest
import torch
from lightly.models.utils import get_weight_decay_parameters
from lightly.utils import lars
from torch import nn

from unlabeled.config import Pretraining
from unlabeled.training.optimizers import LARS, build_optimizer, learning_rate, restore


def small_model(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7, bias=False), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3)).to(dtype)


def trained(model, optimizer, steps=5):
    """The parameters after some steps of least squares."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        inputs, wanted = torch.randn(2, 8, 5, generator=generator).to(model[0].weight.dtype)
        loss = (model(inputs) - wanted[:, :3]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


def slow_lars(weights, gradients, rate, momentum, decay, trust, adapt, clip=False):
    """You et al., algorithm 1, a number at a time: w after a step for each gradient in turn."""
    velocity = [0.0] * len(weights)
    for gradient in gradients:
        size, slope = math.sqrt(sum(w * w for w in weights)), math.sqrt(sum(g * g for g in gradient))
        local = trust * size / (slope + decay * size) if adapt and size > 0 and slope > 0 else 1.0
        local = min(local, rate) / rate if adapt and clip else local
        velocity = [momentum * v + local * (g + decay * w) for v, g, w in zip(velocity, gradient, weights, strict=True)]
        weights = [w - rate * v for w, v in zip(weights, velocity, strict=True)]
    return weights


@pytest.mark.parametrize("adapt, decay", [(True, 0.1), (True, 0.0), (False, 0.1), (False, 0.0)])
def test_lars_is_the_slow_loop(adapt, decay):
    weight = nn.Parameter(torch.randn(6, generator=torch.Generator().manual_seed(0)).double())
    gradients = torch.randn(4, 6, generator=torch.Generator().manual_seed(1)).double()
    expected = slow_lars(weight.tolist(), gradients.tolist(), 0.5, 0.9, decay, 0.02, adapt)
    optimizer = LARS([{"params": [weight], "adapt": adapt}], 0.5, momentum=0.9, weight_decay=decay, trust=0.02)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    assert weight.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("trust", [0.001, 5.0], ids=["lower than the rate", "higher than the rate"])
def test_clipped_lars_moves_a_layer_at_the_lower_of_its_own_rate_and_the_given_one(trust):
    weight = nn.Parameter(torch.randn(6, generator=torch.Generator().manual_seed(0)).double())
    gradients = torch.randn(4, 6, generator=torch.Generator().manual_seed(1)).double()
    expected = slow_lars(weight.tolist(), gradients.tolist(), 0.5, 0.9, 0.1, trust, True, clip=True)
    config = Pretraining(optimizer="lars", learning_rate=0.5, weight_decay=0.1, lars_trust=trust, lars_clip=True)
    model = nn.Module()
    model.weight = nn.Parameter(weight.detach().clone()[None])
    optimizer = build_optimizer(model, config)
    for gradient in gradients:
        model.weight.grad = gradient.clone()[None]
        optimizer.step()
    assert model.weight[0].tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_lars_is_lightlys(momentum):
    ours, theirs = small_model(), small_model()
    config = Pretraining(optimizer="lars", learning_rate=0.3, momentum=momentum, weight_decay=0.01)
    groups = build_optimizer(theirs, config).param_groups  # there, without decay no scaling either
    groups = [{"params": group["params"], "weight_decay": group["weight_decay"]} for group in groups]
    expected = trained(theirs, lars.LARS(groups, lr=0.3, momentum=momentum))
    for a, b in zip(trained(ours, build_optimizer(ours, config)), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_lars_without_adaptation_is_torchs_sgd(momentum, decay):
    ours, theirs = small_model(), small_model()
    optimizer = LARS([{"params": ours.parameters(), "adapt": False}], 0.1, momentum=momentum, weight_decay=decay)
    plain = torch.optim.SGD(theirs.parameters(), 0.1, momentum, weight_decay=decay, foreach=False)
    for a, b in zip(trained(ours, optimizer, 20), trained(theirs, plain, 20), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("decay_all", [False, True])
def test_sgd_is_torchs_plain_one_with_decay_where_lightly_has_it(decay_all):
    ours, theirs = small_model(), small_model()
    config = Pretraining(optimizer="sgd", learning_rate=0.1, weight_decay=0.1, decay_all=decay_all)
    decayed, others = get_weight_decay_parameters([theirs], decay_norm=decay_all, decay_bias=decay_all)
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others}]
    plain = torch.optim.SGD(groups, 0.1, config.momentum, foreach=False)
    for a, b in zip(trained(ours, build_optimizer(ours, config), 20), trained(theirs, plain, 20), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("what", ["weight", "gradient"])
def test_lars_survives_a_layer_of_zeros(what):
    weight = nn.Parameter(torch.zeros(3) if what == "weight" else torch.ones(3))
    weight.grad = torch.ones(3) if what == "weight" else torch.zeros(3)
    LARS([{"params": [weight]}], 0.1, momentum=0.0).step()
    assert torch.equal(weight.detach(), torch.full((3,), -0.1) if what == "weight" else torch.ones(3))


def test_lars_leaves_what_has_no_gradient_alone():
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    used.grad = torch.ones(2)
    optimizer = LARS([{"params": [used, unused]}, {"params": []}], 0.1, weight_decay=0.5)
    optimizer.step()
    assert torch.equal(unused.detach(), torch.ones(2)) and not torch.equal(used.detach(), torch.ones(2))
    assert unused not in optimizer.state


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars"])
def test_only_weights_are_decayed(name):
    model = small_model()
    decayed, rest = build_optimizer(model, Pretraining(optimizer=name, weight_decay=0.1)).param_groups
    assert [id(p) for p in decayed["params"]] == [id(model[0].weight), id(model[3].weight)]
    assert len(rest["params"]) == 3
    assert decayed["weight_decay"] == 0.1 and rest["weight_decay"] == 0


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars"])
def test_all_are_decayed_where_asked(name):
    groups = build_optimizer(small_model(), Pretraining(optimizer=name, weight_decay=0.1, decay_all=True)).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.1]


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars"])
def test_frozen_parameters_are_not_trained(name):
    model = small_model()
    model[3].requires_grad_(False)
    groups = build_optimizer(model, Pretraining(optimizer=name)).param_groups
    assert sum(len(group["params"]) for group in groups) == 3


@pytest.mark.parametrize("name, slow", [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_fused_optimizers_step_on_the_cpu_as_the_plain_ones_do(name, slow):
    ours, theirs = small_model(torch.float32), small_model(torch.float32)
    optimizer = build_optimizer(ours, Pretraining(optimizer=name, learning_rate=0.05, weight_decay=0.1))
    extra = {"momentum": 0.9} if name == "sgd" else {}
    groups = build_optimizer(theirs, Pretraining(optimizer=name, weight_decay=0.1)).param_groups
    groups = [{"params": group["params"], "weight_decay": group["weight_decay"]} for group in groups]
    expected = trained(theirs, slow(groups, lr=0.05, foreach=False, **extra))
    for a, b in zip(trained(ours, optimizer), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars"])
def test_a_restored_optimizer_steps_as_if_it_had_never_stopped(name):
    model = small_model()
    optimizer = build_optimizer(model, Pretraining(optimizer=name, learning_rate=0.01))
    trained(model, optimizer, 3)
    twin = copy.deepcopy(model)
    restored = build_optimizer(twin, Pretraining(optimizer=name, learning_rate=0.5))
    restore(restored, copy.deepcopy(optimizer.state_dict()))
    assert all(map(torch.equal, trained(model, optimizer), trained(twin, restored)))


def test_the_learning_rate_warms_up_linearly_and_falls_as_a_cosine():
    rates = [learning_rate(step, 100, 10, 2.0) for step in range(101)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == 2.0 and rates[55] == pytest.approx(1.0) and rates[100] == pytest.approx(0)
    assert all(a < b for a, b in zip(rates[:9], rates[1:10], strict=True))
    assert all(a > b for a, b in zip(rates[10:100], rates[11:], strict=True))
    assert min(rates[:100]) > 0 and max(rates) == 2.0


def test_without_warm_up_the_learning_rate_starts_at_its_peak():
    assert learning_rate(0, 10, 0, 0.3) == 0.3


def test_a_training_that_is_all_warm_up_ends_at_the_peak():
    assert [learning_rate(step, 4, 4, 1.0) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
