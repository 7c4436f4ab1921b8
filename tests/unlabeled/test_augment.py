import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import binomtest, kstest

from unlabeled.augment import blur, colour_matrices, crop_boxes, finish, normalise, resample
from unlabeled.config import Augmentation

PLAIN = {"flip": 0.0, "jitter": 0.0, "gray": 0.0, "blur": (0.0,), "solarize": (0.0,)}
COLOURFUL = {"jitter": 0.7, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2, "gray": 0.3}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_images(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def finished(images, views=1, seed=0, **recipe):
    """What `finish` makes of (V·B, C, h, w), in [0, 1]: nothing is subtracted, nothing divided by."""
    channels = images.shape[1]
    recipe = Augmentation(**PLAIN | recipe)
    return finish(images, views, recipe, seeded(seed), torch.zeros(channels), torch.ones(channels))


@pytest.mark.parametrize("size", [6, 16, 45])
def test_resample_is_pillows_bilinear_resize_of_a_box(size):
    images = random_images(20, 1, 19, 27).float()
    boxes = crop_boxes(20, 19, 27, Augmentation(), seeded())
    ours = resample(images, boxes, size)
    for image, (top, left, height, width), mine in zip(images, boxes.tolist(), ours, strict=True):
        box = (left, top, left + width, top + height)
        exact = Image.fromarray(image[0].numpy()).resize((size, size), Image.Resampling.BILINEAR, box)
        rounded = Image.fromarray(image[0].byte().numpy()).resize((size, size), Image.Resampling.BILINEAR, box)
        np.testing.assert_allclose(mine[0], np.asarray(exact), atol=2e-2)
        np.testing.assert_allclose(mine[0], np.asarray(rounded), atol=1.01)


def test_a_box_of_the_whole_image_at_its_own_size_is_the_image():
    images = random_images(3, 3, 12, 12).float()
    torch.testing.assert_close(resample(images, torch.tensor([0.0, 0.0, 12.0, 12.0]), 12), images)


def test_resample_takes_several_boxes_an_image():
    images, boxes = random_images(4, 3, 16, 16).float(), crop_boxes(8, 16, 16, Augmentation(), seeded())
    together = resample(images[:, None], boxes.unflatten(0, (4, 2)), 10)
    apart = resample(images.repeat_interleave(2, 0), boxes, 10)
    assert together.shape == (4, 2, 3, 10, 10)
    torch.testing.assert_close(together.flatten(0, 1), apart)


@pytest.mark.parametrize("height, width", [(40, 40), (20, 60), (60, 20), (4, 4)])
def test_boxes_lie_inside_the_image(height, width):
    top, left, h, w = crop_boxes(5000, height, width, Augmentation(crop_ratio=(0.5, 2)), seeded()).T
    assert min(top.min(), left.min()) >= 0 and min(h.min(), w.min()) > 0
    assert (top + h).max() <= height + 1e-4 and (left + w).max() <= width + 1e-4


def test_areas_are_uniform_and_ratios_log_uniform():
    recipe = Augmentation(crop_scale=(0.1, 0.5), crop_ratio=(3 / 4, 4 / 3))  # too small to be narrowed
    _, _, height, width = crop_boxes(5000, 100, 100, recipe, seeded()).double().T
    assert kstest(height * width / 1e4, "uniform", (0.1, 0.4)).pvalue > 1e-3
    assert kstest((width / height).log(), "uniform", (math.log(3 / 4), math.log(16 / 9))).pvalue > 1e-3


def test_places_are_uniform():
    top, left, height, width = crop_boxes(5000, 50, 70, Augmentation(crop_scale=(0.1, 0.5)), seeded()).double().T
    assert kstest(top / (50 - height), "uniform").pvalue > 1e-3
    assert kstest(left / (70 - width), "uniform").pvalue > 1e-3


def test_crop_scale_one_is_the_whole_square():
    boxes = crop_boxes(5, 30, 30, Augmentation(crop_scale=(1, 1), crop_ratio=(1, 1)), seeded())
    torch.testing.assert_close(boxes, torch.tensor([0.0, 0.0, 30.0, 30.0]).expand(5, 4), atol=1e-4, rtol=0)


def slow_colours(pixels, brightness, contrast, saturation, hue, gray):
    """One image's colours (3, n), float64, one jitter after another."""
    luma = np.array([0.299, 0.587, 0.114])
    to_yiq = np.array([luma, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    pixels = brightness * pixels
    pixels = contrast * pixels + (1 - contrast) * (luma @ pixels).mean()
    pixels = saturation * pixels + (1 - saturation) * (luma @ pixels)
    y, i, q = to_yiq @ pixels
    angle = 2 * math.pi * hue
    turned = y, i * math.cos(angle) - q * math.sin(angle), i * math.sin(angle) + q * math.cos(angle)
    pixels = np.linalg.solve(to_yiq, np.stack(turned))
    return np.broadcast_to(luma @ pixels, (3, pixels.shape[1])) if gray else pixels


def test_colours_are_jittered_as_if_one_after_another():
    images, recipe = random_images(40, 3, 5, 5).flatten(2) / 255, Augmentation(**COLOURFUL)
    matrix, offset = colour_matrices(images.mean(2), recipe, seeded(3))
    draw = torch.rand(6, 40, generator=seeded(3)).double().numpy()
    spreads = np.array([[recipe.brightness], [recipe.contrast], [recipe.saturation], [recipe.hue]])
    jitters = (draw[0] < recipe.jitter) * spreads * (2 * draw[1:5] - 1) + [[1], [1], [1], [0]]
    slow = [
        slow_colours(image, *jitter, gray)
        for image, jitter, gray in zip(images.double().numpy(), jitters.T, draw[5] < recipe.gray, strict=True)
    ]
    np.testing.assert_allclose(matrix @ images + offset, slow, atol=2e-5)


def test_a_hue_shift_keeps_luma_and_changes_colour():
    images = random_images(30, 3, 6, 6)
    recipe = Augmentation(**PLAIN | {"jitter": 1, "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0.5})
    matrix, offset = colour_matrices(images.float().mean((2, 3)) / 255, recipe, seeded())
    before = images.flatten(2) / 255
    after = matrix @ before + offset
    luma = torch.tensor([0.299, 0.587, 0.114])
    torch.testing.assert_close(luma @ after, luma @ before, atol=1e-5, rtol=0)
    assert (after - before).abs().amax((1, 2)).min() > 1e-3


def test_a_full_turn_of_hue_is_the_identity_and_half_a_turn_is_not():
    recipe = Augmentation.model_construct(**Augmentation(**PLAIN | {"jitter": 1, "brightness": 0, "contrast": 0, "saturation": 0}).model_dump() | {"hue": 1.0})

    class Ones(torch.Generator):
        pass

    matrix, _ = colour_matrices(torch.rand(1, 3), recipe, Ones())
    assert matrix.shape == (1, 3, 3)
