"""Sources of images: each is a stream of encoded images or arrays, with the labels that are known."""

import os
import socket
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unlabeled.config import Ingestion, column_of
from unlabeled.errors import DataError
from unlabeled.ingestion.columns import class_name, is_none
from unlabeled.ingestion.items import Item, Source, Understood, sample_of, spread_over
from unlabeled.ingestion.layout import read_layout, with_folder_names
from unlabeled.ingestion.metadata import Metadata, read_metadata, unread_labels, with_metadata
from unlabeled.ingestion.parquet import find_parquet, holds_parquet, read_parquet
from unlabeled.ingestion.walk import IMAGES, Found, below, find_files

TORCHVISION = {
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "fashion_mnist": "FashionMNIST",
    "stl10": "STL10",
    "svhn": "SVHN",
}
PHOTOGRAPHS = {
    "imagenette": ("Imagenette", {"train": {"split": "train"}, "test": {"split": "val"}}),
    "oxford_iiit_pet": ("OxfordIIITPet", {"train": {"split": "trainval"}, "test": {"split": "test"}}),
    "flowers102": (
        "Flowers102",
        {"train": {"split": "train"}, "validation": {"split": "val"}, "test": {"split": "test"}},
    ),
    "food101": ("Food101", {"train": {"split": "train"}, "test": {"split": "test"}}),
    "eurosat": ("EuroSAT", {None: {}}),
}
"""torchvision's data sets that are files: their class, and its arguments by our split. Imagenette's `val`, on which its
accuracies are reported, is the test split. None: splits are drawn."""
DOWNLOAD_TIMEOUT = 30
"""Seconds without data after which a download is aborted; urllib itself would wait for ever."""


def open_source(config: Ingestion) -> Source:
    """Opens the source that `ingestion.source` names. Raises DataError where it is missing, empty or unreadable."""
    source = _open(config)
    return without_labels(source) if is_none(config.label) else source


def without_labels(source: Source) -> Source:
    return replace(source, items=(replace(item, label=None) for item in source.items))


def _open(config: Ingestion) -> Source:
    if config.source == "digits":
        return digits()
    path = Path(str(config.place)).expanduser()
    if config.source == "image_folder":
        return image_folder(path, config.label, config.group)
    files = find_parquet(path)
    if config.source == "torchvision" and not holds_parquet(files):
        read = _photographs if config.dataset in PHOTOGRAPHS else _torchvision
        return read(config.dataset, path)
    if not path.exists():
        raise DataError(f"ingestion.path: {path} does not exist")
    return read_parquet(files, config.label, config.image, config.group)


def digits() -> Source:
    """scikit-learn's 1,797 handwritten digits, uint8 (8, 8) with the labels 0 to 9."""
    from sklearn.datasets import load_digits  # a second to import

    data = load_digits()
    images = (data.images * (255 / 16)).round().astype(np.uint8)
    items = [Item(f"digits/{i}", image, str(data.target[i])) for i, image in enumerate(images)]
    return Source(iter(items), len(items), sample=partial(sample_of, items))


def _torchvision(name: str, path: Path) -> Source:
    from torchvision import datasets  # seconds to import

    folder, kind = _folder_of(name, path), getattr(datasets, TORCHVISION[name])
    splits = {"train": {"train": True}, "test": {"train": False}}
    if name == "svhn":
        splits = {"train": {"split": "train"}, "test": {"split": "test"}}
    elif name == "stl10":
        splits = {"train": {"split": "train+unlabeled"}, "test": {"split": "test"}}
    parts = _downloaded(name, kind, folder, splits)

    def items() -> Iterator[Item]:
        for split, part in parts.items():
            names = getattr(part, "classes", None)
            labels = np.asarray(part.targets if hasattr(part, "targets") else part.labels)
            for i, (image, label) in enumerate(zip(part.data, labels, strict=True)):
                path = f"{name}/{split}/{i}"
                yield Item(path, _picture(image), class_name(int(label), names, path), split)

    official = {split: f"{name}'s {split}" for split in parts}

    def sample(count: int) -> list[Item]:
        shares = [count // len(parts)] * len(parts)
        return [
            Item(f"{name}/{split}/{i}", _picture(part.data[i]))
            for (split, part), share in zip(parts.items(), shares, strict=True)
            for i in spread_over(len(part), share)
        ]

    return Source(items(), sum(map(len, parts.values())), Understood(official), sample=sample)


def _photographs(name: str, path: Path) -> Source:
    """The files of a data set of torchvision, which its class finds and we decode."""
    from torchvision import datasets  # seconds to import

    kind, splits = PHOTOGRAPHS[name]
    folder = path if path.name == name else path / name
    parts = _downloaded(name, getattr(datasets, kind), folder, splits)
    items = [
        _listed(folder, file, class_name(label, _classes(part), str(file)), split)
        for split, part in parts.items()
        for file, label in _files(part)
    ]
    official = {split: f"{name}'s {options['split']}" for split, options in splits.items() if split}
    return Source(iter(items), len(items), Understood(official), sample=partial(sample_of, items))


def _listed(folder: Path, file: Path, label: str | None, split: str | None) -> Item:
    """A file that a list of torchvision names; one outside of the folder is not read."""
    inside = below(folder, file)
    reason = None if inside else "listed, but outside of the folder"
    return Item(os.path.relpath(file, folder), inside, label, split, reason=reason)


def _files(part: Any) -> list[tuple[Path, int]]:
    """Files and labels of one of PHOTOGRAPHS, which torchvision keeps under different names."""
    pairs = getattr(part, "samples", None) or getattr(part, "_samples", None)
    if pairs is None:
        files = part._images if hasattr(part, "_images") else part._image_files
        pairs = zip(files, part._labels, strict=True)
    return [(Path(file), int(label)) for file, label in pairs]


def _classes(part: Any) -> list[str]:
    """Names of classes; Imagenette has several for each."""
    return [each if isinstance(each, str) else each[0] for each in part.classes]


def _folder_of(name: str, path: Path) -> Path:
    within = path / name  # the path names this folder or its parent
    return path if path.name == name and not within.exists() else within


def _downloaded(name: str, kind: Callable[..., Any], folder: Path, splits: Mapping[Any, dict]) -> dict[Any, Any]:
    """torchvision's data set for each split, downloaded where it is not there. Raises DataError where that fails."""
    try:
        with _download_timeout():
            return {split: kind(folder, download=True, **options) for split, options in splits.items()}
    except Exception as error:  # urllib, ssl, tarfile and torchvision's own
        raise DataError(
            f"{name} could not be downloaded to {folder} ({' '.join(str(error).split())}): put torchvision's files "
            f"there, or read the images from Parquet with ingestion.source=parquet and ingestion.path"
        ) from error


def _picture(image: Any) -> np.ndarray:
    """An image of torchvision, an array or a tensor perhaps with channels first, as (H, W) or (H, W, C)."""
    image = np.asarray(image)
    return image.transpose(1, 2, 0) if image.ndim == 3 and image.shape[0] == 3 else image


@contextmanager
def _download_timeout() -> Generator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def image_folder(root: Path, label: str | None = None, group: str | None = None) -> Source:
    """The images of a folder, in the order of their names. Raises DataError where there are none.

    Args:
        label, group: Values of `ingestion.label` and `ingestion.group`.
    """
    return named_items(root, find_files(root, "ingestion.path"), IMAGES.name, label=label, group=group)


def named_items(
    root: Path, found: Found, unit: str, expected: str = "", label: str | None = None, group: str | None = None
) -> Source:
    """Items for the files found below a folder, with labels and splits from its metadata, else from its folders' names.

    Args:
        unit: Name of the data in the plural.
        expected: Description of usable data, for the DataError that is raised where there are none.
        label, group: Values of `ingestion.label` and `ingestion.group`.
    """
    metadata = read_metadata(root, found, label, group=column_of(group))
    source = described_items(root, found, metadata, unit, expected, label)
    if metadata.question in source.understood.warnings:
        raise DataError(metadata.question)
    return source


def described_items(
    root: Path, found: Found, metadata: Metadata, unit: str, expected: str = "", label: str | None = None
) -> Source:
    """Items as of `named_items`, with metadata that have been read; a question that these leave becomes a warning."""
    left_out = found.left_out
    if not found.names and not metadata.rows:
        raise DataError(
            f"ingestion.path: {root} holds no {expected or unit}{f'; {left_out}' if left_out.counts else ''}"
        )
    listed = metadata.rows.keys() - metadata.missing.keys()  # files that metadata list are wanted, whatever their names
    layout = read_layout(sorted(listed.union(found.names)), unit)
    others = [name for name in found.names if name not in listed]
    names = sorted(listed.union(layout.without_left_out(others, left_out)))
    items, warnings = with_metadata(list(with_folder_names(root, names, layout)), names, metadata, label)
    if not is_none(label) and not any(item.label for item in items):
        warnings += unread_labels(found)
    folders, splits = layout.understood(left_out), {item.split for item in items}
    official = {split: said for split, said in {**folders.official, **metadata.official}.items() if split in splits}
    warnings += [] if metadata.column else folders.warnings
    return Source(iter(items), len(items), Understood(official, left_out, warnings), sample=partial(sample_of, items))
