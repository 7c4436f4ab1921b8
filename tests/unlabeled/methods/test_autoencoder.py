import numpy as np
import pytest
import torch

from unlabeled.methods.autoencoder import Autoencoder
from unlabeled.nn.small_networks import build_encoder


def method(architecture="small_resnet", channels=1, **constants):
    torch.manual_seed(0)
    return Autoencoder(build_encoder(architecture, channels, 12), **{"latent_dim": 8, "width": 4} | constants)


def images(n, channels=1, seed=0):
    return torch.randn(n, channels, 12, 12, generator=torch.Generator().manual_seed(seed))


def test_loss_is_the_slow_loop_over_pixels():
    autoencoder, batch = method().eval(), images(3)
    pairs = zip(autoencoder.reconstruct(batch).flatten().tolist(), batch.flatten().tolist(), strict=True)
    assert autoencoder(batch).item() == pytest.approx(np.mean([(a - b) ** 2 for a, b in pairs]), rel=1e-5)


def test_an_image_goes_through_no_more_numbers_than_asked():
    autoencoder = method(latent_dim=3)
    seen = []
    autoencoder.decoder.register_forward_pre_hook(lambda _, x: seen.append(x[0].shape))
    autoencoder(images(5))
    assert seen == [(5, 3)]


def test_a_perfect_reconstruction_costs_nothing_and_the_mean_image_costs_one(monkeypatch):
    autoencoder, batch = method(), images(500)
    monkeypatch.setattr(autoencoder, "reconstruct", lambda x: x)
    assert autoencoder(batch).item() == 0
    monkeypatch.setattr(autoencoder, "reconstruct", lambda x: torch.zeros_like(x))
    assert autoencoder(batch).item() == pytest.approx(1, abs=0.02)


def test_some_steps_lower_the_loss():
    autoencoder, batch = method(), images(8)
    optimizer, losses = torch.optim.AdamW(autoencoder.parameters(), 0.01), []
    for _ in range(40):
        loss = autoencoder(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("architecture", ["small_resnet", "small_vit"])
def test_the_gradient_reaches_everything(architecture):
    autoencoder = method(architecture, channels=3)
    autoencoder(images(4, 3)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in autoencoder.parameters())


def test_it_shows_images_above_their_reconstructions():
    autoencoder, batch = method(channels=3).eval(), images(5, 3)
    rows = autoencoder.illustrate(batch)
    assert list(rows) == ["image", "reconstruction"] and all(row.shape == batch.shape for row in rows.values())
    assert torch.equal(rows["image"], batch) and torch.equal(rows["reconstruction"], autoencoder.reconstruct(batch))


@pytest.mark.parametrize("latent_dim", [0, 10_000])
def test_more_numbers_than_features_or_none_are_refused(latent_dim):
    with pytest.raises(ValueError, match=f"latent_dim: received {latent_dim}, expected 1 to 256"):
        method(latent_dim=latent_dim)
