import pytest
import torch

from unlabeled.nn.transformer import Transformer, rotate


def angles(length, half):
    turned = torch.arange(length, dtype=torch.float64)[:, None] * 0.3 ** torch.arange(half, dtype=torch.float64)
    return turned.cos(), turned.sin()


def test_rotation_is_that_of_complex_numbers():
    x, (cosines, sines) = torch.randn(2, 3, 7, 8, dtype=torch.float64), angles(7, 4)
    turned = torch.complex(*x.chunk(2, -1)) * torch.complex(cosines, sines)
    torch.testing.assert_close(rotate(x, cosines, sines), torch.cat([turned.real, turned.imag], -1))


def test_a_product_depends_on_how_far_apart_two_are_and_on_nothing_else():
    query, key = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)
    turns = angles(20, 4)
    queries, keys = (rotate(each.expand(1, 1, 20, 8), *turns)[0, 0] for each in (query, key))
    products = queries @ keys.T
    for distance in (-5, 0, 1, 9):
        alike = products.diagonal(distance)
        torch.testing.assert_close(alike, alike[:1].expand_as(alike))


@pytest.mark.parametrize("architecture", ["tiny_transformer", "small_transformer", "base_transformer"])
def test_every_head_has_its_angles(architecture):
    with torch.device("meta"):
        network = Transformer(architecture, 50, 16, causal=True)
        assert network(torch.zeros(2, 16, dtype=torch.int64)).shape == (2, network.feature_dim)


def test_positions_are_no_weights():
    assert not {"cosines", "sines"} & Transformer("tiny_transformer", 50, 16, causal=True).state_dict().keys()
