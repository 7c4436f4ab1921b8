"""Random views, computed a batch at a time on the device by pure functions of (images, recipe, random draws).

A crop is two small matrix products an image, `rows @ image @ columns`, and so is a Gaussian blur: they differ only in
the matrices. Colour jitter and grayscale are linear in the colours of an image (the hue shift as a rotation about the
grey axis, as in YIQ), so that whichever were drawn compose into one matrix an image. The recipe is SimCLR's and BYOL's
(arXiv:2002.05709, 2006.07733). Unlike there, the jitters have a fixed order and are clipped once, at the end.
"""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from unlabeled.config import Augmentation

LUMA = (0.299, 0.587, 0.114)
YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
FROM_YIQ = tuple(map(tuple, torch.linalg.inv(torch.tensor(YIQ, dtype=torch.float64)).tolist()))


CROP_ATTEMPTS = 10
"""Boxes drawn for a crop, of which the first that fits is taken."""
CROP_DRAWS, AFFINE_DRAWS = 2 * CROP_ATTEMPTS + 2, 6
DRAWS = CROP_DRAWS + AFFINE_DRAWS
"""Number of uniform random numbers that determine the geometry of a view: area, ratio and place of the first box, the
affine transformation, then areas and ratios of the other boxes. Where the first box fits, the others change nothing."""
FIRST_BOX = 4


def crop_boxes(draw: Tensor, height: int, width: int, recipe: Augmentation) -> Tensor:
    """Boxes of a random area and aspect ratio inside an image, distributed as those of torchvision's RandomResizedCrop:
    the first of CROP_ATTEMPTS that fits, else the largest about the centre that has an allowed aspect ratio.

    Args:
        draw: Shape (CROP_DRAWS, n), float32, uniform in [0, 1): area, ratio and place of the first box, then areas and
            ratios of the others.

    Returns:
        Tensor of shape (n, 4), float32: top, left, height, width in whole pixels.
    """
    (area, ratio, down, right), others = draw[:FIRST_BOX], draw[FIRST_BOX:].unflatten(0, (2, -1))
    areas, ratios = torch.cat([torch.stack([area, ratio])[:, None], others], 1)
    low, high = recipe.crop_scale
    areas = (low + (high - low) * areas) * height * width
    low, high = map(math.log, recipe.crop_ratio)
    ratios = torch.exp(low + (high - low) * ratios)
    heights, widths = (areas / ratios).sqrt().round(), (areas * ratios).sqrt().round()
    fits = (heights <= height) & (widths <= width) & (heights > 0) & (widths > 0)
    first, drawn = fits.int().argmax(0, keepdim=True), fits.any(0)
    narrowest, widest = recipe.crop_ratio
    crop_height = torch.where(drawn, heights.gather(0, first)[0], min(height, round(width / narrowest)))
    crop_width = torch.where(drawn, widths.gather(0, first)[0], min(width, round(height * widest)))
    top = torch.where(drawn, down * (height - crop_height + 1), (height - crop_height) / 2).floor()
    left = torch.where(drawn, right * (width - crop_width + 1), (width - crop_width) / 2).floor()
    return torch.stack([top, left, crop_height, crop_width], 1)


def resample(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Cuts K boxes out of each image and scales them to squares, antialiased like Pillow's BILINEAR.

    Args:
        images: Shape (B, C, H, W), float, any range.
        boxes: Shape (B, K, 4): top, left, height, width in pixels.
        size: Pixels a side of the result.

    Returns:
        Tensor of shape (B, K, C, size, size), float, in the range of `images`.
    """
    (batch, channels, full_height, full_width), count = images.shape, boxes.shape[1]
    top, left, height, width = boxes[..., None, None].unbind(-3)
    rows = _triangle_weights(top, height, full_height, size)
    columns = _triangle_weights(left, width, full_width, size)
    # One product narrows an image for all of its boxes at once: no image is copied K times.
    narrow = images.flatten(1, 2) @ columns.flatten(1, 2).transpose(1, 2)
    narrow = narrow.view(batch, channels, full_height, count, size).permute(0, 3, 2, 1, 4)
    crops = rows @ narrow.reshape(batch, count, full_height, channels * size)
    return crops.view(batch, count, size, channels, size).transpose(2, 3)


def affine(images: Tensor, draw: Tensor, recipe: Augmentation) -> Tensor:
    """Rotates, shears, magnifies and shifts square images (B, C, S, S) about their centres, bilinearly, at random.

    Args:
        draw: Shape (6, B), uniform in [0, 1).

    Returns:
        Tensor like `images`; black (0) where nothing was.
    """
    draw = 2 * draw - 1
    angle, slope = math.radians(recipe.degrees) * draw[0], torch.tan(math.radians(recipe.shear) * draw[1])
    low, high = map(math.log, recipe.zoom)
    width, height = torch.exp(-(low + high) / 2 - (high - low) / 2 * draw[2:4])
    cos, sin = torch.cos(angle), torch.sin(angle)
    right, down = 2 * recipe.translate * draw[4:6]  # a side is 2 long for affine_grid
    # Maps output positions to input positions: magnified, sheared, rotated, shifted.
    first = torch.stack([cos * width, (cos * slope - sin) * height, right], 1)
    second = torch.stack([sin * width, (sin * slope + cos) * height, down], 1)
    grid = functional.affine_grid(torch.stack([first, second], 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def cut_views(images: Tensor, draw: Tensor, recipe: Augmentation) -> Tensor:
    """Cuts K views of each image: random crops, then the affine transformation if the recipe has one.

    Args:
        images: Shape (B, C, H, W), float in [0, 255].
        draw: Shape (DRAWS, B, K), float32, uniform in [0, 1).

    Returns:
        Tensor of shape (B, K, C, size, size), in the same range.
    """
    _, batch, count = draw.shape
    *_, height, width = images.shape
    first, move, others = draw.flatten(1).split([FIRST_BOX, AFFINE_DRAWS, CROP_DRAWS - FIRST_BOX])
    boxes = crop_boxes(torch.cat([first, others]), height, width, recipe).unflatten(0, (batch, count))
    views = resample(images, boxes, recipe.crop_size or height)
    if recipe.degrees or recipe.translate or recipe.shear or recipe.zoom != (1, 1):
        views = affine(views.flatten(0, 1), move, recipe).unflatten(0, (batch, count))
    return views


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of images (B, C, H, W), each with its own sigma in pixels, shape (B,); a sigma near 0 changes
    nothing."""
    rows = _gaussian_weights(sigma, images.shape[-2])
    columns = _gaussian_weights(sigma, images.shape[-1])
    return rows @ images @ columns.transpose(-1, -2)


def colour_matrices(means: Tensor, recipe: Augmentation, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draws each image's brightness, contrast, saturation, hue and grayscale as one affine map of its colours.

    Args:
        means: Shape (B, C): the mean of each channel, in [0, 1]; contrast is around their luma.

    Returns:
        Matrix of shape (B, C, C) and offset of shape (B, C, 1): `matrix @ colours + offset`. Saturation, hue and
        grayscale need C = 3 and are left out otherwise.
    """
    count, channels = means.shape
    device = means.device
    draw = torch.rand(6, count, 1, 1, generator=generator, device=device)
    jittered = draw[0] < recipe.jitter

    def around(centre: float, spread: float, uniform: Tensor) -> Tensor:
        return torch.where(jittered, centre + spread * (2 * uniform - 1), centre)

    identity = torch.eye(channels, device=device)
    luma = _constant(LUMA, device) if channels == 3 else torch.full((channels,), 1 / channels, device=device)
    to_grey = luma.expand(channels, channels)

    matrix = around(1, recipe.brightness, draw[1]) * identity
    contrast = around(1, recipe.contrast, draw[2])
    offset = (1 - contrast) * (to_grey @ matrix @ means.unsqueeze(-1))
    matrix = contrast * matrix
    if channels == 3:
        saturation = around(1, recipe.saturation, draw[3])
        hue = _hue_rotations(around(0, recipe.hue, draw[4]).flatten())
        greyed = draw[5] < recipe.gray
        colour = torch.where(greyed, to_grey, hue @ (saturation * identity + (1 - saturation) * to_grey))
        matrix, offset = colour @ matrix, colour @ offset
    return matrix, offset


def finish(
    views: Tensor, count: int, recipe: Augmentation, generator: torch.Generator, mean: Tensor, std: Tensor
) -> Tensor:
    """Finishes crops with fresh random flips, colours, blur and solarization, and normalises them.

    Args:
        views: Shape (V·B, C, h, w), view by view; uint8, or float in [0, 255].
        count: Number of views of each image (V).
        mean, std: Channel moments of the data scaled to [0, 1], shape (C,).

    Returns:
        Tensor like `views`, float32, channels_last, zero mean and unit variance over the data.
    """
    device, n = views.device, len(views)
    draw = torch.rand(4, n, 1, 1, 1, generator=generator, device=device)
    views = torch.where(draw[0] < recipe.flip, views.flip(-1), views) if recipe.flip else views
    views = views.float()
    matrix, offset = colour_matrices(views.mean((2, 3)) / 255, recipe, generator)
    views = torch.baddbmm(offset, matrix / 255, views.flatten(2)).clamp_(0, 1).unflatten(2, views.shape[2:])
    if any(recipe.blur):
        low, high = recipe.blur_sigma
        blurred = draw[1] < _per_view(recipe.blur, count, n, device)
        views = blur(views, torch.where(blurred, low + (high - low) * draw[2], 1e-3).flatten())
    if any(recipe.solarize):
        solarized = draw[3] < _per_view(recipe.solarize, count, n, device)
        views = torch.where(solarized & (views >= 0.5), 1 - views, views)
    return normalise(views, mean, std)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Normalises images (B, C, H, W) in [0, 1] to zero mean and unit variance of each channel, in channels_last."""
    images = (images - mean[:, None, None]) / std[:, None, None]
    return images.contiguous(memory_format=torch.channels_last)


@cache
def _constant(values: tuple, device: torch.device) -> Tensor:
    """A constant tensor, made once on each device: copying it to a GPU at each step would block."""
    return torch.tensor(values, device=device)


@cache
def _per_view(probabilities: tuple[float, ...], count: int, n: int, device: torch.device) -> Tensor:
    """The probability for each of n = count · B rows, shape (n, 1, 1, 1)."""
    repeated = [*probabilities, *[probabilities[-1]] * count][:count]
    return torch.tensor(repeated, device=device).repeat_interleave(n // count)[:, None, None, None]


def _triangle_weights(start: Tensor, length: Tensor, taps: int, size: int) -> Tensor:
    """Matrix (..., size, taps): the weight of each pixel in each output; the triangle widens as the image shrinks."""
    step = length / size
    centres = start + (torch.arange(size, device=start.device)[:, None] + 0.5) * step
    distance = (torch.arange(taps, device=start.device) + 0.5 - centres).abs()
    weights = (1 - distance / step.clamp(min=1)).clamp_(min=0)
    return weights / weights.sum(-1, keepdim=True)


def _gaussian_weights(sigma: Tensor, taps: int) -> Tensor:
    """Matrices (B, 1, taps, taps): each output is a weighted mean of its neighbours within the image."""
    distance = torch.arange(taps, device=sigma.device)
    distance = (distance[:, None] - distance).square()
    weights = torch.exp(-distance / (2 * sigma[:, None, None].square()))
    return (weights / weights.sum(-1, keepdim=True)).unsqueeze(1)


def _hue_rotations(turns: Tensor) -> Tensor:
    """Matrices (B, 3, 3) that turn colours about the grey axis, keeping luma."""
    cos, sin = torch.cos(2 * math.pi * turns), torch.sin(2 * math.pi * turns)
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    rotation = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1).unflatten(1, (3, 3))
    return _constant(FROM_YIQ, turns.device) @ rotation @ _constant(YIQ, turns.device)
