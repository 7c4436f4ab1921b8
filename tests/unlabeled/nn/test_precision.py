import pytest
import torch

from unlabeled.nn.precision import full_precision


@full_precision
def product(first, second, scale):
    return scale * (first.T @ second)


def test_a_product_under_autocast_is_as_exact_as_without():
    first, second = torch.randn(2, 500, 3, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        given, rounded = product(first, second, 2.0), 2.0 * (first.T @ second)
    assert torch.equal(given, 2 * (first.T @ second)) and not torch.equal(given, rounded.float())


@pytest.mark.parametrize(
    "given, expected", [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)]
)
def test_only_less_precise_numbers_are_converted(given, expected):
    assert product(torch.ones(4, 2, dtype=given), torch.ones(4, 2, dtype=given), 1.0).dtype == expected


def test_the_gradient_comes_back_in_the_precision_of_the_input():
    first = torch.ones(4, 2, dtype=torch.bfloat16, requires_grad=True)
    product(first, torch.ones(4, 2, dtype=torch.bfloat16), 1.0).sum().backward()
    assert first.grad.dtype == torch.bfloat16 and first.grad.abs().sum() > 0
