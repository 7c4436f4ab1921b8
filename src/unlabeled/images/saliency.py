"""Where a network looks: the pixels whose change moves its answer."""

import numpy as np
import torch
from torch import Tensor

from unlabeled.evaluation.probe import LinearProbe
from unlabeled.images.encoder import ImageEncoder

DRAWS = 16
NOISE = 0.15
"""Standard deviation of what is added, as a share of an image's range."""


def smooth_gradients(encoder: ImageEncoder, images: np.ndarray, probe: LinearProbe | None, seed: int = 0) -> np.ndarray:
    """SmoothGrad (Smilkov et al. 2017, arXiv:1706.03825): a gradient's magnitude, averaged over noisy copies.

    Args:
        images: uint8 of shape (B, C, H, W).
        probe: The gradient is that of the class it says; without one, of the feature vector's length.

    Returns:
        float32 of shape (B, H, W) of the encoder's own image size, each image's largest value being 1.
    """
    was_training = encoder.network.training
    network = encoder.network.eval()
    batch = encoder.prepare(images)
    generator = torch.Generator(batch.device).manual_seed(seed)
    spread = NOISE * (batch.amax((1, 2, 3), keepdim=True) - batch.amin((1, 2, 3), keepdim=True))
    said = None if probe is None else torch.from_numpy(probe.logits(encoder.embed(images)).argmax(1))
    total = torch.zeros_like(batch[:, 0])
    for _ in range(DRAWS):
        noise = torch.randn(batch.shape, generator=generator, device=batch.device)
        noisy = (batch + spread * noise).requires_grad_()
        (gradient,) = torch.autograd.grad(_scores(network(noisy), probe, said).sum(), noisy)
        total += gradient.abs().amax(1)
    network.train(was_training)
    return (total / total.amax((1, 2), keepdim=True).clamp(min=1e-12)).cpu().numpy()


def _scores(features: Tensor, probe: LinearProbe | None, said: Tensor | None) -> Tensor:
    if probe is None:
        return features.norm(dim=1)
    weight = torch.from_numpy(probe.weight).to(features.device)
    return (features * weight[said.to(features.device)]).sum(1)
