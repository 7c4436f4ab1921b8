import io

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageEnhance
from sklearn.datasets import load_sample_images

from unlabeled.evaluation.twins import CHANCE, FRAMES, chance_limit, find_twins

SIDE, STEP = 96, 100
CHANGES = {
    "the same": lambda image: image,
    "JPEG of low quality": lambda image: compressed(image, 40),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "other colours": lambda image: Image.merge("RGB", image.split()[::-1]),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "half the size and back": lambda image: image.resize((48, 48)).resize((SIDE, SIDE)),
    "another frame": lambda image: ImageChops.offset(image, 6, -3),
}


def compressed(image, quality):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


@pytest.fixture(scope="module")
def photographs():
    """Parts of two photographs that do not overlap, uint8 (n, 3, 96, 96)."""
    parts = []
    for photograph in load_sample_images().images:
        for top in range(0, len(photograph) - SIDE, STEP):
            parts += [photograph[top : top + SIDE, i : i + SIDE] for i in range(0, len(photograph[0]) - SIDE, STEP)]
    parts = np.stack(parts).transpose(0, 3, 1, 2)
    return parts[parts.std((1, 2, 3)) > 16]  # not of the empty sky


def changed(images, change):
    made = [change(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))) for image in images]
    return np.stack([np.asarray(each.convert("RGB")).transpose(2, 0, 1) for each in made])


def compare(images, pairs, bank=None):
    return find_twins(images, *np.array(pairs).T, np.arange(bank or len(images)))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_photograph_that_was_saved_again_in_another_way_is_the_same_picture(photographs, change):
    count = len(photographs)
    both = np.concatenate([photographs, changed(photographs, change)])
    likeness, same = compare(both, [(count + i, i) for i in range(count)], bank=count)
    assert same.mean() > 0.85 and likeness[same].min() > 0.7


def test_other_photographs_of_like_things_are_not(photographs):
    pairs = [(i, j) for i in range(len(photographs)) for j in range(i)]
    likeness, same = compare(photographs, pairs)
    assert not same.any() and likeness.max() < 0.7


def test_what_all_images_share_makes_no_twins():
    random = np.random.default_rng(0)
    scene = np.linspace(30, 220, 64)[None, None, :, None] + 40 * np.sin(np.arange(64) / 5)[None, None, None]
    marks = random.normal(0, 15, (80, 1, 16, 16)).repeat(4, 2).repeat(4, 3)
    images = (scene + marks + random.normal(0, 3, (80, 3, 64, 64))).clip(0, 255).astype(np.uint8)
    images[1] = (0.8 * images[0] + random.normal(0, 3, (3, 64, 64))).clip(0, 255).astype(np.uint8)
    likeness, same = compare(images, [(i, j) for i in range(80) for j in range(i)])
    assert same.tolist() == [True] + [False] * (len(same) - 1)


def test_an_even_image_is_nobodys_twin():
    likeness, same = compare(np.full((2, 3, 64, 64), 90, np.uint8), [(0, 1)])
    assert likeness[0] == 0 and not same[0]


def test_simple_drawings_have_to_be_more_alike_than_chance_makes_them():
    random = np.random.default_rng(0)
    blocks = random.normal(0, 50, (400, 1, 4, 4)).repeat(16, 2).repeat(16, 3)  # 16 dimensions
    images = (128 + blocks + random.normal(0, 5, (400, 3, 64, 64))).clip(0, 255).astype(np.uint8)
    images[0] = (0.9 * images[1]).astype(np.uint8)
    likeness, same = compare(images, [(i, j) for i in range(100) for j in range(i)])
    assert same.tolist() == [True] + [False] * (len(same) - 1) and np.sort(likeness)[-2] > 0.75


@pytest.mark.parametrize("dimensions, count", [(3, 100), (16, 700), (100, 50_000)])
def test_the_limit_of_chance_is_that_of_independent_directions(dimensions, count):
    limit = chance_limit(1 / dimensions, count)
    angle = np.linspace(np.arccos(limit), 0, 200_001)  # the share of a sphere's directions nearer than the limit
    cap = np.trapezoid(np.sin(angle[::-1]) ** (dimensions - 2), angle[::-1])
    whole = np.linspace(0, np.pi, 200_001)
    share = cap / np.trapezoid(np.sin(whole) ** (dimensions - 2), whole)
    assert share * count * FRAMES**2 == pytest.approx(CHANCE, rel=1e-2)


def test_images_that_all_are_alike_have_no_twins():
    assert chance_limit(1.0, 100) == 1


def test_no_images_have_no_twins():
    likeness, same = find_twins(np.zeros((2, 1, 8, 8), np.uint8), *np.empty((2, 0), int), np.arange(2))
    assert likeness.shape == same.shape == (0,)
