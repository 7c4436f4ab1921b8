"""Measures of collapse of an embedding that need no labels."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unlabeled.storage.arrays import spread

MAX_ROWS = 4096
"""Largest number of rows in a measurement; larger sets are sampled evenly, as more rows cost time and add no
insight."""

MAX_PAIRED_ROWS = 2048
"""Largest number of rows in a measurement of all pairs."""


def embedding_std(features: Tensor) -> float:
    """Mean standard deviation of the L2-normalised dimensions, times √D: 1 is as spread as can be, 0 a collapse.

    SimSiam monitors it (arXiv:2011.10566, section 4.1). Features: (N, D).
    """
    normalised = F.normalize(_sample(features.float(), MAX_ROWS), dim=1)
    return float(normalised.std(0, unbiased=False).mean() * features.shape[1] ** 0.5)


def rankme(features: Tensor, eps: float = 1e-7) -> float:
    """Effective rank of features (N, D), in [1, D]: exp of the entropy of the singular values (arXiv:2210.02885)."""
    singular = torch.linalg.svdvals(_sample(features.float(), MAX_ROWS))
    share = singular / singular.sum().clamp(min=eps) + eps
    return float(torch.exp(-(share * share.log()).sum()))


def uniformity(features: Tensor) -> float:
    """Log of the mean Gaussian potential of pairs on the sphere; lower is more uniform (arXiv:2005.10242). (N, D)."""
    return float(
        torch.pdist(F.normalize(_sample(features.float(), MAX_PAIRED_ROWS), dim=1)).square().mul(-2).exp().mean().log()
    )


def alignment(first: Tensor, second: Tensor) -> float:
    """Mean squared distance of two views' normalised features, each (N, D); lower is closer (arXiv:2005.10242)."""
    return float((F.normalize(first, dim=1) - F.normalize(second, dim=1)).square().sum(1).mean())


def _sample(features: Tensor, most: int) -> Tensor:
    return features[spread(np.arange(len(features)), most)]
