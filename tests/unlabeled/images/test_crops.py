"""The crop cache."""

import hashlib
import json
import logging
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

import unlabeled.images.crops
from unlabeled.config import Augmentation
from unlabeled.images.augment import AFFINE_DRAWS, DRAWS, FIRST_BOX, crop_boxes, resample
from unlabeled.images.crops import cache_views, keys_of, open_views
from unlabeled.storage.reuse import checksum


def images_of(n, channels=3, size=16):
    return np.random.default_rng(0).integers(0, 256, (n, channels, size, size), dtype=np.uint8)


def contents_of(images):
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


def cached(images, recipe, folder):
    """The cache that the stage makes in a folder, whole."""
    views = cache_views(images, contents_of(images), recipe, folder)
    assert np.array_equal(views[:], open_views(folder)[:])
    return views[:]


def files(folder):
    return sorted(path.name for path in folder.iterdir())


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
        crop_rows = np.r_[:FIRST_BOX, FIRST_BOX + AFFINE_DRAWS : DRAWS]
        draw = np.random.Generator(philox).random((DRAWS, 3), np.float32)
        boxes = crop_boxes(torch.from_numpy(draw[crop_rows]), 16, 16, recipe)
        direct = resample(torch.from_numpy(image[None]).float(), boxes[None], 9)[0]
        np.testing.assert_array_equal(views, direct.round().clamp(0, 255).byte())


def test_row_i_of_the_cache_is_image_i_however_many_chunks_it_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(unlabeled.images.crops, "CHUNK_BYTES", 100_000)
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


@pytest.fixture
def cut(monkeypatch):
    """How many images' crops were cut, in calls."""
    calls, cut_views = [], unlabeled.images.crops.cut_views
    monkeypatch.setattr(
        unlabeled.images.crops, "cut_views", lambda batch, *rest: calls.append(len(batch)) or cut_views(batch, *rest)
    )
    return calls


@pytest.mark.parametrize("size, recipe", [(8, {"degrees": 10, "zoom": (0.9, 1.1)}), (96, {"crop_size": 64})])
def test_new_images_among_old_ones_give_the_cache_that_all_of_them_give_at_once(tmp_path, cut, size, recipe):
    images, recipe = images_of(60, size=size), Augmentation(views=5, **recipe)
    old = np.sort(np.random.default_rng(1).permutation(60)[:41])
    cached(images[old], recipe, tmp_path / "grown")
    before = (tmp_path / "grown/views.npy").stat()
    cut.clear()
    grown = cached(images, recipe, tmp_path / "grown")
    assert sum(cut) == 19 and (tmp_path / "grown/views.npy").stat() == before
    assert files(tmp_path / "grown") == ["views.1.npy", "views.npy", "views.parquet"]
    np.testing.assert_array_equal(grown, cached(images, recipe, tmp_path / "at once"))


def test_nothing_new_writes_no_crops(tmp_path, cut):
    images, recipe = images_of(9), Augmentation(views=3)
    whole = cached(images, recipe, tmp_path)
    cut.clear()
    np.testing.assert_array_equal(cached(images, recipe, tmp_path), whole)
    assert not cut and files(tmp_path) == ["views.npy", "views.parquet"]


def test_copies_share_their_crops(tmp_path):
    images = images_of(4)[[0, 1, 0, 2, 1, 3]]
    whole = cached(images, Augmentation(views=3), tmp_path)
    assert len(np.load(tmp_path / "views.npy")) == 4
    np.testing.assert_array_equal(whole[[0, 1]], whole[[2, 4]])
    np.testing.assert_array_equal(whole, cached(images[::-1], Augmentation(views=3), tmp_path)[::-1])


def test_images_that_are_gone_are_gone_from_the_cache_and_in_the_end_from_its_files(tmp_path, cut):
    images, recipe = images_of(9), Augmentation(views=3)
    whole = cached(images, recipe, tmp_path)
    cut.clear()
    np.testing.assert_array_equal(cached(images[::2], recipe, tmp_path), whole[::2])
    assert len(np.load(tmp_path / "views.npy")) == 9
    np.testing.assert_array_equal(cached(images[:5:2], recipe, tmp_path), whole[:5:2])
    assert not cut and len(np.load(tmp_path / "views.npy")) == 3


def test_a_cache_of_many_files_becomes_one_again(tmp_path, cut):
    images, recipe = images_of(unlabeled.images.crops.MAX_PARTS + 3), Augmentation(views=3)
    for count in range(2, len(images) - 1):
        cached(images[:count], recipe, tmp_path)
    assert len(files(tmp_path)) == unlabeled.images.crops.MAX_PARTS + 1
    whole = cached(images, recipe, tmp_path)
    assert sum(cut) == len(images) and files(tmp_path) == ["views.npy", "views.parquet"]
    np.testing.assert_array_equal(whole, cached(images, recipe, tmp_path / "at once"))


@pytest.mark.parametrize("other", [{"seed": 1}, {"crop_scale": (0.5, 1.0)}, {"shear": 3.0}])
def test_crops_of_another_recipe_are_not_taken_over(tmp_path, other):
    images = images_of(6)
    cached(images, Augmentation(views=3), tmp_path / "changed")
    recipe = Augmentation(views=3, **other)
    changed = cached(images, recipe, tmp_path / "changed")
    np.testing.assert_array_equal(changed, cached(images, recipe, tmp_path / "new"))


@pytest.mark.parametrize("name", ["views.npy", "views.1.npy"])
def test_damaged_crops_are_found_and_cut_again(tmp_path, caplog, cut, name):
    images, recipe = images_of(6), Augmentation(views=3)
    cached(images[:4], recipe, tmp_path)
    whole = cached(images, recipe, tmp_path)
    before = {path: (tmp_path / path).read_bytes() for path in files(tmp_path)}
    content = bytearray(before[name])
    content[-1] ^= 1
    (tmp_path / name).write_bytes(content)
    cut.clear()
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(cached(images, recipe, tmp_path), whole)
    assert "damaged crops are cut again: those of 1 image" in caplog.text and cut == [1]
    assert {path: (tmp_path / path).read_bytes() for path in files(tmp_path)} == before


@pytest.mark.parametrize("name", ["views.npy", "views.1.npy", "views.parquet"])
@pytest.mark.parametrize("torn", [True, False])
def test_a_cache_that_cannot_be_read_is_made_anew(tmp_path, name, torn):
    images, recipe = images_of(6), Augmentation(views=3)
    cached(images[:4], recipe, tmp_path)
    whole = cached(images, recipe, tmp_path)
    (tmp_path / name).write_bytes(b"torn") if torn else (tmp_path / name).unlink()
    np.testing.assert_array_equal(cached(images, recipe, tmp_path), whole)
    assert files(tmp_path) == ["views.npy", "views.parquet"]


@pytest.mark.parametrize("lost", ["views.1.npy", "views.parquet"])
def test_a_run_that_is_killed_between_two_files_costs_the_next_one_nothing_but_time(tmp_path, lost):
    """As it lies there when the process ends before a file is renamed, or the index is."""
    images, recipe = images_of(6), Augmentation(views=3)
    cached(images[:4], recipe, tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    whole = cached(images, recipe, tmp_path)
    if lost == "views.1.npy":
        (tmp_path / lost).unlink()
    (tmp_path / "views.parquet").write_bytes(before["views.parquet"])
    np.testing.assert_array_equal(cached(images, recipe, tmp_path), whole)


MEMORY = """
import json, resource, sys
from pathlib import Path
import numpy as np
import unlabeled.images.crops
from unlabeled.config import Augmentation

unlabeled.images.crops.CHUNK_BYTES = 2**22
image = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 64), dtype=np.uint8)
peaks = []
for n in (200, 1500):
    images = np.broadcast_to(image, (n, 3, 64, 64))
    contents = [f"{i:064x}" for i in range(n)]
    unlabeled.images.crops.cache_views(images, contents, Augmentation(views=8, crop_size=48), Path(sys.argv[1], str(n)))
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(json.dumps(peaks))
"""


def test_the_cache_is_made_in_memory_that_does_not_grow_with_n(tmp_path):
    done = subprocess.run([sys.executable, "-c", MEMORY, tmp_path], capture_output=True, text=True, check=True)
    few, many = json.loads(done.stdout)
    assert (tmp_path / "1500/views.npy").stat().st_size > 80e6
    assert (many - few) * 1024 < 30e6


def test_crops_are_cut_again_where_the_same_files_have_other_pixels(tmp_path):
    recipe, sha256 = Augmentation(views=3), contents_of(images_of(6))
    before, after = images_of(6), 255 - images_of(6)
    for images in (before, after):
        manifest = pd.DataFrame({"sha256": sha256, "checksum": [checksum(image) for image in images]})
        views = cache_views(images, keys_of(manifest), recipe, tmp_path / "kept")[:]
        np.testing.assert_array_equal(views, cache_views(images, sha256, recipe, tmp_path / str(images[0].sum()))[:])
