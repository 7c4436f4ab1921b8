"""Where images come from: each source is a stream of encoded images or arrays, with what is known of their labels."""

import csv
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unlabeled.config import Ingestion
from unlabeled.errors import DataError

NOT_IMAGES = ("metadata.csv",)
NOT_IMAGE_ENDINGS = (".dvc", ".gitignore", ".gitkeep")
SPLITS = {"train": "train", "training": "train", "test": "test", "val": "validation", "valid": "validation", "validation": "validation"}
TORCHVISION = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "fashion_mnist": "FashionMNIST", "stl10": "STL10", "svhn": "SVHN"}
UNLABELLED = -1
"""What stands for no label among integers, as in STL-10 and on the Hugging Face Hub."""


@dataclass(frozen=True)
class Item:
    """An image that is not decoded yet.

    Attributes:
        path: Where it came from.
        content: The file to read, its bytes, or an array (H, W) or (H, W, C) of uint8; None: it is missing.
        label: Its class; None: unlabelled.
        split: The official one, in {train, validation, test}; None: by content hash.
    """

    path: str
    content: Path | bytes | np.ndarray | None
    label: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Source:
    """A stream of `total` items."""

    items: Iterator[Item]
    total: int


def open_source(config: Ingestion) -> Source:
    """The source that `ingestion.source` names. Raises DataError where it is missing, empty or unreadable."""
    if config.source == "digits":
        return _digits()
    if config.source == "torchvision":
        return _torchvision(config)
    path = Path(config.path)
    if not path.exists():
        raise DataError(f"ingestion.path: {path} does not exist")
    return _image_folder(path) if config.source == "image_folder" else _parquet(path)


def _digits() -> Source:
    from sklearn.datasets import load_digits  # a second to import

    digits = load_digits()
    images = (digits.images * (255 / 16)).round().astype(np.uint8)
    items = (Item(f"digits/{i}", image, str(digits.target[i])) for i, image in enumerate(images))
    return Source(items, len(images))


def _torchvision(config: Ingestion) -> Source:
    from torchvision import datasets  # seconds to import

    name, folder = config.dataset, Path(config.path or "data/01_raw") / config.dataset
    kind = getattr(datasets, TORCHVISION[name])
    splits = {"train": {"train": True}, "test": {"train": False}}
    if name == "svhn":
        splits = {"train": {"split": "train"}, "test": {"split": "test"}}
    elif name == "stl10":
        splits = {"train": {"split": "train+unlabeled"}, "test": {"split": "test"}}
    try:
        parts = {split: kind(folder, download=True, **options) for split, options in splits.items()}
    except Exception as error:  # urllib, ssl, tarfile and torchvision's own
        raise DataError(
            f"{name} could not be downloaded to {folder} ({error}): put torchvision's files there, or read the images "
            f"from Parquet with ingestion.source=parquet and ingestion.path"
        ) from error

    def items() -> Iterator[Item]:
        for split, part in parts.items():
            names = getattr(part, "classes", None)
            labels = np.asarray(part.targets if hasattr(part, "targets") else part.labels)
            for i, (image, label) in enumerate(zip(part.data, labels, strict=True)):
                image = np.asarray(image)
                image = image.transpose(1, 2, 0) if image.ndim == 3 and image.shape[0] == 3 else image
                yield Item(f"{name}/{split}/{i}", image, _class_name(int(label), names), split)

    return Source(items(), sum(map(len, parts.values())))


def _image_folder(root: Path) -> Source:
    if not root.is_dir():
        raise DataError(f"ingestion.path: {root} is a file, expected a folder of images")
    files = [
        Path(folder, name)
        for folder, folders, names in os.walk(root)
        for name in names
        if name not in NOT_IMAGES and not name.startswith(".") and not name.endswith(NOT_IMAGE_ENDINGS)
    ]
    files.sort()
    metadata = root / "metadata.csv"
    items = _with_metadata(root, files, metadata) if metadata.exists() else _with_folder_names(root, files)
    if not items:
        raise DataError(f"ingestion.path: {root} holds no files")
    return Source(iter(items), len(items))


def _with_folder_names(root: Path, files: list[Path]) -> list[Item]:
    parts = [file.relative_to(root).parts[:-1] for file in files]
    by_split = bool(parts) and all(folders and folders[0].lower() in SPLITS for folders in parts)
    items = []
    for file, folders in zip(files, parts, strict=True):
        split = SPLITS[folders[0].lower()] if by_split else None
        classes = folders[1:] if by_split else folders
        items.append(Item(str(file.relative_to(root)), file, classes[0] if classes else None, split))
    return items


def _with_metadata(root: Path, files: list[Path], metadata: Path) -> list[Item]:
    try:
        with metadata.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns, rows = reader.fieldnames or [], list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{metadata} is not a CSV file in UTF-8 ({error})") from error
    if "file_name" not in columns:
        raise DataError(f"{metadata} has the columns {', '.join(columns) or '(none)'}, expected file_name, and label if any")
    known = {row["file_name"]: row for row in rows}
    there = {file.relative_to(root).as_posix(): file for file in files}
    missing = [Item(name, None) for name in sorted(known.keys() - there.keys())]
    return missing + [
        Item(name, file, (known.get(name) or {}).get("label") or None, SPLITS.get((known.get(name) or {}).get("split") or ""))
        for name, file in there.items()
    ]


def _parquet(path: Path) -> Source:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"ingestion.path: {path} holds no .parquet files")
    try:
        tables = [pq.ParquetFile(file) for file in files]
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"ingestion.path: a file of {path} is not Parquet ({error})") from error

    def items() -> Iterator[Item]:
        for file, table in zip(files, tables, strict=True):
            image_column, label_column, names = _parquet_columns(file, table.schema_arrow)
            split = _split_in_name(file.stem)
            number = 0
            for batch in table.iter_batches(256, columns=[image_column, *([label_column] if label_column else [])]):
                for row in batch.to_pylist():
                    image = row[image_column] or {}
                    content = image.get("bytes") or (file.parent / image["path"] if image.get("path") else None)
                    label = row[label_column] if label_column else None
                    label = _class_name(label, names) if isinstance(label, int) else label
                    yield Item(f"{file.name}/{number}", content, label, split)
                    number += 1

    return Source(items(), sum(table.metadata.num_rows for table in tables))


def _parquet_columns(file: Path, schema) -> tuple[str, str | None, list[str] | None]:
    """The names of the image and the label column, and the names of the classes where the Hub's metadata have them."""
    import pyarrow as pa

    images = [f.name for f in schema if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    if not images:
        raise DataError(f"{file} has the columns {', '.join(schema.names)}, expected an image column of structs with `bytes`")
    label = "label" if "label" in schema.names else None
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return images[0], label, features.get(label, {}).get("names")


def _split_in_name(stem: str) -> str | None:
    return next((SPLITS[word] for word in re.split(r"[^a-z]+", stem.lower()) if word in SPLITS), None)


def _class_name(label: int | None, names: list[str] | None) -> str | None:
    if label is None or label == UNLABELLED:
        return None
    if label < 0 or (names and label >= len(names)):
        most = f"{len(names) - 1}, the last of the {len(names)} classes that the data name" if names else "any larger number"
        raise DataError(f"received the label {label}, expected {UNLABELLED} (no label) or 0 to {most}")
    return names[label] if names else str(label)
