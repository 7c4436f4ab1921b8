import numpy as np
import pytest
import torch

from unlabeled.images.encoder import Normalisation
from unlabeled.methods.colorization import Colorization, colour_bins, lab_to_rgb, rgb_to_lab
from unlabeled.nn.small_networks import build_encoder


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def method(architecture="small_resnet", **constants):
    torch.manual_seed(0)
    encoder = build_encoder(architecture, 3, 16)
    encoder.normalisation = Normalisation((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    return Colorization(encoder, **constants)


def images(n, seed=0):
    return torch.rand(n, 3, 16, 16, generator=seeded(seed))


def normalised(pixels, colorization):
    mean, std = colorization.encoder.normalisation.tensors()
    return (pixels - mean[:, None, None]) / std[:, None, None]


def pixels_of(batch, colorization):
    mean, std = colorization.encoder.normalisation.tensors()
    return batch * std[:, None, None] + mean[:, None, None]


@pytest.mark.parametrize(
    "colour, lab",
    [
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((0.5, 0.5, 0.5), (53.39, 0, 0)),
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
    ],
)
def test_lab_of_known_colours(colour, lab):
    pixel = torch.tensor(colour, dtype=torch.float32)[None, :, None, None]
    np.testing.assert_allclose(rgb_to_lab(pixel).flatten(), lab, atol=0.05)


def test_lab_is_turned_back_into_the_colours_that_it_is_of():
    axis = torch.linspace(0, 1, 12)
    colours = torch.cartesian_prod(axis, axis, axis).T.reshape(1, 3, 12, -1)
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(colours)), colours, atol=1e-3, rtol=0)


def test_a_colour_that_no_screen_shows_becomes_one_that_a_screen_does():
    lab = torch.tensor([[50.0, 110, -110], [100, -110, 110], [0, 110, 110]])[..., None, None]
    shown = lab_to_rgb(lab)
    assert shown.isfinite().all() and (shown >= 0).all() and (shown <= 1 + 1e-6).all()


def test_the_bins_are_about_those_of_the_paper():
    bins = colour_bins()
    assert bins.shape[1] == 2 and 240 <= len(bins) <= 330 and (bins % 10 == 0).all()


def test_colours_come_back_within_the_error_of_quantising():
    colorization = method()
    ab = rgb_to_lab(images(8))[:, 1:]
    back = colorization.bins[colorization.quantise(ab)].permute(0, 3, 1, 2)
    assert (back - ab).abs().max() <= 10 and (back - ab).abs().mean() < 3


def test_the_quantised_colour_is_the_nearest():
    colorization = method()
    ab = rgb_to_lab(images(2))[:, 1:]
    nearest = torch.cdist(ab.permute(0, 2, 3, 1).reshape(-1, 2), colorization.bins).amin(1)
    given = (colorization.bins[colorization.quantise(ab)] - ab.permute(0, 2, 3, 1)).norm(dim=-1).flatten()
    assert (given <= nearest + 1e-3).float().mean() > 0.97


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1.0])
def test_the_weights_are_those_of_the_paper(uniform):
    colorization = method(uniform=uniform)
    counts = torch.rand(len(colorization.bins), generator=seeded()) + 0.1
    colorization.counts.copy_(counts)
    prior = (counts / counts.sum()).double().numpy()
    expected = np.array([1 / ((1 - uniform) * p + uniform / len(prior)) for p in prior])
    expected /= sum(p * w for p, w in zip(prior, expected, strict=True))
    np.testing.assert_allclose(colorization.weights(), expected, rtol=1e-4)


def test_loss_is_the_slow_loop():
    colorization, pixels = method().eval(), images(3)
    colorization.counts.copy_(torch.rand(len(colorization.bins), generator=seeded()) + 0.1)
    loss = colorization(normalised(pixels, colorization)).item()
    lab = rgb_to_lab(pixels)
    grey = normalised((lab[:, :1] / 100).expand(-1, 3, -1, -1), colorization)
    logits = colorization.head(colorization.encoder.feature_map(grey))
    side = 16 // logits.shape[-1]
    losses = []
    for i in range(3):
        for y in range(logits.shape[2]):
            for x in range(logits.shape[3]):
                ab = lab[i, 1:, y * side : (y + 1) * side, x * side : (x + 1) * side].mean((1, 2))
                q = int(colorization.quantise(ab[None, :, None, None]))
                place = logits[i, :, y, x].double()
                losses.append((colorization.weights()[q] * (place.logsumexp(0) - place[q])).item())
    assert loss == pytest.approx(np.mean(losses), rel=1e-4)


def test_the_encoder_sees_no_colours():
    colorization, pixels = method().eval(), images(2)
    seen = []
    colorization.encoder[0].register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    colorization(normalised(pixels, colorization))
    mean, std = colorization.encoder.normalisation.tensors()
    grey = seen[0] * std[:, None, None] + mean[:, None, None]
    torch.testing.assert_close(grey[:, 0], grey[:, 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(grey[:, 0], grey[:, 2], atol=1e-5, rtol=0)


def test_it_shows_the_image_its_lightness_and_the_colours_it_gives_it():
    colorization, pixels = method().eval(), images(3)
    batch = normalised(pixels, colorization)
    rows = colorization.illustrate(batch)
    image, grey, coloured = (rgb_to_lab(pixels_of(row, colorization)) for row in rows.values())
    torch.testing.assert_close(image, rgb_to_lab(pixels), atol=1e-2, rtol=0)
    torch.testing.assert_close(grey[:, 0], image[:, 0], atol=0.1, rtol=0)
    assert grey[:, 1:].abs().max() < 0.1 and coloured.shape == image.shape and coloured.isfinite().all()


def test_a_head_that_is_sure_of_a_colour_is_shown_in_it():
    colorization = method().eval()
    batch = normalised(torch.full((2, 3, 16, 16), 0.5), colorization)
    wanted = int(colorization.quantise(torch.tensor([20.0, 30.0])[None, :, None, None]))
    torch.nn.init.zeros_(colorization.head.weight)
    colorization.head.bias.data[wanted] = 100
    coloured = rgb_to_lab(pixels_of(colorization.illustrate(batch)["coloured"], colorization))
    torch.testing.assert_close(coloured[0, :, 7, 7], torch.tensor([53.39, 20.0, 30.0]), atol=0.1, rtol=0)


def test_the_prior_is_what_was_seen():
    colorization = method()
    before = colorization.counts.clone()
    colorization(normalised(images(4), colorization))
    colorization.after_step(0.5)
    places = 4 * colorization.encoder.feature_map(images(1)).shape[-1] ** 2
    assert (colorization.counts - before).sum() == places


def test_some_steps_lower_the_loss():
    colorization = method()
    reds = torch.tensor([0.9, 0.1, 0.1])[:, None, None] * images(8)
    batch, losses = normalised(reds, colorization), []
    optimizer = torch.optim.AdamW(colorization.parameters(), 0.01)
    for _ in range(15):
        loss = colorization(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("architecture", ["small_resnet", "resnet18", "small_vit"])
def test_the_gradient_reaches_everything(architecture):
    colorization = method(architecture)
    colorization(normalised(images(4), colorization)).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in colorization.parameters())
    assert sum(p.grad is not None for p in colorization.encoder.parameters()) > 5


def test_grey_images_do_not_suit_it_and_coloured_ones_do():
    grey = images(5)[:, :1].expand(-1, 3, -1, -1)
    assert "these images are grey: their mean chroma is 0.0 of 100" in method().reason_unsuitable(grey)
    assert method().reason_unsuitable(images(5)) is None


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ValueError, match="uniform: received 2, expected 0 to 1"):
        method(uniform=2)
    with pytest.raises(ValueError, match="needs colours, and these images have 1 channel"):
        Colorization(build_encoder("small_resnet", 1, 8))
    with pytest.raises(ValueError, match="encoder: colorization needs a ResNet or a ViT"):
        Colorization(build_encoder("linear", 3, 8))
