"""The Kedro dataset of an encoder."""

from pathlib import Path
from typing import Any

from pipelines.datasets.files import FileDataset


class EncoderDataset(FileDataset):
    """An encoder: `encoder.safetensors` in the architecture's own keys, and `encoder.json` to rebuild it."""

    @property
    def files(self) -> list[Path]:
        return [self._filepath, self._filepath.with_suffix(".json")]

    def read(self, path: Path) -> Any:
        from unlabeled.encoders import read_encoder  # imports torch

        return read_encoder(path)

    def save(self, data: Any) -> None:
        data.save(self._filepath)
