"""MoCo v2: find an image's other view among the embeddings of earlier batches, which a slowly moving copy has queued.

    ℓ = −log exp(q·k₊ / T) / (exp(q·k₊ / T) + Σ_queue exp(q·kᵢ / T)),   θ_k ← mθ_k + (1 − m)θ_q

(He et al. 2019, arXiv:1911.05722, equations 1 and 2; Chen et al. 2020, arXiv:2003.04297, with the MLP head).

Where we differ: the loss is symmetrised, as in the authors' later code and lightly's recipe, and is the mean over both
views: each view is a query once. The queue takes the keys of both views after the step; in lightly's recipe the second
view's queries already meet the keys of the first. Both views go through a network as one batch, over which BatchNorm
normalises, and the batch is not shuffled, because there is one device. The projector has BatchNorm after its hidden
layer; the paper's and lightly's have none. Biases and norms do not decay, as they do in the authors' code: set
`pretraining.decay_all` for that.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.config import Count
from unlabeled.method import Method
from unlabeled.nn.ema import follow
from unlabeled.nn.heads import mlp
from unlabeled.nn.network import ImageNetwork
from unlabeled.nn.precision import at_least_float32, full_precision
from unlabeled.training.constants import check_positive, check_range


@full_precision
def info_nce_loss(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Cross entropy of identifying a query's own key among it and the queue.

    Args:
        queries: Shape (B, P), normalised.
        keys: Shape (B, P), normalised; no gradient flows into them.
        queue: Shape (Q, P), normalised.
    """
    own = (queries * keys.detach()).sum(1, keepdim=True)
    logits = torch.cat([own, queries @ queue.T], 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


class MoCo(Method):
    """Args:
    encoder: (B, C, H, W) to (B, D), with D in its attribute `feature_dim`.
    hidden_dim: Hidden width of the projector.
    projection_dim: Dimensions of the projection (P).
    queue_size: Number of queued keys of earlier batches (Q); the oldest are replaced first.
    momentum: m.
    temperature: T.
    """

    def __init__(
        self,
        encoder: ImageNetwork,
        *,
        hidden_dim: Count = 2048,
        projection_dim: Count = 128,
        queue_size: Count = 65536,
        momentum: float = 0.999,
        temperature: float = 0.2,
    ):
        super().__init__()
        check_positive("temperature", temperature)
        check_range("momentum", momentum, 0, 1)
        self.encoder, self.momentum, self.temperature = encoder, momentum, temperature
        self.projector = mlp(encoder.feature_dim, hidden_dim, projection_dim)
        self.key_network = deepcopy(nn.Sequential(self.encoder, self.projector)).requires_grad_(False)
        self.queue = nn.Buffer(F.normalize(torch.randn(queue_size, projection_dim), dim=1))
        self.oldest = nn.Buffer(torch.zeros((), dtype=torch.long))
        self.new_keys = torch.empty(0, projection_dim)

    def forward(self, batch: Tensor) -> Tensor:
        """InfoNCE of two views as one batch, shape (2B, C, h, w), against the queue before this step."""
        queries = F.normalize(at_least_float32(self.projector(self.encoder(batch))), dim=1)
        with torch.no_grad():
            keys = F.normalize(at_least_float32(self.key_network(batch)), dim=1)
        if len(keys) > len(self.queue):
            raise ValueError(f"queue_size: received {len(self.queue)}, expected the {len(keys)} keys of a step or more")
        self.new_keys = keys
        return info_nce_loss(queries, keys.roll(len(keys) // 2, 0), self.queue, self.temperature)

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Updates the key network, and replaces the oldest keys of the queue by the step's."""
        follow(self.key_network, (self.encoder, self.projector), self.momentum)
        places = (self.oldest + torch.arange(len(self.new_keys), device=self.queue.device)) % len(self.queue)
        self.queue[places] = self.new_keys
        self.oldest.copy_((self.oldest + len(places)) % len(self.queue))
