"""Saliency: the pixels whose change affects a network's answer most."""

import numpy as np
import torch

from unlabeled.encoders import evaluating
from unlabeled.evaluation.probe import LinearProbe
from unlabeled.images.encoder import ImageEncoder

NOISY_COPIES = 16
NOISE = 0.15
"""Standard deviation of the added noise, as a fraction of an image's range."""


def smooth_gradients(encoder: ImageEncoder, images: np.ndarray, probe: LinearProbe | None, seed: int = 0) -> np.ndarray:
    """SmoothGrad (Smilkov et al. 2017, arXiv:1706.03825): a gradient's magnitude, averaged over noisy copies.

    Args:
        images: uint8 of shape (B, C, H, W).
        probe: Its predicted class's logit is differentiated; without a probe, the length of the feature vector.

    Returns:
        float32 of shape (B, H, W) of the encoder's own image size, each image's largest value being 1.
    """
    batch = encoder.prepare(images)
    generator = torch.Generator(batch.device).manual_seed(seed)
    spread = NOISE * (batch.amax((1, 2, 3), keepdim=True) - batch.amin((1, 2, 3), keepdim=True))
    direction = None
    if probe is not None:
        said = probe.logits(encoder.embed(images)).argmax(1)
        direction = torch.from_numpy(probe.weight[said]).to(batch.device)
    total = torch.zeros_like(batch[:, 0])
    with evaluating(encoder.network):
        for _ in range(NOISY_COPIES):
            noise = torch.randn(batch.shape, generator=generator, device=batch.device)
            noisy = (batch + spread * noise).requires_grad_()
            features = encoder.network(noisy)
            scores = features.norm(dim=1) if direction is None else (features * direction).sum(1)
            (gradient,) = torch.autograd.grad(scores.sum(), noisy)
            total += gradient.abs().amax(1)
    return (total / total.amax((1, 2), keepdim=True).clamp(min=1e-12)).cpu().numpy()
