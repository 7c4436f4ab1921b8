"""Our convolution beside torch's: the product of patches, and when what is computed."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unlabeled import convolution
from unlabeled.convolution import Conv2d, PatchProduct
from unlabeled.networks import SmallResNet
from unlabeled.winograd import Winograd

SHAPES = [
    (kernel, stride, height, width)
    for kernel in (1, 3, 5)
    for stride in (1, 2, 3)
    for height, width in ((4, 4), (5, 3), (1, 2))
]


@pytest.mark.parametrize("kernel, stride, height, width", SHAPES)
def test_a_product_of_patches_is_the_convolution_and_so_are_its_gradients(kernel, stride, height, width):
    x = torch.randn(3, 4, height, width, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 4, kernel, kernel, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(x, weight, stride=stride, padding=kernel // 2)
    gradient = torch.randn_like(expected)
    result = PatchProduct.apply(x, weight, stride)
    torch.testing.assert_close(result, expected)
    for found, true in zip(
        torch.autograd.grad(result, (x, weight), gradient),
        torch.autograd.grad(expected, (x, weight), gradient),
        strict=True,
    ):
        torch.testing.assert_close(found, true)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("side", [4, 16])
def test_it_is_a_product_of_patches_for_small_maps_in_bfloat16(dtype, side, monkeypatch):
    calls, product = [], PatchProduct.apply
    monkeypatch.setattr(PatchProduct, "apply", lambda *args: calls.append(args) or product(*args))
    layer, x = Conv2d(8, 16, 3), torch.randn(2, 8, side, side)
    expected = F.conv2d(x, layer.weight, padding=1)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        result = layer(x)
    assert result.dtype == dtype and len(calls) == (dtype == torch.bfloat16 and side == 4)
    torch.testing.assert_close(result.float(), expected, atol=0.02 if dtype == torch.bfloat16 else 1e-6, rtol=0.02)


@pytest.mark.parametrize(
    "how, channels, kernel, stride, shape, dtype",
    [
        (Winograd, 64, 3, 1, (8, 8), torch.float32),
        (Winograd, 64, 3, 1, (2, 2), torch.float32),
        (Winograd, 128, 3, 1, (16, 16), torch.float32),
        (None, 96, 3, 1, (16, 16), torch.float32),  # so few channels that changing them into points costs the gain
        (None, 48, 3, 1, (2, 2), torch.float32),
        (None, 64, 3, 2, (8, 8), torch.float32),
        (None, 64, 1, 1, (8, 8), torch.float32),
        (None, 64, 3, 1, (8, 4), torch.float32),
        (None, 64, 3, 1, (8, 8), torch.float64),
        (PatchProduct, 64, 3, 2, (4, 4), torch.float32),
        (PatchProduct, 64, 1, 2, (4, 4), torch.float32),
        (PatchProduct, 64, 3, 1, (1, 1), torch.float32),
        (None, 64, 3, 2, (4, 4), torch.float64),
    ],
)
def test_in_training_it_is_computed_as_is_faster(how, channels, kernel, stride, shape, dtype, monkeypatch):
    calls = []
    for each in (Winograd, PatchProduct):

        def noted(*args, each=each, apply=each.apply):
            calls.append(each)
            return apply(*args)

        monkeypatch.setattr(each, "apply", noted)
    layer, x = Conv2d(channels, 4, kernel, stride).to(dtype), torch.randn(2, channels, *shape, dtype=dtype)
    trained, embedded = layer.train()(x), layer.eval()(x)
    assert calls == ([how] if how else [])
    assert torch.equal(embedded, F.conv2d(x, layer.weight, stride=stride, padding=kernel // 2))
    torch.testing.assert_close(trained, embedded, atol=1e-5, rtol=1e-4)


def test_it_filters_neither_in_bfloat16_nor_for_an_export(monkeypatch):
    monkeypatch.setattr(Winograd, "apply", lambda *_: pytest.fail("filtered"))
    layer, x = Conv2d(64, 4, 3).train(), torch.randn(2, 64, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        layer(x)
    torch.export.export(layer, (x,))


def test_a_network_learns_the_same_with_it(monkeypatch):
    """Gradients in bfloat16 are as near to float32's as oneDNN's are."""
    network, x = SmallResNet(1, 8, (16, 32, 64)), torch.randn(16, 1, 8, 8)

    def gradients(bf16):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            network(x).square().sum().backward()
        return nn.utils.parameters_to_vector([each.grad for each in network.parameters()])

    exact, ours = gradients(bf16=False), gradients(bf16=True)
    monkeypatch.setattr(convolution, "SMALL", 0)
    theirs = gradients(bf16=True)
    assert (ours - exact).norm() < 1.5 * (theirs - exact).norm() and not torch.equal(ours, theirs)


def test_weights_of_torchs_convolution_fit_and_begin_alike():
    torch.manual_seed(0)
    theirs = nn.Conv2d(3, 5, 3, 2, 1, bias=False)
    torch.manual_seed(0)
    ours = Conv2d(3, 5, 3, 2)
    assert torch.equal(ours.state_dict()["weight"], theirs.state_dict()["weight"]) and len(ours.state_dict()) == 1
