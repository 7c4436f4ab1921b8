"""The data that the page of any run shows."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from unlabeled.config import Block, Evaluation, Pretraining, Registration
from unlabeled.records import Metrics, Numbers, RunRecord, Summary, Version
from unlabeled.runtime.counts import counted

if TYPE_CHECKING:
    from unlabeled.evaluation.probe import Labels, LinearProbe
else:
    Labels = LinearProbe = Any  # they import torch


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The data that the page of any run shows, whatever the kind of data.

    Attributes:
        unit: Name of the rows in the plural.
        augmented: Whether the methods learn from augmented views.
        quarantine: Path and reason of each file that could not be used.
        features: Embeddings, float32 (N, D).
        predictions: Answers of the linear probe, as `evaluation.protocol.predict` returns them.
        history: One row of metrics for each epoch.
        finetuned: Accuracies of fine-tuned networks, as in `Finetuned.labels`.
        provenance: Facts needed to reproduce the run, by name.
    """

    unit: ClassVar[str]
    augmented: ClassVar[bool] = True
    manifest: pd.DataFrame
    summary: Summary
    quarantine: pd.DataFrame
    features: np.ndarray
    probe: LinearProbe | None
    metrics: Metrics
    predictions: pd.DataFrame
    history: pd.DataFrame
    run: RunRecord
    version: Version
    ingestion: Block
    augmentation: Block
    pretraining: Pretraining
    evaluation: Evaluation
    registration: Registration
    finetuned: dict[str, Numbers] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)

    @property
    def parameters(self) -> tuple[Block, ...]:
        return self.ingestion, self.augmentation, self.pretraining, self.evaluation, self.registration

    @property
    def title(self) -> str:
        return f"{self.run['method']} on {self.summary['source']}"

    @property
    def standing(self) -> str:
        """The gate's decision, in sentences."""
        if not self.version["version"]:
            return f"It is not registered: {self.version['reason']}."
        became = "It became the champion" if self.version["champion"] else "It is a challenger"
        return " ".join(filter(None, [f"{became}: {self.version['reason']}.", self.version["selection"]]))

    @property
    def trained(self) -> str:
        """Number of epochs in words; empty where it is not recorded."""
        return "" if self.history.empty else counted(int(self.history.epoch.iloc[-1]), "epochs")

    @property
    def labels(self) -> Labels:
        from unlabeled.evaluation.probe import Labels  # imports torch

        return Labels.of(self.manifest)

    @property
    def test(self) -> np.ndarray:
        """Rows of the test split, labelled or not; all rows where there is none."""
        rows = self.rows_of("test")
        return rows if len(rows) else np.arange(len(self.manifest))

    @property
    def tested(self) -> str:
        """Name of the rows of `test` in the plural."""
        return f"test {self.unit}" if len(self.rows_of("test")) else self.unit

    def rows_of(self, split: str) -> np.ndarray:
        return np.flatnonzero(self.manifest.split == split)

    def name_of(self, row: int) -> str:
        """The class of a row; empty without a label."""
        target = self.manifest.target.iat[row]
        return self.summary["classes"][target] if target >= 0 else ""
