"""Labels and splits that a metadata.csv gives to the files beside it."""

import csv
import logging
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from unlabeled.errors import DataError
from unlabeled.items import Item
from unlabeled.layout import SPLITS
from unlabeled.walk import printable

logger = logging.getLogger(__name__)


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


def with_metadata(root: Path, names: list[str], rows: dict[str, dict[str, str]], column: str | None) -> Iterator[Item]:
    if column and column not in next(iter(rows.values()), {column: None}):
        logger.warning("%s has no column %s: what it names is without labels", root / "metadata.csv", column)
    for name in sorted(rows.keys() - set(names)):
        yield Item(name, None)
    for name in names:
        row = rows.get(name, {})
        yield Item(printable(name), root / name, row.get(column) or None, split_of_row(row))


def split_of_row(row: dict[str, str]) -> str | None:
    return SPLITS.get((row.get("split") or "").lower())
