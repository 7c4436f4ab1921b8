"""k-means: a baseline whose features are distances of an image's patches to the most common patches of the data.

(Coates et al. 2011, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning": contrast normalisation,
ZCA whitening, k-means, triangle activation, pooling over quarters.)
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from unlabeled.method import ClosedForm
from unlabeled.nn.small_networks import PatchNetwork
from unlabeled.training.constants import check_positive

MAX_PATCHES = 100_000
"""Largest number of patches to learn from, or one of each batch."""


class KMeans(ClosedForm):
    """Args:
    encoder: A PatchNetwork.
    whitening: Constant added to the eigenvalues of the patches' covariance.
    """

    encoder: PatchNetwork

    def __init__(self, encoder: nn.Module, *, whitening: float = 0.1):
        super().__init__()
        if not isinstance(encoder, PatchNetwork):
            raise ValueError("kmeans solves for a network of patches: set pretraining.encoder=patches")
        check_positive("whitening", whitening)
        self.encoder, self.whitening = encoder, whitening

    @torch.no_grad()
    def fit(self, images: Iterable[Tensor]) -> float:
        """Finds the centroids, and returns the mean squared distance of a patch to its nearest centroid."""
        from sklearn.cluster import MiniBatchKMeans  # a second to import

        patches = self._sample(images)
        mean = patches.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov(patches.T))
        whitening = vectors @ torch.diag((values.clamp(min=0) + self.whitening).rsqrt()) @ vectors.T
        white = ((patches - mean) @ whitening).numpy()
        seed = int(torch.randint(2**31, ()))  # from the generator that the training's seed has set
        clusters = MiniBatchKMeans(len(self.encoder.centroids), n_init=1, batch_size=4096, random_state=seed).fit(white)
        self.encoder.mean.copy_(mean)
        self.encoder.whitening.copy_(whitening)
        self.encoder.centroids.copy_(torch.from_numpy(clusters.cluster_centers_))
        return float(clusters.inertia_ / len(white))

    def _sample(self, images: Iterable[Tensor]) -> Tensor:
        """Patches as rows on the CPU, equally many from each image, or from some images where there are more images
        than patches."""
        count = sum(len(batch) for batch in images)
        each, of_images = max(1, MAX_PATCHES // count), -(-count // MAX_PATCHES)
        rows = []
        for batch in images:
            patches = self.encoder.patches(batch[::of_images]).cpu()
            picked = torch.rand(patches.shape[:2]).argsort(1)[:, :each]
            rows.append(patches.gather(1, picked[..., None].expand(-1, -1, patches.shape[2])).flatten(0, 1))
        return torch.cat(rows)
