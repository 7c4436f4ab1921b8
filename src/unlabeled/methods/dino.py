"""DINO: from any view, predict the prototypes that a slowly moving teacher assigns to the image's large views.

    L = mean over pairs of different views of −P_t(x₁) · log P_s(x₂),
    P_t = softmax((g_t − c) / T_t),   P_s = softmax(g_s / T_s),   c ← m_c c + (1 − m_c) mean(g_t)

(Caron et al. 2021, arXiv:2104.14294, equations 1 to 4). The teacher's momentum rises to 1 on a cosine. The last layer
is weight-normalised with unit gain. Views of one size go through a network as one batch, as in the paper's code;
lightly's example takes one view at a time.

Where we differ: the two large views are the batch's, and the small ones are cut out of them, not out of the image
(multi-crop). Left out are the paper's frozen last layer of the first epoch, rising weight decay and warm-up of T_t; its
clipping is `pretraining.clip_gradient`. The step of the momentum's cosine counts from 1; the paper's code counts
from 0. The head's layers start with torch's default weights and the prototypes with a deviation of .02; there it is the
other way round. Layers before BatchNorm have biases, as there; lightly's have none, and no gradient reaches ours.
"""

import math
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.config import Count
from unlabeled.images.augment import resample
from unlabeled.method import Method
from unlabeled.nn.ema import cosine_momentum, follow
from unlabeled.nn.heads import Prototypes
from unlabeled.nn.network import ImageNetwork
from unlabeled.nn.precision import at_least_float32, full_precision
from unlabeled.training.constants import check_positive, check_range

MIN_SMALL_SIDE = 8
"""Smallest side of a small view, in pixels."""


@full_precision
def dino_loss(
    teacher: Tensor, student: Tensor, center: Tensor, teacher_temperature: float, temperature: float
) -> Tensor:
    """Cross entropy over all pairs of different views.

    Args:
        teacher: Teacher outputs for the large views, (2, B, prototypes); no gradient flows into them.
        student: Student outputs for all views, the large ones first, (V, B, prototypes).
        center: Centre of the teacher outputs, (prototypes,).
    """
    targets = F.softmax((teacher.detach() - center) / teacher_temperature, dim=-1)
    log_predictions = F.log_softmax(student / temperature, dim=-1)
    crossed = -torch.einsum("tbp,vbp->tv", targets, log_predictions) / teacher.shape[1]
    different = 1 - torch.eye(*crossed.shape, device=crossed.device)
    return (crossed * different).sum() / different.sum()


class DINO(Method):
    """Args:
    encoder: (B, C, H, W) to (B, D), with D in its attribute `feature_dim`.
    hidden_dim, bottleneck_dim: Widths of the head's layers.
    prototypes: Number of prototypes.
    batch_norm: Whether the head has BatchNorm, as convolutional encoders need (`use_bn_in_head` in the paper's code).
    momentum: Initial momentum of the teacher.
    center_momentum: m_c.
    temperature, teacher_temperature: T_s, T_t.
    small_views: Number of small views cut out of each large view.
    small_scale: Range of the fraction of a large view's area that a small one covers. Its side is the large view's
        times the square root of the upper end.
    """

    def __init__(
        self,
        encoder: ImageNetwork,
        *,
        hidden_dim: Count = 2048,
        bottleneck_dim: Count = 256,
        prototypes: Count = 65536,
        batch_norm: bool = False,
        momentum: float = 0.996,
        center_momentum: float = 0.9,
        temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        small_views: int = 2,
        small_scale: tuple[float, float] = (0.1, 0.4),
    ):
        super().__init__()
        check_positive("temperature", temperature)
        check_positive("teacher_temperature", teacher_temperature)
        check_range("momentum", momentum, 0, 1)
        check_range("center_momentum", center_momentum, 0, 1)
        check_range("small_views", small_views, 0, float("inf"))
        if not (len(small_scale) == 2 and 0 < small_scale[0] <= small_scale[1] <= 1):
            raise ValueError(f"small_scale: received {small_scale}, expected two shares above 0, the lower first")
        self.encoder = encoder
        self.head = Prototypes(encoder.feature_dim, hidden_dim, bottleneck_dim, prototypes, batch_norm)
        self.teacher = deepcopy(nn.Sequential(self.encoder, self.head)).requires_grad_(False)
        self.center, self.teacher_mean = nn.Buffer(torch.zeros(prototypes)), torch.zeros(prototypes)
        self.momentum, self.center_momentum, self.teacher_momentum = momentum, center_momentum, momentum
        self.temperature, self.teacher_temperature = temperature, teacher_temperature
        self.small_views, self.small_scale = small_views, small_scale

    def forward(self, batch: Tensor) -> Tensor:
        """Loss of two large views as one batch, shape (2B, C, h, w)."""
        with torch.no_grad():
            teacher = at_least_float32(self.teacher(batch))
        self.teacher_mean = teacher.mean(0)
        outputs = [self.head(self.encoder(batch))]
        if self.small_views:
            outputs.append(self.head(self.encoder(self.cut_small(batch))))
        student = torch.cat(outputs).unflatten(0, (-1, len(batch) // 2))
        teacher = teacher.unflatten(0, (2, -1))
        return dino_loss(teacher, student, self.center, self.teacher_temperature, self.temperature)

    def cut_small(self, batch: Tensor) -> Tensor:
        """Random squares of each large view, shape (small_views · 2B, C, s, s)."""
        low, high = self.small_scale
        side = batch.shape[-1]
        small = max(MIN_SMALL_SIDE, round(side * math.sqrt(high)))
        # From torch's own generator, which the loop seeds at each step.
        area, top, left = torch.rand(3, len(batch), self.small_views, device=batch.device, dtype=batch.dtype)
        length = side * (low + (high - low) * area).sqrt()
        boxes = torch.stack([top * (side - length), left * (side - length), length, length], -1)
        crops = resample(batch, boxes, small).transpose(0, 1).flatten(0, 1)
        return crops.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Moves the teacher and the centre."""
        self.teacher_momentum = cosine_momentum(self.momentum, progress)
        follow(self.teacher, (self.encoder, self.head), self.teacher_momentum)
        self.center.lerp_(self.teacher_mean, 1 - self.center_momentum)

    def gauges(self) -> dict[str, float]:
        return {"momentum": self.teacher_momentum}
