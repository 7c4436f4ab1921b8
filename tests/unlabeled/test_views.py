import hashlib
import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch

import unlabeled.views
from unlabeled.arrays import open_array
from unlabeled.augment import DRAWS, crop_boxes, resample
from unlabeled.config import Augmentation
from unlabeled.encoders import Normalisation
from unlabeled.views import Views, cache_views, step_seed

PLAIN = {"flip": 0.0, "jitter": 0.0, "gray": 0.0, "blur": (0.0,), "solarize": (0.0,)}
N, K = 10, 6
CODED = np.arange(N * K, dtype=np.uint8).reshape(N, K, 1, 1, 1) * np.ones((1, 1, 1, 4, 4), np.uint8)
"""A cache whose crop k of image i has everywhere the value K·i + k."""


def images_of(n, channels=3, size=16):
    return np.random.default_rng(0).integers(0, 256, (n, channels, size, size), dtype=np.uint8)


def contents_of(images):
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


def cached(images, recipe, folder):
    """The cache, made in a folder as the stage makes it."""
    index = cache_views(images, contents_of(images), recipe, folder / "views.npy")
    index.to_parquet(folder / "views.parquet")
    return open_array(folder / "views.npy")


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


@pytest.mark.parametrize("crop_size, size", [(None, 16), (11, 11)])
def test_the_cache_holds_different_crops_of_each_image(tmp_path, crop_size, size):
    recipe = Augmentation(views=4, crop_size=crop_size)
    cache = cached(images_of(20), recipe, tmp_path)
    assert cache.shape == (20, 4, 3, size, size) and cache.dtype == np.uint8
    assert len(np.unique(cache.reshape(80, -1), axis=0)) == 80


def test_cached_crops_are_the_crops_one_would_cut_directly(tmp_path):
    images, recipe = images_of(5), Augmentation(views=3, crop_size=9, seed=7)
    cache = cached(images, recipe, tmp_path)
    for image, content, views in zip(images, contents_of(images), cache, strict=True):
        philox = np.random.Philox(key=[int(content[-16:], 16), 7])
        draw = np.random.Generator(philox).random((DRAWS, 3), np.float32)
        boxes = crop_boxes(torch.from_numpy(draw[:4]), 16, 16, recipe)
        direct = resample(torch.from_numpy(image[None]).float(), boxes[None], 9)[0]
        np.testing.assert_array_equal(views, direct.round().clamp(0, 255).byte())


def test_row_i_of_the_cache_is_image_i_however_many_chunks_it_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(unlabeled.views, "CHUNK_BYTES", 100_000)
    images = np.arange(100, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 16, 16), np.uint8)
    cache = cached(images, Augmentation(views=4), tmp_path)
    assert (cache == np.arange(100)[:, None, None, None, None]).all()


def test_the_cache_follows_from_its_seed(tmp_path):
    recipes = [Augmentation(views=4, seed=seed) for seed in (1, 1, 2)]
    once, again, other = (cached(images_of(5), r, tmp_path / str(i)) for i, r in enumerate(recipes))
    assert np.array_equal(once, again) and not np.array_equal(once, other)


def test_fresh_views_need_no_cache(tmp_path):
    cache = cached(images_of(5), Augmentation(views="fresh"), tmp_path)
    assert cache.size == 0


@pytest.mark.parametrize("size, recipe", [(8, {"degrees": 10, "zoom": (0.9, 1.1)}), (96, {"crop_size": 64})])
def test_new_images_among_old_ones_give_the_cache_that_all_of_them_give_at_once(tmp_path, monkeypatch, size, recipe):
    images, recipe = images_of(60, size=size), Augmentation(views=5, **recipe)
    old = np.sort(np.random.default_rng(1).permutation(60)[:41])
    cached(images[old], recipe, tmp_path / "grown")
    cut, cut_views = [], unlabeled.views.cut_views
    monkeypatch.setattr(
        unlabeled.views, "cut_views", lambda batch, *rest: cut.append(len(batch)) or cut_views(batch, *rest)
    )
    grown = cached(images, recipe, tmp_path / "grown")
    assert sum(cut) == 19
    np.testing.assert_array_equal(grown, cached(images, recipe, tmp_path / "at once"))


def test_images_that_are_gone_are_gone_from_the_cache(tmp_path):
    images, recipe = images_of(9), Augmentation(views=3)
    whole = np.array(cached(images, recipe, tmp_path))
    np.testing.assert_array_equal(cached(images[::2], recipe, tmp_path), whole[::2])


@pytest.mark.parametrize("other", [{"seed": 1}, {"crop_scale": (0.5, 1.0)}, {"shear": 3.0}])
def test_crops_of_another_recipe_are_not_taken_over(tmp_path, other):
    images = images_of(6)
    cached(images, Augmentation(views=3), tmp_path / "changed")
    recipe = Augmentation(views=3, **other)
    changed = cached(images, recipe, tmp_path / "changed")
    np.testing.assert_array_equal(changed, cached(images, recipe, tmp_path / "new"))


def test_damaged_crops_are_found_and_cut_again(tmp_path, caplog):
    images, recipe = images_of(6), Augmentation(views=3)
    whole = np.array(cached(images, recipe, tmp_path))
    path = tmp_path / "views.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(cached(images, recipe, tmp_path), whole)
    assert "the crops of 1 images were damaged" in caplog.text


@pytest.mark.parametrize("name", ["views.npy", "views.parquet"])
def test_a_cache_that_cannot_be_read_is_made_anew(tmp_path, name):
    images, recipe = images_of(6), Augmentation(views=3)
    whole = np.array(cached(images, recipe, tmp_path))
    (tmp_path / name).write_bytes(b"torn")
    np.testing.assert_array_equal(cached(images, recipe, tmp_path), whole)


MEMORY = """
import json, resource, sys
from pathlib import Path
import numpy as np
import unlabeled.views
from unlabeled.config import Augmentation

unlabeled.views.CHUNK_BYTES = 2**22
image = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 64), dtype=np.uint8)
peaks = []
for n in (200, 1500):
    images = np.broadcast_to(image, (n, 3, 64, 64))
    contents = [f"{i:064x}" for i in range(n)]
    unlabeled.views.cache_views(images, contents, Augmentation(views=8, crop_size=48), Path(sys.argv[1]))
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(json.dumps(peaks))
"""


def test_the_cache_is_made_in_memory_that_does_not_grow_with_n(tmp_path):
    path = tmp_path / "views.npy"
    done = subprocess.run([sys.executable, "-c", MEMORY, path], capture_output=True, text=True, check=True)
    few, many = json.loads(done.stdout)
    assert path.stat().st_size > 80e6
    assert (many - few) * 1024 < 30e6


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
