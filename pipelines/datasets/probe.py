"""The Kedro dataset of a linear probe."""

from pathlib import Path
from typing import Any

from pipelines.datasets.files import FileDataset

NO_PROBE: list = []
"""Stands for None where there are no labels, as Kedro does not save None. It is loaded as None."""


class ProbeDataset(FileDataset):
    """A linear probe as safetensors; an empty file where there are no labels."""

    def read(self, path: Path) -> Any:
        from unlabeled.evaluation.probe import LinearProbe  # imports torch

        return LinearProbe.load(path) if path.stat().st_size else None

    def write(self, data: Any, path: Path) -> None:
        data.save(path) if data else path.touch()
