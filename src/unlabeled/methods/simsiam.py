"""SimSiam: predict one view's embedding from the other's; only the stopped gradient prevents a collapse.

    L = ½ D(p₁, stop(z₂)) + ½ D(p₂, stop(z₁)),   D(p, z) = −cos(p, z)

(Chen & He 2020, arXiv:2011.10566, equations 1 to 4).

Where we differ: both views go through the network as one batch, so that BatchNorm normalises over both and its running
statistics move once a step; the paper's code and lightly's take one view at a time. Biases and norms do not decay, as
they do in the authors' code: set `pretraining.decay_all` for that. The predictor's learning rate falls with the others;
an option of the authors' code keeps it constant.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.config import Count
from unlabeled.method import Method
from unlabeled.nn.heads import deep_mlp, mlp
from unlabeled.nn.network import ImageNetwork
from unlabeled.nn.precision import at_least_float32


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean of −cos, a scalar in [−1, 1], of (B, P) and (B, P); no gradient flows into the target."""
    return -F.cosine_similarity(prediction, target.detach(), dim=-1).mean()


class SimSiam(Method):
    """Args:
    encoder: (B, C, H, W) to (B, D), with D in its attribute `feature_dim`.
    projection_dim: Dimensions of the projection (P), and the width of the projector.
    predictor_dim: Width of the predictor's bottleneck.
    """

    def __init__(self, encoder: ImageNetwork, *, projection_dim: Count = 2048, predictor_dim: Count = 512):
        super().__init__()
        self.encoder = encoder
        layers = deep_mlp(encoder.feature_dim, projection_dim)
        self.projector = nn.Sequential(*layers, nn.BatchNorm1d(projection_dim, affine=False))
        self.predictor = mlp(projection_dim, predictor_dim, projection_dim)

    def forward(self, batch: Tensor) -> Tensor:
        """Symmetrised loss of two views as one batch, shape (2B, C, h, w)."""
        projection = self.projector(self.encoder(batch))
        prediction = self.predictor(projection)
        (z1, z2), (p1, p2) = (at_least_float32(x).chunk(2) for x in (projection, prediction))
        return (negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2
