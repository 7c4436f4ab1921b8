"""PCA: a baseline by the directions in which pixels vary most (Pearson 1901; in batches as in Ross et al. 2008).

    f(x) = R V (x − μ)

with the components V in rows and a random rotation R, which keeps every distance and spreads the variance evenly over
the features (Gong and Lazebnik 2011, PCA-RR): a probe that standardises them sees the components as large as they are.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from unlabeled.method import ClosedForm
from unlabeled.nn.small_networks import LinearNetwork, random_rotation


class PCA(ClosedForm):
    """Args:
    encoder: A LinearNetwork.
    """

    encoder: LinearNetwork

    def __init__(self, encoder: nn.Module):
        super().__init__()
        if not isinstance(encoder, LinearNetwork):
            raise ValueError("pca solves for a linear network: set pretraining.encoder=linear")
        self.encoder = encoder

    @torch.no_grad()
    def fit(self, images: Iterable[Tensor]) -> float:
        """Solves for the components, and returns the fraction of the variance that they do not explain."""
        from sklearn.decomposition import IncrementalPCA  # a second to import

        dims = self.encoder.feature_dim
        solver, rows, seen = IncrementalPCA(dims), [], 0
        for batch in images:
            rows.append(batch.flatten(1).cpu())
            seen += len(batch)
            if sum(map(len, rows)) >= 4 * dims:
                solver.partial_fit(torch.cat(rows).numpy())
                rows = []
        if seen < dims:
            raise ValueError(f"pca needs {dims} images at least, and there are {seen}")
        if sum(map(len, rows)) >= dims:  # a smaller rest is left out
            solver.partial_fit(torch.cat(rows).numpy())
        components, mean = (torch.from_numpy(each).float() for each in (solver.components_, solver.mean_))
        components = random_rotation(dims) @ components
        self.encoder.load_state_dict({"1.weight": components, "1.bias": -components @ mean})
        return float(1 - solver.explained_variance_ratio_.sum())  # ty: ignore[missing-union-attribute]: None before `fit`
