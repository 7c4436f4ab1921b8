"""What the names of folders and files say: which split and which class an image is of."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from unlabeled.items import Item
from unlabeled.walk import printable

SPLITS = {"train": "train", "training": "train", "test": "test"} | dict.fromkeys(
    ("val", "valid", "validation"), "validation"
)


def with_folder_names(root: Path, names: list[str]) -> Iterator[Item]:
    first = {name.split("/")[0].lower() if "/" in name else None for name in names}
    by_split = first <= SPLITS.keys()
    official = official_splits(SPLITS[folder] for folder in first) if by_split else {}
    for name in names:
        folders = name.split("/")[:-1]
        split = official.get(SPLITS[folders.pop(0).lower()]) if by_split else None
        yield Item(printable(name), root / name, printable(folders[0]) if folders else None, split)


def official_splits(splits: Iterable[str | None]) -> dict[str, str]:
    """The splits to keep as they are. Without a test split `train` is not among them: a test is cut from it."""
    found = {split: split for split in splits if split}
    return found if "test" in found else {split: split for split in found if split != "train"}


def split_in_name(name: str) -> str | None:
    """The split that a path names, as in `train-00000-of-00002.parquet` and `default/train/0000.parquet`."""
    return next((SPLITS[word] for word in reversed(re.split(r"[^a-z]+", name.lower())) if word in SPLITS), None)
