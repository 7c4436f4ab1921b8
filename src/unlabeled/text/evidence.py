"""The data that the page of a run on text shows."""

from collections.abc import Sequence
from dataclasses import dataclass

from unlabeled.reports.evidence import Evidence
from unlabeled.text.config import Packing, TextIngestion, TextPretraining


@dataclass(frozen=True, kw_only=True)
class TextEvidence(Evidence):
    """The data that the page of a run on text shows; `shown`: some texts, each with the model's output."""

    unit = "passages"
    augmented = False
    shown: Sequence[Sequence[str]]
    ingestion: TextIngestion
    augmentation: Packing
    pretraining: TextPretraining
