"""A linear probe as a kind of data."""

from pathlib import Path
from typing import Any

from pipelines.datasets.files import FileDataset

NO_PROBE: list = []
"""Stands for a probe where there were no labels: Kedro saves no None. It is read as None."""


class ProbeDataset(FileDataset):
    """A linear probe as safetensors; an empty file stands for none, where there were no labels."""

    def read(self, path: Path) -> Any:
        from unlabeled.evaluation.probe import LinearProbe  # imports torch

        return LinearProbe.load(path) if path.stat().st_size else None

    def write(self, data: Any, path: Path) -> None:
        data.save(path) if data else path.touch()
