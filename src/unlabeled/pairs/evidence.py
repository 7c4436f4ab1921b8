"""All that the page of a run on captioned images is made of."""

from dataclasses import dataclass

from unlabeled.images.evidence import ImageEvidence
from unlabeled.pairs.config import PairAugmentation, PairEvaluation, PairPretraining, PairsIngestion


@dataclass(frozen=True, kw_only=True)
class PairEvidence(ImageEvidence):
    """What the page of a run on captioned images is made of.

    Attributes:
        shown: By direction of the retrieval: rows, each with those found for it.
    """

    shown: dict[str, list[list[int]]]
    ingestion: PairsIngestion
    augmentation: PairAugmentation
    pretraining: PairPretraining
    evaluation: PairEvaluation
