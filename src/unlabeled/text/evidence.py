"""All that the page of a run on text is made of."""

from collections.abc import Sequence
from dataclasses import dataclass

from unlabeled.reports.evidence import Evidence
from unlabeled.text.config import Packing, TextIngestion, TextPretraining


@dataclass(frozen=True, kw_only=True)
class TextEvidence(Evidence):
    """What the page of a run on text is made of; `shown`: some texts, each with what the model makes of it."""

    unit = "passages"
    shown: Sequence[Sequence[str]]
    ingestion: TextIngestion
    augmentation: Packing
    pretraining: TextPretraining
