from copy import deepcopy

import pytest
import torch
from torch import nn

from unlabeled.config import Pretraining
from unlabeled.method import Method
from unlabeled.nn.network import freeze
from unlabeled.nn.small_networks import build_encoder
from unlabeled.training.optimizers import build_optimizer

NETWORKS = ["small_resnet", "resnet18", "small_vit", "test_resnet", "test_vit", "test_efficientnet", "test_convnext"]


class Mean(Method):
    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(encoder.feature_dim, 1)

    def forward(self, batch):
        return self.head(self.encoder(batch)).square().mean()


def stepped(method, config, steps=2):
    optimizer = build_optimizer(method.train(), config)
    for _ in range(steps):
        method(torch.rand(4, 3, 64, 64)).backward()
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * group["lr_scale"]
        optimizer.step()
        optimizer.zero_grad()
    return method


@pytest.mark.parametrize("name", NETWORKS)
def test_frozen_stages_keep_weights_and_statistics_and_the_others_learn(name):
    network = build_encoder(name, 3, 64)
    freeze(network, 2)
    before = deepcopy(dict(network.named_parameters()) | dict(network.named_buffers()))
    stepped(Mean(network), Pretraining(weights="w", freeze=2, learning_rate=0.01, weight_decay=0.1))
    after, stages = dict(network.named_parameters()) | dict(network.named_buffers()), network.layers(coarse=True)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    modules = {key.rpartition(".")[0] for key, stage in stages.items() if stage < 2}
    assert not any(stages[key] < 2 if key in stages else key.rpartition(".")[0] in modules for key in changed)
    assert any(stages.get(key, 0) >= 2 for key in changed)


def test_a_copy_of_a_frozen_network_is_frozen_and_all_is_trained_without():
    network = build_encoder("test_resnet", 3, 64)
    assert all(module.training for module in network.train().modules())
    freeze(network, 2)
    copy = deepcopy(network).train()
    modes = {name: module.training for name, module in copy.named_modules()}
    assert not modes["model.layer1.0.bn1"] and not modes["model.conv1"] and modes["model.layer2.0.bn1"] and modes[""]


def test_a_network_cannot_be_frozen_as_a_whole():
    network = build_encoder("resnet18", 3, 64)
    with pytest.raises(ValueError, match="freeze: received 5, expected 0 to 4: the encoder has 5 stages"):
        freeze(network, 5)


def test_a_network_without_layers_cannot_be_frozen():
    with pytest.raises(ValueError, match="encoder: received a network without layers"):
        freeze(build_encoder("linear", 3, 8), 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_has_a_layer_and_the_first_is_the_stem(name):
    network = build_encoder(name, 3, 64)
    layers = network.layers()
    assert layers.keys() == {key for key, _ in network.named_parameters()}
    assert set(layers.values()) == set(range(max(layers.values()) + 1)) and max(layers.values()) > 1


def test_deeper_layers_learn_faster_by_the_decay_and_the_head_at_the_full_rate():
    method = Mean(build_encoder("test_vit", 3, 64))
    groups = build_optimizer(method, Pretraining(layer_decay=0.5)).param_groups
    rate = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
    layers, encoder = method.encoder.layers(), dict(method.encoder.named_parameters())
    last = max(layers.values())
    assert {rate[id(encoder[key])] == 0.5 ** (last - layer) for key, layer in layers.items()} == {True}
    assert rate[id(method.head.weight)] == 1 and min(rate.values()) == 0.5**last


def test_without_decay_there_are_the_two_groups_of_before():
    groups = build_optimizer(Mean(build_encoder("test_vit", 3, 64)), Pretraining()).param_groups
    assert [group["lr_scale"] for group in groups] == [1.0, 1.0]
