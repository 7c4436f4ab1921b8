"""Splits and classes of files by the names of their folders.

Only folders that hold data count, and a folder that holds nothing but one other is seen through:

    cat/1.png                          classes
    train/cat/1.png  test/cat/2.png    splits, then classes
    cat/train/1.png  cat/test/2.png    classes, then splits
    images/1.png  masks/1.png          neither: masks describe images
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from unlabeled.ingestion.endings import words
from unlabeled.ingestion.items import Item, Understood
from unlabeled.ingestion.walk import LeftOut, printable
from unlabeled.runtime.legible import legible

SPLITS = (
    {"train": "train", "training": "train", "test": "test"}
    | dict.fromkeys(("val", "valid", "validation"), "validation")
    | {"trainval": "train", "dev": "validation", "testing": "test", "eval": "test", "evaluation": "test"}
)
"""Words for splits, following the Hugging Face Hub (huggingface.co/docs/hub/datasets-file-names-and-splits)."""
CONTENTS = words(
    "image images img imgs photo photos picture pictures pic pics jpg jpgs jpeg jpegs png pngs jpegimages leftimg8bit "
    "data dataset file files sample samples raw all video videos clip clips text texts doc docs document documents"
)
"""Words for the contents of a folder, which are not names of classes where they stand alone."""
UNLABELLED = words("unlabeled unlabelled unlabel unsup unsupervised nolabel nolabels")
EXTRA = words("extra extras additional")
"""Words for folders beside splits that are not ordinary classes."""
MASKS = words(
    "mask masks label labels annotation annotations annots anno trimap trimaps segmentation segmentations "
    "segmentationclass segmentationobject groundtruth ground truth gt gtfine gtcoarse bbox bboxes depth"
)
"""Words for pictures that describe other pictures."""
MAX_LISTED_FOLDERS = 5
"""Largest number of folders that a warning names."""


def _either(words: Iterable[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_SPLIT = re.compile(
    rf"(?:{_either(CONTENTS)}|seg|set)?({_either(SPLITS)})(?:{_either(CONTENTS)}|split|sets?)?\d{{0,4}}"
)


def split_named(name: str) -> str | None:
    """The split that a folder's name stands for, as `val`, `Training_Set`, `test images` and `train2017` do."""
    matched = _SPLIT.fullmatch(_plain(name))
    return SPLITS[matched[1]] if matched else None


def split_in_name(name: str) -> str | None:
    """The split that a path names, as in `train-00000-of-00002.parquet` and `default/train/0000.parquet`."""
    return next((SPLITS[word] for word in reversed(re.split(r"[^a-z]+", name.lower())) if word in SPLITS), None)


def splits_in_names(names: Iterable[str]) -> dict[str, str]:
    """The splits that paths name, and where."""
    official: dict[str, str] = {}
    for name in names:
        if split := split_in_name(name):
            official[split] = f"{official[split]}, {name}" if split in official else name
    return official


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


def _says(name: str, words: frozenset[str]) -> bool:
    """Whether a name consists of some of these words, and perhaps words for splits and contents."""
    parts = {part for part in re.split(r"[\W\d_]+", name.lower()) if part}
    return bool(parts & words) and parts <= words | SPLITS.keys() | CONTENTS


@dataclass(eq=False)
class Folder:
    """A folder with data in or below it: its number of files, and its subfolders by name."""

    path: str = ""
    files: int = 0
    folders: dict[str, "Folder"] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def walk(self) -> Iterator["Folder"]:
        yield self
        for each in self.folders.values():
            yield from each.walk()


class Place(NamedTuple):
    """Class and split of the files in a folder, None where unknown; or the reason why they are left out."""

    label: str | None = None
    split: str | None = None
    left_out: str | None = None


@dataclass
class Layout:
    """Interpretation of the folders of a source.

    Attributes:
        places: Place of each folder that holds files itself, by its path.
        official: Folders of each official split.
        warnings: Sentences on what may have been misunderstood.
    """

    places: dict[str, Place] = field(default_factory=dict)
    official: dict[str, list[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def place_of(self, name: str) -> Place:
        return self.places[_parent(name)]

    def understood(self, left_out: LeftOut) -> Understood:
        official = {split: ", ".join(folders) for split, folders in self.official.items()}
        return Understood(official, left_out, self.warnings)

    def without_left_out(self, names: Sequence[str], left_out: LeftOut) -> list[str]:
        """The names of files that are data; the others are added to `left_out`."""
        kept = []
        for name in names:
            if reason := self.place_of(name).left_out:
                left_out.add(reason, [name])
            else:
                kept.append(name)
        return kept


def with_folder_names(root: Path, names: Sequence[str], layout: Layout) -> Iterator[Item]:
    """Items of named files below a folder, each with the class and the split of its folder."""
    for name in names:
        place = layout.place_of(name)
        yield Item(printable(name), root / name, place.label, place.split)


def read_layout(names: Sequence[str], unit: str = "images", strays: bool = True) -> Layout:
    """Interprets the folders of files.

    Args:
        names: Names of the files, relative to the root.
        unit: Name of the files in the plural.
        strays: Whether a file beside the folders of splits, or beside those of a split's classes, is data.
    """
    counts: dict[str, int] = {}
    for name in names:
        parent = _parent(name)
        counts[parent] = counts.get(parent, 0) + 1
    reader = _Reader(unit, strays)
    reader.read_tree(_tree(counts))
    return reader.layout


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _tree(counts: dict[str, int]) -> Folder:
    root = Folder()
    for path in sorted(counts):
        folder = root
        for name in path.split("/") if path else ():
            folder = folder.folders.setdefault(name, Folder(f"{folder.path}/{name}".removeprefix("/")))
        folder.files = counts[path]
    return root


def _splits_among(folder: Folder) -> dict[str, str]:
    """The subfolders that are splits, by name; none where folders with such names are classes."""
    named = {name: split for name in folder.folders if (split := split_named(name))}
    if len(set(named.values())) > 1:
        return named
    others = [each for name, each in folder.folders.items() if name not in named and not _is_aside(name)]
    if len(set(map(_plain, named))) != 1:
        return {}
    return named if not others or _is_split_beside(folder.folders[next(iter(named))], others) else {}


def _is_split_beside(folder: Folder, others: list[Folder]) -> bool:
    """Whether a folder named like a split is a split rather than a class, though no other split is beside it."""
    within = _within(folder)
    if len(within.folders) < 2 or within.files or any(each.folders for each in others):
        return False
    return len(others) == 1 or {each.name for each in others} <= within.folders.keys()


def _is_aside(name: str) -> bool:
    return _plain(name) in CONTENTS | EXTRA


def _within(split: Folder) -> Folder:
    """The folder in a split that holds its classes or files: train, train/images, or train/train."""
    while not split.files and len(split.folders) == 1:
        (only,) = split.folders.values()
        repeats = split_named(only.name) and split_named(only.name) == split_named(split.name)
        if not repeats and _plain(only.name) not in CONTENTS:
            break
        split = only
    return split


def _seen_through(folder: Folder) -> Folder:
    """The first folder that is more than a wrapper of another one."""
    while not folder.files and len(folder.folders) == 1:
        (only,) = folder.folders.values()
        is_class = (only.files or not only.folders) and _plain(only.name) not in CONTENTS
        if not _splits_among(only) and (is_class or split_named(only.name)):
            break
        folder = only
    return folder


def _holds_splits(folder: Folder) -> bool:
    """Whether a folder is a data set with splits of its own."""
    inner = _seen_through(folder)
    return len(set(_splits_among(inner).values())) > 1


def _is_flat(folder: Folder) -> bool:
    """Whether a folder's splits hold only files, and no folders."""
    inner = _seen_through(folder)
    return not any(_within(inner.folders[name]).folders for name in _splits_among(inner))


def _taken_out(folder: Folder, is_out: Callable[[Folder, str], bool]) -> Iterator[Folder]:
    """Removes folders from a tree, and folders that become empty by it; yields those that are removed.

    Args:
        is_out: Whether to take out the folder of this name in this folder.
    """
    for name in [name for name in folder.folders if is_out(folder, name)]:
        yield folder.folders.pop(name)
    for each in folder.folders.values():
        yield from _taken_out(each, is_out)
    folder.folders = {name: each for name, each in folder.folders.items() if each.files or each.folders}


def _count(*folders: Folder) -> int:
    return sum(each.files for folder in folders for each in folder.walk())


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(legible(name) for name in names[:MAX_LISTED_FOLDERS]) + ", …" * (len(names) > MAX_LISTED_FOLDERS)


class _Reader:
    """Reads a tree of folders from its top."""

    def __init__(self, unit: str, strays: bool):
        self.unit, self.strays = unit, strays
        self.layout = Layout()
        self.classes: set[str] = set()
        """Classes of the official splits."""

    def read_tree(self, root: Folder) -> None:
        self._take_out_masks(root)
        unlabelled = list(_taken_out(root, lambda folder, name: _says(name, UNLABELLED)))
        self._read(root)
        for folder in unlabelled:
            self._place(folder, None, self._split_around(folder))
        self._warn_of_like_classes()

    def _take_out_masks(self, root: Folder) -> None:
        def describes(folder: Folder, name: str) -> bool:
            return _says(name, MASKS) and any(
                split_named(each.name) or _plain(each.name) in CONTENTS or _holds_splits(each)
                for each in folder.folders.values()
                if not _says(each.name, MASKS)
            )

        for folder in _taken_out(root, describes):
            for each in folder.walk():
                self.layout.places[each.path] = Place(left_out=f"masks and annotations beside {self.unit}")

    def _read(self, folder: Folder) -> None:
        top = _seen_through(folder)
        within = [each for each in top.folders.values() if _holds_splits(each)]
        if splits := _splits_among(top):
            self._read_splits(top, splits)
        elif len(within) > 1 and all(map(_is_flat, within)):
            self._read_class_first(top, within)
        elif within:
            for each in within:
                self._read(each)
            self._keep_the_rest(top, within)
        else:
            self._warn_of_classes_named_as_splits(top)
            self._read_classes(top, None)

    def _read_splits(self, top: Folder, splits: dict[str, str]) -> None:
        for name, split in splits.items():
            part = top.folders[name]
            self._is_official(split, f"{part.path}/")
            self.classes |= self._read_classes(_within(part), split)
        known = [top.folders[name] for name in splits]
        own = [each for each in top.folders.values() if each not in known and _holds_splits(each)]
        for each in own:
            self.layout.warnings.append(
                f"{legible(each.path)}/ lies beside splits and holds splits of its own: both are read, and what is "
                f"there twice counts twice; remove one of them if they are copies"
            )
            self._read(each)
        self._keep_the_rest(top, [*known, *own])

    def _read_classes(self, folder: Folder, split: str | None) -> set[str]:
        """Places the files of a folder of classes, and returns the classes' names."""
        classes = set()
        alone = len(folder.folders) == 1
        for each in folder.folders.values():
            if alone and _plain(each.name) in CONTENTS:
                classes |= self._read_classes(each, split)
            else:
                self._place(each, each.name, split)
                classes.add(each.name)
        self._place_files(folder, split, stray=bool(split and classes))
        return classes

    def _read_class_first(self, top: Folder, within: list[Folder]) -> None:
        for each in within:
            inner = _seen_through(each)
            splits = _splits_among(inner)
            for part in inner.folders.values():
                split = splits.get(part.name, "train")
                if part.name in splits:
                    self._is_official(split, f"*/{part.name}/")
                self._place(part, each.name, split)
            self._place_files(inner, "train", stray=False, label=each.name)
            self.classes.add(each.name)
        known = set(within)
        for each in (each for each in top.folders.values() if each not in known):
            self._place(each, each.name, "train")
            self.layout.warnings.append(
                f"{legible(each.path)}/ has no splits where the classes beside it have: it is kept for training"
            )
        self._place_files(top, "train", stray=True)

    def _keep_the_rest(self, top: Folder, known: list[Folder]) -> None:
        """Assigns everything beside splits to training; a folder with the name of one of their classes gives that
        label."""
        others = [each for each in top.folders.values() if each not in known]
        classes = [each for each in others if each.name in self.classes]
        for each in classes:
            self._place(each, each.name, "train")
        if classes:
            self.layout.warnings.append(
                f"{_listed(f'{each.path}/' for each in classes)} beside splits are called as their classes: their "
                f"{self.unit} ({_count(*classes):,}) are kept for training, with that label"
            )
        for each in others:
            if each not in classes:
                self._keep_left_over(each)
        if top.files and self.strays:
            self.layout.warnings.append(
                f"{self.unit} beside the folders of splits ({top.files:,}) are kept for training, without a label"
            )
        self._place_files(top, "train", stray=True)

    def _keep_left_over(self, folder: Folder) -> None:
        inner = _within(folder)
        self._place_files(inner, "train", stray=False)
        for part in inner.folders.values():
            self._place(part, part.name if part.name in self.classes else None, "train")
        labelled = sorted(inner.folders.keys() & self.classes)
        labels = f"those in {_listed(labelled)} with that label" if labelled else "without a label"
        self.layout.warnings.append(
            f"{legible(folder.path)}/ is none of the splits beside it: its {self.unit} ({_count(folder):,}) are kept "
            f"for training, {labels}"
        )

    def _place(self, folder: Folder, label: str | None, split: str | None) -> None:
        """Places all files in and below a folder."""
        label = label and unicodedata.normalize("NFC", printable(label))
        for each in folder.walk():
            self.layout.places[each.path] = Place(label, split)

    def _place_files(self, folder: Folder, split: str | None, stray: bool, label: str | None = None) -> None:
        """Places the files directly in a folder; `stray`: whether they are beside folders of splits or classes."""
        left_out = "beside the folders of splits and classes" if stray and not self.strays else None
        self.layout.places[folder.path] = Place(label, split, left_out)

    def _is_official(self, split: str, folder: str) -> None:
        folders = self.layout.official.setdefault(split, [])
        if legible(folder) not in folders:
            folders.append(legible(folder))

    def _split_around(self, folder: Folder) -> str | None:
        """The official split that a folder is in; train, if it is beside splits; None where there are none."""
        for split, folders in self.layout.official.items():
            if any(legible(folder.path).startswith(each) for each in folders):
                return split
        if not self.layout.official:
            return None
        self._is_official("train", f"{folder.path}/")
        return "train"

    def _warn_of_classes_named_as_splits(self, top: Folder) -> None:
        named = [f"{name}/" for name in top.folders if split_named(name)]
        others = [f"{name}/" for name in top.folders if f"{name}/" not in named]
        beside = f"{_listed(named)} beside {_listed(others)}" if others else _listed(named)
        what = "a class, not for a split: if it is one" if len(named) == 1 else "classes, not for splits: if they are"
        if named:
            self.layout.warnings.append(
                f"{beside} {'is' if len(named) == 1 else 'are'} taken for {what}, name the splits in a metadata.csv "
                f"(file_name,label,split)"
            )

    def _warn_of_like_classes(self) -> None:
        spelt: dict[str, set[str]] = {}
        for place in self.layout.places.values():
            if place.label:
                spelt.setdefault(place.label.strip().casefold(), set()).add(place.label)
        for names in spelt.values():
            if len(names) > 1:
                self.layout.warnings.append(
                    f"{_listed(repr(name) for name in sorted(names))} are taken for different classes: rename their "
                    f"folders if they are the same"
                )
