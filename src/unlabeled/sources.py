"""Where images come from: each source is a stream of encoded images or arrays, with what is known of their labels."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unlabeled.config import Ingestion
from unlabeled.errors import DataError
from unlabeled.items import Item, Source, sample_of, spread_over
from unlabeled.layout import with_folder_names
from unlabeled.metadata import read_metadata, with_metadata
from unlabeled.parquet import class_name, holds_parquet, read_parquet
from unlabeled.walk import file_names, printable

TORCHVISION = {
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "fashion_mnist": "FashionMNIST",
    "stl10": "STL10",
    "svhn": "SVHN",
}
DOWNLOAD_TIMEOUT = 30
"""Seconds without a byte after which a download is given up; urllib waits for ever."""


def open_source(config: Ingestion) -> Source:
    """The source that `ingestion.source` names. Raises DataError where it is missing, empty or unreadable."""
    if config.source == "digits":
        return digits()
    path = Path(config.path or "data/01_raw").expanduser()
    if config.source == "torchvision" and not (config.path and holds_parquet(path)):
        return _torchvision(config.dataset, path)
    if not path.exists():
        raise DataError(f"ingestion.path: {path} does not exist")
    return image_folder(path) if config.source == "image_folder" else read_parquet(path)


def digits() -> Source:
    """scikit-learn's 1,797 handwritten digits, uint8 (8, 8) with the labels 0 to 9."""
    from sklearn.datasets import load_digits  # a second to import

    data = load_digits()
    images = (data.images * (255 / 16)).round().astype(np.uint8)
    items = [Item(f"digits/{i}", image, str(data.target[i])) for i, image in enumerate(images)]
    return Source(iter(items), len(items), sample=partial(sample_of, items))


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
                path = f"{name}/{split}/{i}"
                yield Item(path, _picture(image), class_name(int(label), names, path), split)

    def sample(count: int) -> list[Item]:
        shares = [count // len(parts)] * len(parts)
        return [
            Item(f"{name}/{split}/{i}", _picture(part.data[i]))
            for (split, part), share in zip(parts.items(), shares, strict=True)
            for i in spread_over(len(part), share)
        ]

    return Source(items(), sum(map(len, parts.values())), sample=sample)


def _picture(image: Any) -> np.ndarray:
    """(H, W) or (H, W, C), of what torchvision keeps as an array or a tensor, perhaps with its channels first."""
    image = np.asarray(image)
    return image.transpose(1, 2, 0) if image.ndim == 3 and image.shape[0] == 3 else image


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

    def sample(count: int) -> list[Item]:
        return [Item(printable(name), root / name) for name in sample_of(names, count)]

    if rows is None:
        return Source(with_folder_names(root, names), len(names), sample=sample)
    return Source(with_metadata(root, names, rows, label), len(rows.keys() | set(names)), sample=sample)
