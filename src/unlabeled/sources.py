"""Where images come from: each source is a stream of encoded images or arrays, with what is known of their labels."""

import csv
import json
import logging
import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from unlabeled.config import Ingestion
from unlabeled.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

NOT_IMAGES = (".dvc", "metadata.csv")
"""How the names of files end that stand beside images."""
SPLITS = {"train": "train", "training": "train", "test": "test"} | dict.fromkeys(
    ("val", "valid", "validation"), "validation"
)
TORCHVISION = {
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "fashion_mnist": "FashionMNIST",
    "stl10": "STL10",
    "svhn": "SVHN",
}
LABEL_COLUMNS = ("label", "fine_label")  # the second is CIFAR-100's
UNLABELLED = -1
"""What stands for no label among integers, as in STL-10 and on the Hugging Face Hub."""
DOWNLOAD_TIMEOUT = 30
"""Seconds without a byte after which a download is given up; urllib waits for ever."""
ROWS = 64
"""Of a Parquet file, in memory at a time."""


@dataclass(frozen=True)
class Item:
    """An image that is not decoded yet.

    Attributes:
        path: Where it came from.
        content: The file to read, its bytes, or an array (H, W) or (H, W, C) of uint8; None: it is missing.
        label: Its class; None: unlabelled.
        split: The official one, in {train, validation, test}; None: by content hash.
        group: What decides its split in place of its content; None: nothing does.
        reason: Why it cannot be used, where its source knows.
    """

    path: str
    content: Path | bytes | np.ndarray | None
    label: str | None = None
    split: str | None = None
    group: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Source:
    """A stream of `total` items."""

    items: Iterator[Item]
    total: int


def open_source(config: Ingestion) -> Source:
    """The source that `ingestion.source` names. Raises DataError where it is missing, empty or unreadable."""
    if config.source == "digits":
        return digits()
    path = Path(config.path or "data/01_raw").expanduser()
    if config.source == "torchvision" and not (config.path and holds_parquet(path)):
        return _torchvision(config.dataset, path)
    if not path.exists():
        raise DataError(f"ingestion.path: {path} does not exist")
    return image_folder(path) if config.source == "image_folder" else parquet(path)


def holds_parquet(path: Path) -> bool:
    return path.suffix == ".parquet" or any(path.rglob("*.parquet"))


def digits() -> Source:
    """scikit-learn's 1,797 handwritten digits, uint8 (8, 8) with the labels 0 to 9."""
    from sklearn.datasets import load_digits  # a second to import

    data = load_digits()
    images = (data.images * (255 / 16)).round().astype(np.uint8)
    items = (Item(f"digits/{i}", image, str(data.target[i])) for i, image in enumerate(images))
    return Source(items, len(images))


def _torchvision(name: str, path: Path) -> Source:
    from torchvision import datasets  # seconds to import

    folder = path / name
    kind = getattr(datasets, TORCHVISION[name])
    splits = {"train": {"train": True}, "test": {"train": False}}
    if name == "svhn":
        splits = {"train": {"split": "train"}, "test": {"split": "test"}}
    elif name == "stl10":
        splits = {"train": {"split": "train+unlabeled"}, "test": {"split": "test"}}
    try:
        with _download_timeout():
            parts = {split: kind(folder, download=True, **options) for split, options in splits.items()}
    except Exception as error:  # urllib, ssl, tarfile and torchvision's own
        raise DataError(
            f"{name} could not be downloaded to {folder} ({' '.join(str(error).split())}): put torchvision's files "
            f"there, or read the images from Parquet with ingestion.source=parquet and ingestion.path"
        ) from error

    def items() -> Iterator[Item]:
        for split, part in parts.items():
            names = getattr(part, "classes", None)
            labels = np.asarray(part.targets if hasattr(part, "targets") else part.labels)
            for i, (image, label) in enumerate(zip(part.data, labels, strict=True)):
                image = np.asarray(image)
                image = image.transpose(1, 2, 0) if image.ndim == 3 and image.shape[0] == 3 else image
                path = f"{name}/{split}/{i}"
                yield Item(path, image, _class_name(int(label), names, path), split)

    return Source(items(), sum(map(len, parts.values())))


@contextmanager
def _download_timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def image_folder(root: Path, label: str | None = "label") -> Source:
    """The images of a folder, in the order of their names. Raises DataError where there are none.

    Args:
        label: The column of its metadata.csv, where it has one, that names the classes; None: nothing does.
    """
    return named_items(root, file_names(root, "ingestion.path"), label=label)


def named_items(root: Path, names: list[str], kind: str = "files", label: str | None = "label") -> Source:
    """What has these names below a folder, with the labels and splits of its metadata.csv, else of its folders' names.

    Args:
        kind: What they are, for the DataError that is raised where there are none.
        label: The column of its metadata.csv that names the classes; None: nothing does.
    """
    metadata = root / "metadata.csv"
    rows = read_metadata(metadata) if metadata.exists() else None
    if not names and not rows:
        raise DataError(f"ingestion.path: {root} holds no {kind}")
    if rows is None:
        return Source(_with_folder_names(root, names), len(names))
    return Source(_with_metadata(root, names, rows, label), len(rows.keys() | set(names)))


def file_names(root: Path, key: str, kind: str = "images") -> list[str]:
    """The files below a folder that may be data, relative to it and in order. DataError names the parameter `key`, and
    says what `kind` of files is expected."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{key}: {error.filename} cannot be read ({error.strerror})") from error

    if not root.is_dir():
        problem = f"is a file, expected a folder of {kind}" if root.exists() else "does not exist"
        raise DataError(f"{key}: {root} {problem}")
    found = []
    for folder, folders, names in os.walk(root, followlinks=True, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".") and not _leads_back(Path(folder, name))]
        within = Path(folder).relative_to(root)
        prefix = "" if within == Path() else f"{within.as_posix()}/"
        found += [prefix + name for name in names if not name.startswith(".") and not name.endswith(NOT_IMAGES)]
    return sorted(found)


def _leads_back(folder: Path) -> bool:
    """Whether it is a link to a folder that it lies in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def printable(name: str) -> str:
    """A name from a disk as text that a file in UTF-8 can hold: it need not be."""
    return os.fsencode(name).decode(errors="replace")


def _with_folder_names(root: Path, names: list[str]) -> Iterator[Item]:
    first = {name.split("/")[0].lower() if "/" in name else None for name in names}
    by_split = first <= SPLITS.keys()
    official = _official(SPLITS[folder] for folder in first) if by_split else {}
    for name in names:
        folders = name.split("/")[:-1]
        split = official.get(SPLITS[folders.pop(0).lower()]) if by_split else None
        yield Item(printable(name), root / name, printable(folders[0]) if folders else None, split)


def _official(splits: Iterable[str | None]) -> dict[str, str]:
    """The splits to keep as they are. Without a test split `train` is not among them: a test is cut from it."""
    found = {split: split for split in splits if split}
    return found if "test" in found else {split: split for split in found if split != "train"}


def read_metadata(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a metadata.csv by their file_name.

    Raises:
        DataError: No CSV in UTF-8, without that column, with more values in a row than columns, or a file named twice.
    """
    rows: dict[str, dict[str, str]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            for row in reader if "file_name" in columns else ():
                name = PurePosixPath(row["file_name"] or "").as_posix()
                if None in row:
                    raise DataError(
                        f"{path}, line {reader.line_num}: received {len(columns) + len(row[None])} values, expected "
                        f"{len(columns)}, for {', '.join(columns)}; put text that has commas in quotes"
                    )
                if name in rows:
                    raise DataError(f"{path}, line {reader.line_num}: {name} is named a second time, expected once")
                if (split := row.get("split")) and split.lower() not in SPLITS:
                    expected = f"{', '.join(SPLITS)}, or nothing"
                    raise DataError(
                        f"{path}, line {reader.line_num}: received the split {split!r}, expected {expected}"
                    )
                rows[name] = row
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8 ({error})") from error
    if "file_name" not in columns:
        raise DataError(f"{path} has the columns {', '.join(columns) or '(none)'}, expected file_name (and label)")
    return rows


def _with_metadata(root: Path, names: list[str], rows: dict[str, dict[str, str]], column: str | None) -> Iterator[Item]:
    if column and column not in next(iter(rows.values()), {column: None}):
        logger.warning("%s has no column %s: what it names is without labels", root / "metadata.csv", column)
    splits = {name: SPLITS.get((row.get("split") or "").lower()) for name, row in rows.items()}
    official = _official(splits.values())
    for name in sorted(rows.keys() - set(names)):
        yield Item(name, None)
    for name in names:
        label = rows.get(name, {}).get(column) or None
        yield Item(printable(name), root / name, label, official.get(splits.get(name)))


def parquet(path: Path, labels: Sequence[str] = LABEL_COLUMNS) -> Source:
    """The images of a Parquet file, or of all in a folder; the first column there is of `labels` names the classes.

    Raises DataError where there are none, or a file cannot be read.
    """
    import pyarrow.parquet as pq

    files = parquet_files(path)
    official = _official(map(_split_in_name, files))
    total = 0
    for file in files.values():
        with readable(file):
            metadata = pq.read_metadata(file)
        _parquet_columns(file, metadata.schema.to_arrow_schema(), labels)
        total += metadata.num_rows

    def items() -> Iterator[Item]:
        for name, file in files.items():
            yield from _parquet_rows(file, name, official.get(_split_in_name(name)), labels)

    return Source(items(), total)


def parquet_files(path: Path) -> dict[str, Path]:
    """A file, or all in a folder, in the order of their names within it. Raises DataError where there is none."""
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"ingestion.path: {path} holds no .parquet files")
    root = path if path.is_dir() else path.parent
    return {file.relative_to(root).as_posix(): file for file in files}


def _parquet_rows(file: Path, name: str, split: str | None, labels: Sequence[str]) -> Iterator[Item]:
    import pyarrow.parquet as pq

    number = 0
    # So pyarrow reads a page at a time; otherwise a row group, which may be the whole file.
    with readable(file), pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False) as table:
        image_column, label_column, names = _parquet_columns(file, table.schema_arrow, labels)
        for batch in table.iter_batches(ROWS, columns=[image_column, *([label_column] if label_column else [])]):
            for row in batch.to_pylist():
                image, label, path = row[image_column] or {}, row.get(label_column), f"{name}/{number}"
                content = image.get("bytes")
                if not content and image.get("path"):
                    content = file.parent / image["path"]
                label = _class_name(label, names, path) if isinstance(label, int) else label or None
                yield Item(path, content, label, split)
                number += 1


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """What Arrow says of a file that is no Parquet becomes a DataError."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"ingestion.path: {file} cannot be read as Parquet ({' '.join(str(error).split())})") from error


def _parquet_columns(
    file: Path, schema: "pa.Schema", labels: Sequence[str]
) -> tuple[str, str | None, list[str] | None]:
    """The names of the image and the label column, and the names of the classes where the Hub's metadata have them."""
    images = [field.name for field in schema if _holds_images(field.type)]
    if not images:
        raise DataError(
            f"{file} has the columns {', '.join(schema.names)}, expected an image column of structs with binary `bytes`"
        )
    label = next((name for name in labels if name in schema.names), None)
    if label and not _names_a_class(schema.field(label).type):
        raise DataError(f"{file}: received labels of type {schema.field(label).type}, expected integers or strings")
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        names = features.get(label, {}).get("names")
    except (ValueError, AttributeError) as error:
        raise DataError(f"{file}: its metadata `huggingface` are not those of the Hub ({error})") from error
    return "image" if "image" in images else images[0], label, names


def _holds_images(kind: Any) -> bool:
    """A struct of `bytes` and, perhaps, `path`."""
    import pyarrow as pa

    def has(field: str, *tests: Callable[[Any], bool]) -> bool:
        return any(test(kind.field(field).type) for test in (*tests, pa.types.is_null))

    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    binary = has("bytes", pa.types.is_binary, pa.types.is_large_binary)
    return binary and (kind.get_field_index("path") < 0 or has("path", pa.types.is_string, pa.types.is_large_string))


def _names_a_class(kind: Any) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_string, pa.types.is_large_string, pa.types.is_null)
    return any(test(kind) for test in tests)


def _split_in_name(name: str) -> str | None:
    """The split that a path names, as in `train-00000-of-00002.parquet` and `default/train/0000.parquet`."""
    return next((SPLITS[word] for word in reversed(re.split(r"[^a-z]+", name.lower())) if word in SPLITS), None)


def _class_name(label: int, names: list[str] | None, path: str) -> str | None:
    if label == UNLABELLED:
        return None
    if label < 0 or (names and label >= len(names)):
        most = f"{len(names) - 1}, the last of the {len(names)} classes that the data name" if names else "more"
        raise DataError(f"{path}: received the label {label}, expected {UNLABELLED} (no label) or 0 to {most}")
    return names[label] if names else str(label)
