import math
from itertools import combinations, permutations

import numpy as np
import pytest
import torch

from unlabeled.methods.jigsaw import Jigsaw, distant_permutations
from unlabeled.nn.small_networks import build_encoder


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def method(size=16, architecture="small_resnet", **constants):
    torch.manual_seed(0)
    return Jigsaw(build_encoder(architecture, 1, size), **{"grid": 2, "hidden_dim": 16} | constants)


def images(n, size=16, seed=0):
    return torch.rand(n, 1, size, size, generator=seeded(seed))


def distance(one, other):
    return sum(a != b for a, b in zip(one, other, strict=True))


def slow_set(tiles, count):
    """Greedily, each next permutation is the one whose nearest is the farthest away."""
    chosen = [tuple(range(tiles))]
    while len(chosen) < count:
        best = max(permutations(range(tiles)), key=lambda p: min(distance(p, other) for other in chosen))
        chosen.append(best)
    return chosen


def test_the_permutations_are_the_slow_greedy_set():
    assert distant_permutations(4, 10).tolist() == [list(p) for p in slow_set(4, 10)]


def test_permutations_of_nine_tiles_are_far_from_each_other():
    chosen = distant_permutations(9, 64)
    assert chosen.shape == (64, 9) and (np.sort(chosen) == np.arange(9)).all()
    assert min(distance(a, b) for a, b in combinations(chosen, 2)) >= 7


def test_there_are_no_more_permutations_than_there_are():
    assert len(np.unique(distant_permutations(4, 100), axis=0)) == 24


def test_a_shuffled_image_is_recovered_from_its_permutation():
    jigsaw, batch = method(), images(5)
    torch.manual_seed(3)
    tiles = jigsaw.cut(batch)
    for order in jigsaw.permutations:
        shuffled, recovered = tiles[:, order], torch.empty_like(tiles)
        recovered[:, order] = shuffled
        assert torch.equal(recovered, tiles)


def test_the_head_sees_the_tiles_in_the_order_whose_number_is_the_answer():
    jigsaw, batch = method().eval(), images(6)
    torch.manual_seed(5)
    loss = jigsaw(batch)
    torch.manual_seed(5)
    tiles, which = jigsaw.cut(batch), torch.randint(24, (6,))
    losses = []
    for image, answer in zip(tiles, which, strict=True):
        order = jigsaw.permutations[answer]
        features = torch.cat([jigsaw.encoder(image[place][None]) for place in order], 1)
        logits = jigsaw.head(features)[0].double()
        losses.append(-(logits[answer] - logits.logsumexp(0)).item())
    assert loss.item() == pytest.approx(np.mean(losses), abs=1e-5)


def test_loss_by_chance_is_the_log_of_the_number_of_permutations():
    jigsaw = method(permutations=7)
    torch.nn.init.zeros_(jigsaw.head[-1].weight), torch.nn.init.zeros_(jigsaw.head[-1].bias)
    assert jigsaw(images(5)).item() == pytest.approx(math.log(7), abs=1e-6)


@pytest.mark.parametrize(
    "architecture, size, grid, side",
    [
        ("small_resnet", 16, 2, 8),
        ("small_resnet", 32, 3, 11),
        ("small_resnet", 13, 2, 6),
        ("small_vit", 16, 2, 8),
        ("small_vit", 32, 3, 12),
        ("small_vit", 64, 3, 24),
    ],
)
def test_the_encoder_sees_tiles_at_the_scale_of_their_cells_in_whole_patches(architecture, size, grid, side):
    jigsaw = method(size, architecture, grid=grid)
    tiles = jigsaw.cut(images(2, size))
    assert jigsaw.side == side and tiles.shape == (2, grid**2, 1, side, side)
    assert side % getattr(jigsaw.encoder, "patch_size", 1) == 0
    assert jigsaw.solve(tiles, jigsaw.permutations[:2]).shape == (2, len(jigsaw.permutations))


@pytest.mark.parametrize("size, grid", [(16, 2), (17, 2), (16, 3), (14, 3)])
def test_rearranging_by_an_order_and_back_is_the_identity_where_the_grid_does_not_divide_the_image_too(size, grid):
    jigsaw, batch = method(size, grid=grid, permutations=20), images(20, size)
    moved = jigsaw.rearrange(batch, jigsaw.permutations)
    assert torch.equal(jigsaw.rearrange(moved, jigsaw.permutations.argsort(1)), batch)
    assert torch.equal(jigsaw.rearrange(batch, torch.arange(grid**2).expand(20, -1)), batch)
    assert not torch.equal(moved, batch)


def test_a_cell_shows_what_was_in_the_cell_that_its_order_names():
    batch, order = images(1), [2, 0, 3, 1]
    moved = method().rearrange(batch, torch.tensor([order]))
    for place, source in enumerate(order):
        (row, column), (from_row, from_column) = divmod(place, 2), divmod(source, 2)
        cell = moved[..., 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        expected = batch[..., 8 * from_row : 8 * from_row + 8, 8 * from_column : 8 * from_column + 8]
        assert torch.equal(cell, expected)


class Oracle(torch.nn.Module):
    """Says of the i-th image the i-th permutation, by which `illustrate` shuffles it."""

    def __init__(self, permutations):
        super().__init__()
        self.permutations = permutations

    def forward(self, features):
        return torch.eye(self.permutations)[torch.arange(len(features)) % self.permutations]


@pytest.mark.parametrize("size", [16, 17])
def test_a_head_that_is_always_right_puts_the_image_back_together(size):
    jigsaw, batch = method(size, permutations=5).eval(), images(7, size)
    jigsaw.head = Oracle(5)
    image, shuffled, back = jigsaw.illustrate(batch).values()
    assert torch.equal(image, batch) and torch.equal(back, batch)
    assert torch.equal(shuffled, jigsaw.rearrange(batch, jigsaw.permutations[torch.arange(7) % 5]))


def test_tiles_stay_within_their_cells_and_differ_from_draw_to_draw():
    jigsaw = method()
    cells = torch.zeros(1, 1, 16, 16)
    cells[..., :8, 8:], cells[..., 8:, :8], cells[..., 8:, 8:] = 1, 2, 3
    slopes = cells * 100 + torch.arange(16.0) * 0.01
    torch.manual_seed(0)
    first, second = jigsaw.cut(slopes), jigsaw.cut(slopes)
    # A tile that crossed into another cell would have a step of 100 in it, and nothing else after normalisation.
    assert (first.abs().amax((2, 3, 4)) < 1).all() and (second.abs().amax((2, 3, 4)) < 1).all()
    assert not torch.equal(jigsaw.cut(images(1)), jigsaw.cut(images(1)))


def test_brightness_and_contrast_of_a_tile_give_nothing_away():
    jigsaw = method()
    tiles = jigsaw.cut(images(20) * 50 + 7)
    torch.testing.assert_close(tiles.mean((3, 4)), torch.zeros(20, 4, 1), atol=1e-4, rtol=0)
    torch.testing.assert_close(tiles.std((3, 4)), torch.ones(20, 4, 1), atol=0.05, rtol=0)


def test_some_steps_lower_the_loss():
    jigsaw, batch = method(permutations=4), images(16) * torch.linspace(0, 1, 16)
    optimizer, losses = torch.optim.AdamW(jigsaw.parameters(), 0.003), []
    torch.manual_seed(0)
    for _ in range(40):
        loss = jigsaw(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


@pytest.mark.parametrize("architecture", ["small_resnet", "small_vit"])
def test_the_gradient_reaches_everything(architecture):
    jigsaw = method(architecture=architecture)
    jigsaw(images(8)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in jigsaw.parameters())


@pytest.mark.parametrize(
    "size, constants, expected",
    [
        (16, {"grid": 1}, "grid: received 1, expected 2 to 3"),
        (16, {"permutations": 1}, "permutations: received 1, expected 2 to 10000"),
        (8, {"grid": 3}, "grid: received 3, which leaves tiles of 2 pixels in images of 8, expected 4 at least"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused(size, constants, expected):
    with pytest.raises(ValueError, match=expected):
        method(size, **constants)
