"""The Kedro dataset of the crop cache."""

from pathlib import Path
from typing import Any

import numpy as np

from pipelines.datasets.files import FileDataset
from unlabeled.errors import DataError


class CropsDataset(FileDataset):
    """The crop cache: a folder of memory-mapped `.npy` files and their index, written by the stage augmentation."""

    def read(self, path: Path) -> Any:
        from unlabeled.images.crops import open_views  # imports torch

        try:
            return open_views(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} holds no crops ({error}): run the stage augmentation, or `dvc pull` it") from error

    def save(self, data: Any) -> None:
        pass  # the stage has already written it

    def checksums(self) -> np.ndarray:
        """The checksums of its rows from the index, int64 (N,)."""
        from unlabeled.images.crops import checksums_of  # imports torch

        return checksums_of(self._filepath)
