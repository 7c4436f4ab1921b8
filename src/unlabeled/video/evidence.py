"""The data that the page of a run on clips shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unlabeled.reports.evidence import Evidence
from unlabeled.video.config import Spectrograms, VideoIngestion, VideoPretraining


@dataclass(frozen=True, kw_only=True)
class VideoEvidence(Evidence):
    """The data that the page of a run on clips shows.

    Attributes:
        frames: uint8 (N, T, C, H, W).
        sounds: int16 (N, S).
        shown: Rows, each with the rows of the sounds found for it.
    """

    unit = "clips"
    frames: np.ndarray
    sounds: np.ndarray
    shown: Sequence[Sequence[int]]
    ingestion: VideoIngestion
    augmentation: Spectrograms
    pretraining: VideoPretraining
