"""Kedro datasets of files. A file is written under a temporary name and renamed, so it is never half written.

`kedro viz` shows the result of a dataset's `preview` on its node, according to the annotated type.
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
    """Reads a file that a stage has written. Raises DataError where it is missing, damaged or has another shape."""
    if not path.exists():
        raise DataError(
            f"{path} is missing: run the stages before this one (`kedro run --pipeline=METHOD` has them all), or `dvc "
            f"pull` it"
        )
    try:
        held = read(path)
    except Exception as error:  # each format has its own errors
        if isinstance(error, UnlabeledError | MemoryError) or getattr(error, "errno", None):  # of the system
            raise
        raise DataError(f"{path} is damaged ({error}): run the stage that writes it again") from error
    check_shape(path, held)
    return held


def read_json(path: Path) -> Any:
    """The content of a JSON file of the project. Raises DataError where it is missing, damaged or has another shape."""
    return _load(path, lambda file: json.loads(file.read_text()))


class FileDataset(AbstractDataset):
    """A file that is replaced as a whole. Subclasses define `read` and `write`."""

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None):
        self._filepath, self.metadata = Path(filepath), metadata

    @property
    def files(self) -> list[Path]:
        """All files of the dataset."""
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
    """Dicts and lists as indented JSON."""

    def read(self, path: Path) -> Any:
        return json.loads(path.read_text())

    def write(self, data: Any, path: Path) -> None:
        path.write_text(json.dumps(data, indent=2) + "\n")

    def preview(self) -> JSONPreview:
        return JSONPreview(json.dumps(self.load()))


class ParquetDataset(FileDataset):
    """A DataFrame as Parquet with checksums."""

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
    """A DataFrame as CSV, for people to open in a spreadsheet."""

    def read(self, path: Path) -> pd.DataFrame:
        return read_csv(path)

    def write(self, data: pd.DataFrame, path: Path) -> None:
        write_csv(data, path)

    def preview(self, nrows: int = 50) -> TablePreview:
        return TablePreview(self.load().head(nrows).to_dict(orient="split"))


class FigureDataset(FileDataset):
    """A matplotlib figure as PNG."""

    def write(self, data: Any, path: Path) -> None:
        data.savefig(path, format="png")

    def preview(self) -> ImagePreview:
        return ImagePreview(base64.b64encode(self._filepath.read_bytes()).decode())


class ArrayDataset(FileDataset):
    """A memory-mapped `.npy` file. Saving does nothing where the stage has already written this file in chunks."""

    def read(self, path: Path) -> np.ndarray:
        return open_array(path)

    def save(self, data: np.ndarray) -> None:
        if isinstance(data, np.memmap) and data.filename and Path(data.filename) == self._filepath.resolve():
            return
        with ArrayWriter(self._filepath, data.shape[1:], data.dtype) as writer:
            writer.append(data)


class PicturesDataset(FileDataset):
    """Named arrays as `.npz`, in their order."""

    def read(self, path: Path) -> dict[str, np.ndarray]:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)

    def write(self, data: dict[str, np.ndarray], path: Path) -> None:
        np.savez_compressed(path, **cast(dict[str, Any], data))


class FolderDataset(AbstractDataset):
    """A folder in which a stage writes arrays or checkpoints while it runs."""

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None):
        self._folder, self.metadata = Path(filepath), metadata

    def load(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def save(self, data: None) -> None:
        raise DataError(f"{self._folder} is a folder to work in, not an output")

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._folder)}
