import numpy as np
import pytest
import torch

from unlabeled.config import Augmentation
from unlabeled.images.encoder import Normalisation
from unlabeled.images.views import Views
from unlabeled.training.batches import step_seed

PLAIN = {"flip": 0.0, "jitter": 0.0, "gray": 0.0, "blur": (0.0,), "solarize": (0.0,)}
N, K = 10, 6
CODED = np.arange(N * K, dtype=np.uint8).reshape(N, K, 1, 1, 1) * np.ones((1, 1, 1, 4, 4), np.uint8)
"""A cache whose crop k of image i has everywhere the value K·i + k."""


def images_of(n, channels=3, size=16):
    return np.random.default_rng(0).integers(0, 256, (n, channels, size, size), dtype=np.uint8)


def views_of(store, rows=None, *, recipe=None, count=2, batch_size=4, seed=0):
    channels = store.shape[-3]
    return Views(
        store,
        np.arange(len(store)) if rows is None else rows,
        Augmentation(**PLAIN) if recipe is None else recipe,
        Normalisation((0.0,) * channels, (1 / 255,) * channels),
        count=count,
        batch_size=batch_size,
        seed=seed,
        device=torch.device("cpu"),
    )


def codes(batch, count=2):
    """Image and crop of each view in a batch from CODED, each of shape (V, B)."""
    values = batch.mean((1, 2, 3)).round().int().unflatten(0, (count, -1))
    return values // K, values % K


def test_a_batch_is_a_pure_function_of_the_step():
    store, recipe = images_of(12 * 5).reshape(12, 5, 3, 16, 16), Augmentation()
    views, others = views_of(store, recipe=recipe), views_of(store, recipe=recipe)
    forwards = [views.batch(step)[0] for step in range(7)]
    backwards = [others.batch(step)[0] for step in reversed(range(7))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert torch.equal(views.batch(3)[0], forwards[3])
    assert not any(torch.equal(forwards[0], batch) for batch in forwards[1:])


def test_a_batch_follows_from_the_seed():
    first, other = (views_of(CODED, seed=seed).batch(0)[0] for seed in (0, 1))
    assert not torch.equal(first, other)


def test_an_epoch_shows_every_image_once_and_each_in_another_order():
    views = views_of(CODED, batch_size=5)
    epochs = [torch.cat([codes(views.batch(2 * epoch + i)[0])[0][0] for i in range(2)]).tolist() for epoch in range(3)]
    assert views.steps_per_epoch == 2
    assert all(sorted(epoch) == list(range(N)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_the_last_incomplete_batch_is_left_out():
    views = views_of(CODED, batch_size=4)
    seen = [image for step in range(2) for image in codes(views.batch(step)[0])[0][0].tolist()]
    assert views.steps_per_epoch == 2
    assert len(set(seen)) == 8


def test_only_the_rows_asked_for_are_shown():
    views = views_of(CODED, rows=np.array([9, 2, 5, 7]), batch_size=2)
    shown = {image for step in range(10) for image in codes(views.batch(step)[0])[0].flatten().tolist()}
    assert shown == {2, 5, 7, 9}


@pytest.mark.parametrize("count", [1, 2, 3, K])
def test_the_views_of_an_image_are_different_crops_of_it(count):
    views = views_of(CODED, count=count)
    for step in range(20):
        image, crop = codes(views.batch(step)[0], count)
        assert (image == image[0]).all()
        assert all(len(set(column)) == count for column in crop.T.tolist())


def test_every_crop_has_its_turn():
    views = views_of(CODED)
    pairs = [torch.stack(codes(views.batch(step)[0])).flatten(1) for step in range(100)]
    assert len(torch.cat(pairs, 1).T.unique(dim=0)) == N * K


def test_fresh_views_are_cut_from_the_image_at_each_use():
    images = np.arange(0, 200, 20, dtype=np.uint8)[:, None, None, None] + np.arange(16, dtype=np.uint8)
    images = np.ascontiguousarray(np.broadcast_to(images, (10, 3, 16, 16)))
    recipe = Augmentation(**PLAIN | {"views": "fresh", "crop_size": 12})
    views, again = views_of(images, recipe=recipe), views_of(images, recipe=recipe)
    batch, next_epoch = views.batch(0)[0], views.batch(2)[0]
    assert batch.shape == (8, 3, 12, 12) and torch.equal(batch, again.batch(0)[0])
    image = batch.mean((1, 2, 3)).div(20).floor().unflatten(0, (2, 4))  # columns add 0 to 15 to 20·i
    assert (image[0] == image[1]).all()
    assert (batch[:4] != batch[4:]).flatten(1).any(1).all() and not torch.equal(batch, next_epoch)


def test_batches_are_normalised_and_channels_last():
    batch = views_of(images_of(40).reshape(10, 4, 3, 16, 16), recipe=Augmentation()).batch(0)[0]
    assert batch.shape == (8, 3, 16, 16) and batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_step_seeds_are_independent():
    seeds = {step_seed(seed, kind, step) for seed in range(5) for kind in range(3) for step in range(100)}
    assert len(seeds) == 1500 and min(seeds) >= 0 and max(seeds) < 2**63
