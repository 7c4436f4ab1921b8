"""The crop cache as a kind of data."""

from pathlib import Path
from typing import Any

import numpy as np

from pipelines.datasets.files import FileDataset
from unlabeled.errors import DataError


class CropsDataset(FileDataset):
    """The crop cache, a folder of memory-mapped `.npy` files and their index; its stage writes it while it runs."""

    def read(self, path: Path) -> Any:
        from unlabeled.images.crops import open_views  # imports torch

        try:
            return open_views(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} holds no crops ({error}): run the stage augmentation, or `dvc pull` it") from error

    def save(self, data: Any) -> None:
        pass  # it is there

    def checksums(self) -> np.ndarray:
        """Those of its rows, as its index has them: int64 (N,)."""
        from unlabeled.images.crops import checksums_of  # imports torch

        return checksums_of(self._filepath)
