"""The data that the page of a run on captioned images shows."""

from dataclasses import dataclass

from unlabeled.images.evidence import ImageEvidence
from unlabeled.pairs.config import PairAugmentation, PairEvaluation, PairPretraining, PairsIngestion


@dataclass(frozen=True, kw_only=True)
class PairEvidence(ImageEvidence):
    """The data that the page of a run on captioned images shows.

    Attributes:
        shown: Rows, each with those found for it, by direction of the retrieval.
    """

    shown: dict[str, list[list[int]]]
    ingestion: PairsIngestion
    augmentation: PairAugmentation
    pretraining: PairPretraining
    evaluation: PairEvaluation
