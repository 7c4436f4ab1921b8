"""Supervised: a baseline that trains the same network from scratch on all labels.

L = −log p_y(x), the cross entropy of one augmented view.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.method import Method
from unlabeled.nn.network import ImageNetwork
from unlabeled.training.constants import check_range


class Supervised(Method):
    """Args:
    encoder: (B, C, H, W) to (B, D), with D in its attribute `feature_dim`.
    classes: Number of classes.
    label_smoothing: Fraction of the target that is spread evenly over all classes (arXiv:1512.00567).
    """

    views = 1
    supervised = True

    def __init__(self, encoder: ImageNetwork, *, classes: int, label_smoothing: float = 0.0):
        super().__init__()
        check_range("label_smoothing", label_smoothing, 0, 1)
        self.encoder, self.label_smoothing = encoder, label_smoothing
        self.head = nn.Linear(encoder.feature_dim, classes)

    def forward(self, batch: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy of one view, shape (B, C, h, w), with classes int64 of shape (B,)."""
        logits = self.head(self.encoder(batch)).float()
        return F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
