"""The data that the page of a run on images shows."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from unlabeled.config import Augmentation, Ingestion
from unlabeled.reports.evidence import Evidence

if TYPE_CHECKING:
    from unlabeled.images.encoder import ImageEncoder
else:
    ImageEncoder = Any  # it imports torch


@dataclass(frozen=True, kw_only=True)
class ImageEvidence(Evidence):
    """The data that the page of a run on images shows.

    Attributes:
        images: uint8 (N, C, H, W).
        views: The cached crops, uint8 (N, K, C, h, w); K may be 0.
        examples: Rows of pictures, as `Method.illustrate` returns them, uint8.
    """

    unit = "images"
    images: np.ndarray
    views: np.ndarray
    encoder: ImageEncoder
    ingestion: Ingestion
    augmentation: Augmentation
    examples: dict[str, np.ndarray] = field(default_factory=dict)
