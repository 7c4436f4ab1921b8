"""The catalog's kinds of data. A file is written aside and renamed: it is there whole, or as it was before.

What a dataset's `preview` returns, `kedro viz` shows on its node, in the way that the type it is annotated with says.
"""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from kedro.io import AbstractDataset
from kedro_datasets._typing import ImagePreview, JSONPreview, TablePreview

from pipelines.shapes import check_shape
from unlabeled.errors import DataError, UnlabeledError
from unlabeled.storage.arrays import ArrayWriter, open_array, replace_file
from unlabeled.storage.spreadsheet import read_csv, write_csv


def _load(path: Path, read: Callable[[Path], Any]) -> Any:
    """Reads a file that a stage has written. Raises DataError where it is missing, damaged or of another shape."""
    if not path.exists():
        raise DataError(
            f"{path} is missing: run the stages before this one (`kedro run --pipeline=METHOD` has them all), or `dvc "
            f"pull` it"
        )
    try:
        held = read(path)
    except Exception as error:  # each format has its own
        if isinstance(error, UnlabeledError | MemoryError) or getattr(error, "errno", None):  # of the system
            raise
        raise DataError(f"{path} is damaged ({error}): run the stage that writes it again") from error
    check_shape(path, held)
    return held


def read_json(path: Path) -> Any:
    """What is in a JSON file of the project. Raises DataError where it is missing, damaged or of another shape."""
    return _load(path, lambda file: json.loads(file.read_text()))


class FileDataset(AbstractDataset):
    """A file that is replaced as a whole; `read` and `write` say how."""

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None):
        self._filepath, self.metadata = Path(filepath), metadata

    @property
    def files(self) -> list[Path]:
        """All that it leaves on disk."""
        return [self._filepath]

    def load(self) -> Any:
        return _load(self._filepath, self.read)

    def save(self, data: Any) -> None:
        replace_file(self._filepath, lambda partial: self.write(data, partial))

    def read(self, path: Path) -> Any:
        raise NotImplementedError

    def write(self, data: Any, path: Path) -> None:
        raise NotImplementedError

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class JsonDataset(FileDataset):
    """Dicts and lists, readable by people."""

    def read(self, path: Path) -> Any:
        return json.loads(path.read_text())

    def write(self, data: Any, path: Path) -> None:
        path.write_text(json.dumps(data, indent=2) + "\n")

    def preview(self) -> JSONPreview:
        return JSONPreview(json.dumps(self.load()))


class ParquetDataset(FileDataset):
    """A DataFrame."""

    def read(self, path: Path) -> pd.DataFrame:
        return pd.read_parquet(path, page_checksum_verification=True)

    def write(self, data: pd.DataFrame, path: Path) -> None:
        data.to_parquet(path, index=False, write_page_checksum=True)


class TextDataset(FileDataset):
    """Text in UTF-8."""

    def read(self, path: Path) -> str:
        return path.read_text(encoding="utf-8")

    def write(self, data: str, path: Path) -> None:
        path.write_text(data, encoding="utf-8")


class CsvDataset(FileDataset):
    """A DataFrame that people open."""

    def read(self, path: Path) -> pd.DataFrame:
        return read_csv(path)

    def write(self, data: pd.DataFrame, path: Path) -> None:
        write_csv(data, path)

    def preview(self, nrows: int = 50) -> TablePreview:
        return TablePreview(self.load().head(nrows).to_dict(orient="split"))


class FigureDataset(FileDataset):
    """A picture of matplotlib's, as PNG."""

    def write(self, data: Any, path: Path) -> None:
        data.savefig(path, format="png")

    def preview(self) -> ImagePreview:
        return ImagePreview(base64.b64encode(self._filepath.read_bytes()).decode())


class ArrayDataset(FileDataset):
    """A memory-mapped `.npy` file; one that its stage has already written here, a chunk at a time, is left as it is."""

    def read(self, path: Path) -> np.ndarray:
        return open_array(path)

    def save(self, data: np.ndarray) -> None:
        if isinstance(data, np.memmap) and data.filename and Path(data.filename) == self._filepath.resolve():
            return
        with ArrayWriter(self._filepath, data.shape[1:], data.dtype) as writer:
            writer.append(data)


class PicturesDataset(FileDataset):
    """Arrays by name, in their order, as `.npz`."""

    def read(self, path: Path) -> dict[str, np.ndarray]:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)

    def write(self, data: dict[str, np.ndarray], path: Path) -> None:
        np.savez_compressed(path, **cast(dict[str, Any], data))


class FolderDataset(AbstractDataset):
    """A folder, given to a stage that writes arrays or checkpoints there while it runs."""

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None):
        self._folder, self.metadata = Path(filepath), metadata

    def load(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def save(self, data: None) -> None:
        raise DataError(f"{self._folder} is a folder to work in, not an output")

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._folder)}
