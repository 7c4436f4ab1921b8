import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from unlabeled.methods.vae import VAE, kl_divergence
from unlabeled.nn.small_networks import build_encoder


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def method(architecture="small_resnet", **constants):
    torch.manual_seed(0)
    return VAE(build_encoder(architecture, 1, 12), **{"latent_dim": 6, "width": 4} | constants)


def images(n, seed=0):
    return torch.randn(n, 1, 12, 12, generator=seeded(seed))


def test_the_divergence_is_torchs_in_closed_form():
    mean, log_variance = torch.randn(2, 5, 4, generator=seeded(), dtype=torch.float64)
    expected = torch_kl(Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros_like(mean), 1.0)).sum(1)
    torch.testing.assert_close(kl_divergence(mean, log_variance), expected, atol=1e-12, rtol=0)


def test_the_divergence_is_what_samples_say():
    mean, log_variance = torch.tensor([[0.5, -1.0]]).double(), torch.tensor([[0.3, -0.7]]).double()
    std = (log_variance / 2).exp()
    z = mean + std * torch.randn(400_000, 2, generator=seeded(), dtype=torch.float64)
    sampled = (Normal(mean, std).log_prob(z) - Normal(0.0, 1.0).log_prob(z)).sum(1).mean()
    assert kl_divergence(mean, log_variance).item() == pytest.approx(sampled.item(), abs=0.01)


def test_the_divergence_of_the_prior_from_itself_is_nothing():
    assert kl_divergence(torch.zeros(3, 5), torch.zeros(3, 5)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_loss_is_the_slow_loop(beta):
    vae, batch = method(beta=beta).eval(), images(3)
    torch.manual_seed(1)
    loss = vae(batch).item()
    mean, log_variance = (x.detach().double() for x in vae.moments(vae.encoder(batch)).chunk(2, 1))
    torch.manual_seed(1)
    noise = torch.randn(3, 6)
    losses = []
    for i in range(3):
        z = [m + math.exp(v / 2) * e for m, v, e in zip(mean[i], log_variance[i], noise[i], strict=True)]
        image = vae.decoder(torch.tensor(z, dtype=torch.float32)[None])[0]
        error = sum((a - b) ** 2 for a, b in zip(image.flatten().tolist(), batch[i].flatten().tolist(), strict=True))
        divergence = sum(m**2 + math.exp(v) - 1 - v for m, v in zip(mean[i], log_variance[i], strict=True))
        losses.append(error / 2 + beta * float(divergence) / 2)
    assert loss == pytest.approx(np.mean(losses), rel=1e-5)


def test_it_samples_and_reconstructs_images():
    vae = method().eval()
    assert vae.sample(5).shape == (5, 1, 12, 12) and vae.reconstruct(images(3)).shape == (3, 1, 12, 12)


def test_it_shows_reconstructions_what_lies_halfway_and_samples():
    vae, batch = method().eval(), images(4)
    rows = vae.illustrate(batch)
    assert next(iter(rows)) == "image" and torch.equal(rows["image"], batch)
    assert all(row.shape == batch.shape and row.isfinite().all() for row in rows.values())
    assert torch.equal(rows["reconstruction"], vae.reconstruct(batch))
    assert not torch.equal(*rows["sample from the prior"][:2])


def test_halfway_between_an_image_and_itself_is_its_reconstruction():
    vae, batch = method().eval(), images(1).expand(3, -1, -1, -1)
    rows = vae.illustrate(batch)
    torch.testing.assert_close(rows["halfway to the next image"], rows["reconstruction"])


def test_some_steps_lower_the_loss():
    vae, batch = method(), images(8)
    optimizer, losses = torch.optim.AdamW(vae.parameters(), 0.01), []
    torch.manual_seed(0)
    for _ in range(40):
        loss = vae(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("architecture", ["small_resnet", "small_vit"])
def test_the_gradient_reaches_everything(architecture):
    vae = method(architecture)
    vae(images(4)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vae.parameters())


@pytest.mark.parametrize("constant, value", [("latent_dim", 0), ("beta", -1)])
def test_a_constant_that_cannot_be_is_refused(constant, value):
    with pytest.raises(ValueError, match=f"{constant}: received {value}, expected"):
        method(**{constant: value})
