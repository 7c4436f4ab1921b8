"""Where images come from: each source is a stream of encoded images or arrays, with what is known of their labels."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from unlabeled.columns import class_name, is_none
from unlabeled.config import Ingestion
from unlabeled.errors import DataError
from unlabeled.items import Item, Source, Understood
from unlabeled.layout import read_layout
from unlabeled.metadata import (
    Metadata,
    labels_by_folder,
    metadata_among,
    official_with_metadata,
    read_metadata,
    tell_labels,
    tell_unread,
    with_metadata,
)
from unlabeled.parquet import holds_parquet, read_parquet
from unlabeled.walk import IMAGES, Found, find_files

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
    source = _open(config)
    return without_labels(source) if is_none(config.label) else source


def without_labels(source: Source) -> Source:
    return replace(source, items=(replace(item, label=None) for item in source.items))


def _open(config: Ingestion) -> Source:
    if config.source == "digits":
        return digits()
    path = Path(config.path or "data/01_raw").expanduser()
    if config.source == "torchvision" and not (config.path and holds_parquet(path)):
        return _torchvision(config.dataset, path)
    if not path.exists():
        raise DataError(f"ingestion.path: {path} does not exist")
    if config.source == "image_folder":
        return image_folder(path, config.label)
    return read_parquet(path, config.label, config.image)


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
                yield Item(path, image, class_name(int(label), names, path), split)

    official = {split: f"{name}'s {split}" for split in parts}
    return Source(items(), sum(map(len, parts.values())), Understood(official))


@contextmanager
def _download_timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def image_folder(root: Path, label: str | None = None) -> Source:
    """The images of a folder, in the order of their names. Raises DataError where there are none.

    Args:
        label: As `ingestion.label`.
    """
    found = find_files(root, "ingestion.path")
    return named_items(root, found, found.names, IMAGES.name, label=label)


def named_items(
    root: Path, found: Found, names: Sequence[str], unit: str, label: str | None = None, expected: str = ""
) -> Source:
    """What has these names below a folder, with the labels and splits of its metadata, else of its folders' names.

    Args:
        found: All that is below the folder.
        unit: What they are, in the plural.
        label: As `ingestion.label`.
        expected: What they would be, for the DataError that is raised where there are none; empty: the unit.
    """
    metadata = read_metadata(root, metadata_among(root, found), [*names, *found.others], label)
    return items_of(root, found, names, metadata, unit, label, expected)


def items_of(
    root: Path,
    found: Found,
    names: Sequence[str],
    metadata: Metadata,
    unit: str,
    label: str | None,
    expected: str = "",
) -> Source:
    """As `named_items`, with metadata that have been read."""
    left_out = found.left_out
    if not names and not metadata.rows:
        raise DataError(
            f"ingestion.path: {root} holds no {expected or unit}{f'; {left_out}' if left_out.counts else ''}"
        )
    listed = metadata.rows.keys() & {*names, *found.others}  # which is wanted, whatever it is called
    names = sorted({*names, *listed})
    layout = read_layout(names, unit)
    kept = layout.without_left_out([name for name in names if name not in listed], left_out)
    names = sorted([*kept, *listed])
    by_folder = labels_by_folder(metadata, layout, label)
    tell_labels(metadata, names, layout.classes, by_folder, is_none(label))
    if not is_none(label) and not (layout.classes if by_folder else metadata.column):
        tell_unread(root, found.others, names)
    official = official_with_metadata(root, names, metadata, layout)
    items = with_metadata(root, names, metadata, layout, by_folder)
    warnings = layout.warnings if by_folder else []
    return Source(items, len(names) + len(metadata.missing), Understood(official, left_out, warnings))
