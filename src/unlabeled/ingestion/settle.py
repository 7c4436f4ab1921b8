"""Classes, splits and limits of damage of an ingestion, decided once all rows are known."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from unlabeled.errors import DataError
from unlabeled.ingestion.groups import contents
from unlabeled.runtime.counts import counted
from unlabeled.storage.arrays import replace_file
from unlabeled.storage.spreadsheet import write_csv


def check_quarantine(
    quarantine: pd.DataFrame, total: int, max_quarantined: float, folder: Path, unit: str = "image"
) -> None:
    """Raises DataError, and leaves `quarantine.csv`, where more of the source is damaged than is allowed."""
    if len(quarantine) <= max_quarantined * total:
        return
    path = folder / "quarantine.csv"
    replace_file(path, lambda partial: write_csv(quarantine, partial))
    first = quarantine.iloc[0]
    raise DataError(
        f"{len(quarantine)} of {counted(total, f'{unit}s')} cannot be used (the first, {first.path}: {first.reason}), "
        f"more than ingestion.max_quarantined={max_quarantined:g} allows: see {path}"
    )


def settle(manifest: pd.DataFrame, rare_labels: str, unit: str = "image") -> tuple[pd.DataFrame, list[str]]:
    """Numbers the classes, keeps copies of test images out of training, and raises DataError where too little is left.

    Args:
        manifest: Table with the columns sha256, label and split, and checksum where pixels are stored.
        rare_labels: Value of `ingestion.rare_labels`.
        unit: Name of a row in messages.

    Returns:
        The manifest with the column target, and the names of the classes.

    Raises:
        DataError: Fewer than two different rows, none of them to train on, or a class with a single one.
    """
    if len(manifest) < 2:
        raise DataError(f"found {len(manifest) or 'no'} {unit}, and needs two at least to learn what tells them apart")
    content = contents(manifest)
    if content.nunique() < 2:
        raise DataError(
            f"found {len(manifest)} files, all of one {unit}, and needs two different {unit}s at least to learn what "
            f"tells them apart"
        )
    for held_out, others in (("test", ["train", "validation"]), ("validation", ["train"])):
        copies = content.isin(content[manifest.split == held_out])
        manifest.loc[copies & manifest.split.isin(others), "split"] = "excluded"
    counts = manifest.label.value_counts()
    rare = sorted(counts.index[counts < 2])
    if rare and rare_labels == "refuse":
        raise DataError(
            f"the class {rare[0]!r} has one {unit}, and needs two to be learned and tested: add {unit}s, or keep such "
            f"{unit}s without their label with ingestion.rare_labels=drop"
        )
    manifest.loc[manifest.label.isin(rare), "label"] = None
    classes = sorted(manifest.label.dropna().unique(), key=_naturally)
    numbers = {label: number for number, label in enumerate(classes)}
    manifest["target"] = manifest.label.map(numbers).fillna(-1).astype(np.int64)
    if not (manifest.split == "train").any():
        raise DataError(
            f"none of the {len(manifest)} {unit}s falls into the train split: add {unit}s to train on, or lower "
            f"ingestion.test_fraction and ingestion.validation_fraction"
        )
    return manifest, classes


def _naturally(label: str) -> list[tuple[int, int | str]]:
    """Key that sorts names naturally: 2 before 10."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", label) if part]
