"""Minimal filtering beside torch's convolution."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from unlabeled.winograd import Winograd, cook_toom, transforms

PRODUCTS = {2: 3, 3: 5, 4: 6, 5: 10, 6: 10, 7: 12, 8: 12, 9: 15, 14: 24}
"""Of a row, by its pixels."""


def layer(side: int, batch: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(batch, 32, side, side).to(memory_format=torch.channels_last)
    weight = torch.randn(24, 32, 3, 3).to(memory_format=torch.channels_last)
    return x.requires_grad_(), weight.requires_grad_()


@pytest.mark.parametrize("side", PRODUCTS)
def test_it_is_the_convolution_and_so_are_its_gradients(side):
    x, weight = layer(side)
    exact = [each.detach().double().requires_grad_() for each in (x, weight)]
    expected = F.conv2d(*exact, padding=1)
    gradient = torch.randn_like(expected)
    result = Winograd.apply(x, weight)
    pairs = zip(
        (result, *torch.autograd.grad(result, (x, weight), gradient.float())),
        (expected, *torch.autograd.grad(expected, exact, gradient)),
        strict=True,
    )
    for found, true in pairs:
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert (found - true).abs().max() < 3e-5 * true.std()


def test_it_takes_any_layout_and_an_expanded_gradient():
    x, weight = layer(8)
    plain = x.detach().contiguous().requires_grad_()
    for each in (x, plain):
        Winograd.apply(each, weight).sum().backward()
    assert torch.equal(x.grad, plain.grad)


def test_what_it_makes_can_be_changed_in_place():
    x, weight = layer(4)
    (doubled,) = torch.autograd.grad(Winograd.apply(x, weight).mul_(2).sum(), x)
    torch.testing.assert_close(doubled, 2 * torch.autograd.grad(Winograd.apply(x, weight).sum(), x)[0])


def test_it_is_differentiated_once():
    x, weight = layer(4)
    (gradient,) = torch.autograd.grad(Winograd.apply(x, weight).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("wanted", [(True, False), (False, True)])
def test_nothing_is_computed_for_what_wants_no_gradient(wanted):
    x, weight = layer(4)
    saved = {}
    context = SimpleNamespace(save_for_backward=lambda *tensors: saved.update(saved_tensors=tensors))
    result = Winograd.forward(context, x.detach(), weight.detach())
    vars(context).update(saved, needs_input_grad=wanted)
    with torch.no_grad():
        assert tuple(each is not None for each in Winograd.backward(context, torch.ones_like(result))) == wanted


@pytest.mark.parametrize("outputs, taps", [(2, 2), (2, 3), (3, 3), (4, 3)])
def test_a_filter_takes_as_many_products_as_inputs(outputs, taps):
    of_input, of_filter, of_output = map(torch.from_numpy, cook_toom(outputs, taps))
    row, weights = torch.randn(outputs + taps - 1).double(), torch.randn(taps).double()
    assert len(of_input) == len(of_filter) == len(row)
    torch.testing.assert_close(of_output @ ((of_input @ row) * (of_filter @ weights)), row.unfold(0, taps, 1) @ weights)


@pytest.mark.parametrize("side, products", PRODUCTS.items())
def test_products_of_a_row(side, products):
    of_input, of_filters, of_output, tiles = transforms(side)
    assert of_input.shape == (products, side) and of_output.shape == (side, products)
    assert of_filters.shape == (products // tiles * products, 9)


@pytest.mark.parametrize("default", ["torch.set_default_device('meta')", "torch.set_default_dtype(torch.float64)"])
def test_the_matrices_do_not_depend_on_who_asks_first(default):
    program = f"import torch; from unlabeled.winograd import transforms; {default}; print(transforms(8)[0].dtype)"
    program += "; print(transforms(8)[0].device)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["torch.float32", "cpu"]
