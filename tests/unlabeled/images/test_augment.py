import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.stats import binomtest, ks_2samp
from torchvision.transforms import RandomResizedCrop

from unlabeled.config import Augmentation
from unlabeled.images.augment import (
    AFFINE_DRAWS,
    CROP_DRAWS,
    DRAWS,
    FIRST_BOX,
    _hue_rotations,
    affine,
    blur,
    colour_matrices,
    crop_boxes,
    cut_views,
    finish,
    normalise,
    resample,
)

PLAIN = {"flip": 0.0, "jitter": 0.0, "gray": 0.0, "blur": (0.0,), "solarize": (0.0,)}
COLOURFUL = {"jitter": 0.7, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2, "gray": 0.3}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(count, of=CROP_DRAWS, seed=0):
    return torch.rand(of, count, generator=seeded(seed))


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
    boxes = crop_boxes(drawn(20), 19, 27, Augmentation())
    ours = resample(images, boxes[:, None], size)[:, 0]
    for image, (top, left, height, width), mine in zip(images, boxes.tolist(), ours, strict=True):
        box = (left, top, left + width, top + height)
        exact = Image.fromarray(image[0].numpy()).resize((size, size), Image.Resampling.BILINEAR, box)
        rounded = Image.fromarray(image[0].byte().numpy()).resize((size, size), Image.Resampling.BILINEAR, box)
        np.testing.assert_allclose(mine[0], np.asarray(exact), atol=2e-2)
        np.testing.assert_allclose(mine[0], np.asarray(rounded), atol=1.01)


def test_a_box_of_the_whole_image_at_its_own_size_is_the_image():
    images = random_images(3, 3, 12, 12).float()
    torch.testing.assert_close(resample(images, torch.tensor([0.0, 0.0, 12.0, 12.0]).expand(3, 1, 4), 12)[:, 0], images)


def test_resample_takes_several_boxes_an_image():
    images, boxes = random_images(4, 3, 16, 16).float(), crop_boxes(drawn(8), 16, 16, Augmentation())
    together = resample(images, boxes.unflatten(0, (4, 2)), 10)
    apart = resample(images.repeat_interleave(2, 0), boxes[:, None], 10)[:, 0]
    assert together.shape == (4, 2, 3, 10, 10)
    torch.testing.assert_close(together.flatten(0, 1), apart)


@pytest.mark.parametrize("height, width", [(40, 40), (20, 60), (60, 20), (4, 4)])
def test_boxes_lie_inside_the_image(height, width):
    top, left, h, w = crop_boxes(drawn(5000), height, width, Augmentation(crop_ratio=(0.5, 2))).T
    assert min(top.min(), left.min()) >= 0 and min(h.min(), w.min()) > 0
    assert (top + h).max() <= height + 1e-4 and (left + w).max() <= width + 1e-4


def described(boxes, height, width):
    """Area, aspect ratio and relative place of boxes, and the overlap (IoU) of each with the next."""
    top, left, h, w = np.asarray(boxes, float).T
    both = np.maximum(0, np.minimum(top + h, np.roll(top + h, 1)) - np.maximum(top, np.roll(top, 1)))
    both *= np.maximum(0, np.minimum(left + w, np.roll(left + w, 1)) - np.maximum(left, np.roll(left, 1)))
    overlap = both / (h * w + np.roll(h * w, 1) - both)
    place = top / np.maximum(height - h, 1), left / np.maximum(width - w, 1)
    return h * w / (height * width), w / h, *place, overlap


@pytest.mark.parametrize(
    "height, width, scale, ratio",
    [
        (32, 32, (0.08, 1), (3 / 4, 4 / 3)),
        (96, 96, (0.08, 1), (3 / 4, 4 / 3)),
        (150, 224, (0.9, 1), (0.5, 2)),
        (300, 60, (0.6, 1), (1, 1)),  # no box fits
    ],
)
def test_boxes_are_distributed_as_torchvisions(height, width, scale, ratio):
    image = torch.empty(1, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = [RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(20_000)]
    recipe = Augmentation(crop_scale=scale, crop_ratio=ratio)
    ours = crop_boxes(drawn(20_000), height, width, recipe)
    pairs = zip(described(theirs, height, width), described(ours, height, width), strict=True)
    assert max(ks_2samp(theirs, ours).statistic for theirs, ours in pairs) < 0.02


def test_crop_scale_one_is_the_whole_square():
    boxes = crop_boxes(drawn(5), 30, 30, Augmentation(crop_scale=(1, 1), crop_ratio=(1, 1)))
    torch.testing.assert_close(boxes, torch.tensor([0.0, 0.0, 30.0, 30.0]).expand(5, 4), atol=1e-4, rtol=0)


def test_affine_is_the_inverse_map_written_out_pixel_by_pixel():
    recipe = Augmentation(degrees=40, translate=0.2, zoom=(0.7, 1.6), shear=25)
    images = random_images(6, 1, 9, 9).float()
    moved = affine(images, drawn(6, of=6, seed=3), recipe)
    draw = (2 * drawn(6, of=6, seed=3) - 1).double().numpy()
    middle, spread = np.log(recipe.zoom).mean(), np.diff(np.log(recipe.zoom)).item() / 2
    for image, mine, (a, s, x, y, right, down) in zip(images[:, 0].numpy(), moved[:, 0], draw.T, strict=True):
        angle, slope = math.radians(40 * a), math.tan(math.radians(25 * s))
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        matrix = turn @ [[1, slope], [0, 1]] @ np.diag(np.exp([-middle - spread * x, -middle - spread * y]))
        places = np.stack(np.meshgrid(np.arange(9), np.arange(9)), -1).reshape(-1, 2) - 4  # (x, y) from the centre
        x_of, y_of = (places @ matrix.T + 9 * 0.2 * np.array([right, down]) + 4).T
        slow = map_coordinates(image, [y_of, x_of], order=1, mode="grid-constant").reshape(9, 9)
        np.testing.assert_allclose(mine, slow, atol=1e-2)


def test_affine_without_any_range_changes_nothing():
    images = random_images(3, 3, 8, 8).float()
    torch.testing.assert_close(affine(images, drawn(3, of=6), Augmentation()), images, atol=1e-3, rtol=0)


def test_views_are_crops_that_are_moved_where_the_recipe_says_so():
    images, recipe = random_images(4, 1, 12, 12).float(), Augmentation(crop_size=8)
    draw = drawn(8, of=DRAWS).unflatten(1, (4, 2))
    rows = np.r_[:FIRST_BOX, FIRST_BOX + AFFINE_DRAWS : DRAWS]
    boxes = crop_boxes(draw[rows].flatten(1), 12, 12, recipe).unflatten(0, (4, 2))
    assert torch.equal(cut_views(images, draw, recipe), resample(images, boxes, 8))
    moved = cut_views(images, draw, Augmentation(crop_size=8, translate=0.3))
    assert moved.shape == (4, 2, 1, 8, 8) and not torch.equal(moved, resample(images, boxes, 8))


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


def test_a_full_turn_of_hue_is_the_identity_and_half_a_turn_its_own_inverse():
    none, half, full = _hue_rotations(torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(none, torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(full, torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(half @ half, torch.eye(3), atol=1e-5, rtol=0)
    assert (half - torch.eye(3)).abs().max() > 1


def test_grayscale_leaves_three_equal_channels_of_luma():
    images = random_images(4, 3, 6, 6)
    views = finished(images, gray=1)
    luma = (torch.tensor([0.299, 0.587, 0.114])[:, None, None] * images / 255).sum(1, keepdim=True)
    np.testing.assert_allclose(views, luma.expand_as(views), atol=1e-5)


@pytest.mark.parametrize("chance", [0.3, 0.8])
def test_jitter_comes_as_often_as_asked(chance):
    images = random_images(1000, 1, 3, 3)
    changed = ((finished(images, jitter=chance) - images / 255).abs().amax((1, 2, 3)) > 1e-4).sum()
    assert binomtest(int(changed), 1000, chance).pvalue > 1e-3


def test_blur_is_a_gaussian_that_leaves_out_what_is_outside():
    images, sigma = random_images(2, 3, 15, 11) / 255, torch.tensor([0.6, 1.7])
    for image, s, blurred in zip(images.double(), sigma.tolist(), blur(images, sigma), strict=True):
        options = {"sigma": (0, s, s), "mode": "constant", "truncate": 30}
        slow = gaussian_filter(image.numpy(), **options) / gaussian_filter(np.ones(image.shape), **options)
        np.testing.assert_allclose(blurred, slow, atol=2e-6)


def test_blur_keeps_constants_and_the_sum_of_a_dot_far_from_the_edge():
    sigma = torch.tensor([0.3, 1.0, 2.0])
    constants, dots = torch.full((3, 1, 9, 9), 0.4), torch.zeros(3, 1, 41, 41)
    dots[:, :, 20, 20] = 1
    torch.testing.assert_close(blur(constants, sigma), constants)
    torch.testing.assert_close(blur(dots, sigma).sum((1, 2, 3)), torch.ones(3))
    assert blur(dots, sigma)[:, 0, 20, 20].tolist() == sorted(blur(dots, sigma)[:, 0, 20, 20].tolist(), reverse=True)


def test_blur_with_hardly_any_sigma_changes_nothing():
    images = random_images(2, 3, 9, 9) / 255
    assert torch.equal(blur(images, torch.tensor([1e-3, 1e-2])), images)


def test_blur_comes_only_in_the_view_it_is_asked_for():
    images = random_images(6, 1, 9, 9)
    first, second = finished(images, views=2, blur=(0, 1), blur_sigma=(1, 1)).chunk(2)
    np.testing.assert_allclose(first, images[:3] / 255, atol=1e-6)
    np.testing.assert_allclose(second, blur(images[3:] / 255, torch.ones(3)), atol=1e-6)


def test_solarize_comes_only_in_the_view_it_is_asked_for_and_in_all_after():
    images = random_images(9, 1, 9, 9)
    plain = (images / 255).numpy()
    views = finished(images, views=3, solarize=(0, 1)).numpy()
    np.testing.assert_allclose(views[:3], plain[:3], atol=1e-6)
    np.testing.assert_allclose(views[3:], np.where(plain >= 0.5, 1 - plain, plain)[3:], atol=1e-6)


def test_flip_is_sure_or_never_or_by_halves():
    images = random_images(1000, 1, 3, 4)
    mirrored = images.flip(-1) / 255
    np.testing.assert_allclose(finished(images, flip=1), mirrored, atol=1e-6)
    np.testing.assert_allclose(finished(images, flip=0), images / 255, atol=1e-6)
    flipped = ((finished(images, flip=0.5) - mirrored).abs().amax((1, 2, 3)) < 1e-5).sum()
    assert binomtest(int(flipped), 1000, 0.5).pvalue > 1e-3


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_views_are_channels_last_float_in_range_whatever_the_channels(channels):
    everything = {"flip": 0.5, "jitter": 1, "gray": 0.5, "blur": (1,), "solarize": (0.5,)}
    views = finished(random_images(8, channels, 6, 6), views=2, **everything)
    assert views.shape == (8, channels, 6, 6) and views.dtype == torch.float32
    assert views.is_contiguous(memory_format=torch.channels_last)
    assert views.min() >= 0 and views.max() <= 1


def test_one_channel_is_jittered_too():
    images = random_images(8, 1, 6, 6)
    assert (finished(images, jitter=1) - images / 255).abs().amax((1, 2, 3)).min() > 1e-3


def test_views_follow_from_the_generator_alone():
    images, recipe = random_images(8, 3, 6, 6), {"flip": 0.5, "solarize": (0, 0.5), "blur": (0.5,)} | COLOURFUL
    once, again, other = (finished(images, views=2, seed=seed, **recipe) for seed in (1, 1, 2))
    assert torch.equal(once, again) and not torch.equal(once, other)


def test_images_of_one_batch_are_jittered_differently():
    views = finished(random_images(1, 3, 6, 6).expand(5, -1, -1, -1), jitter=1)
    assert len(torch.unique(views.flatten(1), dim=0)) == 5


def test_normalised_data_have_zero_mean_and_unit_variance():
    images = random_images(50, 3, 8, 8) / 255
    mean, std = images.mean((0, 2, 3)), images.std((0, 2, 3), unbiased=False)
    normalised = normalise(images, mean, std)
    torch.testing.assert_close(normalised.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.var((0, 2, 3), unbiased=False), torch.ones(3), atol=1e-4, rtol=0)


def test_finish_normalises_at_its_end():
    images, mean, std = random_images(4, 3, 5, 5), torch.tensor([0.2, 0.4, 0.6]), torch.tensor([0.1, 0.2, 0.3])
    views = finish(images, 2, Augmentation(**PLAIN), seeded(), mean, std)
    np.testing.assert_allclose(views, normalise(images / 255, mean, std), atol=1e-5)
