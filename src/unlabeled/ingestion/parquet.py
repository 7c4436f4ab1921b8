"""Images in Parquet files, as the Hugging Face Hub lays them out."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unlabeled.config import column_of
from unlabeled.errors import DataError
from unlabeled.ingestion.columns import find_groups, find_labels, find_splits, group_in, is_none, split_of, tell_columns
from unlabeled.ingestion.items import Item, Source, Understood, spread_over
from unlabeled.ingestion.layout import split_in_name, splits_in_names
from unlabeled.ingestion.tables import Table, declared_beside, parquet_table, readable, some_rows
from unlabeled.ingestion.walk import MAX_FILE_BYTES, below, find_files

IMAGE = "image"
"""Column of images that is read where there are several."""
ROWS_IN_MEMORY = 64
"""Rows of a Parquet file in memory at a time, where they are small."""


class ParquetFiles(NamedTuple):
    """Parquet files that may hold images.

    Attributes:
        root: Folder that the names are relative to.
        names: Names of the files, in order.
        metadata: Names of files beside them that describe others.
    """

    root: Path
    names: list[str]
    metadata: list[str]


def find_parquet(path: Path) -> ParquetFiles:
    """Finds a file of any name, or all in a folder; files that only describe others are taken where there are no
    others."""
    if not path.is_dir():
        return ParquetFiles(path.parent, [path.name], [])
    found = find_files(path, "ingestion.path")
    names = sorted(name for name in (*found.names, *found.others) if _is_parquet(name))
    return ParquetFiles(path, names or [name for name in found.metadata if _is_parquet(name)], found.metadata)


def holds_parquet(files: ParquetFiles) -> bool:
    return any(map(_is_parquet, files.names))


def holds_images(files: ParquetFiles) -> bool:
    """Whether there are Parquet files, one of which has a column of images."""
    import pyarrow.parquet as pq

    if not holds_parquet(files):
        return False
    for name in files.names:
        with readable(files.root / name):
            if any(_holds_images(field.type) for field in pq.read_schema(files.root / name)):
                return True
    return False


def _is_parquet(name: str) -> bool:
    return name.lower().endswith(".parquet")


class Part(NamedTuple):
    """A Parquet file of images: its column of images, further columns of images, and all other columns."""

    images: str
    unread: list[str]
    table: Table


def read_parquet(
    files: ParquetFiles, label: str | None = None, image: str | None = None, group: str | None = None
) -> Source:
    """Opens the images of Parquet files as a source.

    Args:
        label, image, group: Values of `ingestion.label`, `ingestion.image` and `ingestion.group`.

    Raises:
        DataError: There are none, a file cannot be read, or the user has to choose a column.
    """
    root, parts = files.root, open_parquet(files, image)
    tables = [part.table for part in parts]
    groups = find_groups(tables, column_of(group))
    labels, splits = find_labels(tables, label, groups), find_splits(tables)
    if labels.question:
        raise DataError(labels.question)
    official = splits_in_names(table.name for table in tables)
    official |= dict.fromkeys(splits.found, f"the column {splits.column}")
    wanted = [column for column in (labels.column, splits.column, groups) if column]

    def items() -> Iterator[Item]:
        for number, part in enumerate(parts):
            for place, image, row in _rows(root, part, wanted):
                split = split_of(row.get(splits.column)) or split_in_name(part.table.name)
                about = labels.of(number, row), split, group_in(row, groups)
                yield _item(root, part, place, image, *about)

    warnings = tell_columns(tables, labels, splits) + _unread_images(parts)
    if not (labels.column or is_none(label)):
        warnings += _unread_metadata(files.metadata)
    total = sum(_count(root / table.name) for table in tables)
    return Source(items(), total, Understood(official, warnings=warnings), sample=partial(_sample, root, parts))


def open_parquet(files: ParquetFiles, image: str | None = None) -> list[Part]:
    """The files with their columns, in the order of their names.

    Args:
        image: Value of `ingestion.image`.

    Raises:
        DataError: There are none, or one has no column of images, or several that may be meant.
    """
    import pyarrow.parquet as pq

    root, parts = files.root, []
    if not files.names:
        raise DataError(f"ingestion.path: {root} holds no .parquet files")
    for name in files.names:
        with readable(root / name):
            schema = pq.read_schema(root / name)
        images = [field.name for field in schema if _holds_images(field.type)]
        column = _image_column(root / name, schema.names, images, image)
        table = parquet_table(root / name, name, images, declared_beside(root, schema.names))
        parts.append(Part(column, [each for each in images if each != column], table))
    return parts


def _sample(root: Path, parts: Sequence[Part], count: int) -> Iterator[Item]:
    """About `count` rows, spread over all files and row groups. The first row of a group is taken where there are
    enough groups; otherwise the rows of a group up to the last one wanted have to be read."""
    import pyarrow.parquet as pq

    groups = []
    for part in parts:
        with readable(root / part.table.name):
            metadata = pq.read_metadata(root / part.table.name)
        groups += [(part, group, metadata.row_group(group).num_rows) for group in range(metadata.num_row_groups)]
    ends = np.cumsum([rows for *_, rows in groups])
    chosen = spread_over(ends[-1] if groups else 0, count)
    for number, (part, group, rows) in enumerate(groups):
        within = chosen[(chosen >= ends[number] - rows) & (chosen < ends[number])] - (ends[number] - rows)
        if len(within):
            yield from _rows_of_group(root, part, group, within[:1] * 0 if len(groups) >= count else within)


def _rows_of_group(root: Path, part: Part, group: int, numbers: np.ndarray) -> Iterator[Item]:
    import pyarrow.parquet as pq

    file = root / part.table.name
    with readable(file), pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False) as table:
        first = 0
        for batch in some_rows(file, table, [part.images], ROWS_IN_MEMORY, [group]):
            here = numbers[(numbers >= first) & (numbers < first + len(batch))] - first
            for number in here:
                image = batch[part.images][number].as_py() or {}
                yield _item(root, part, part.table.name, image)
            first += len(batch)
            if first > numbers[-1]:
                break


def _unread_images(parts: Sequence[Part]) -> list[str]:
    unread = sorted({column for part in parts for column in part.unread})
    if not unread:
        return []
    return [
        f"of the columns of images {parts[0].images} is read, {', '.join(unread)} not: ingestion.image names another"
    ]


def _unread_metadata(names: list[str]) -> list[str]:
    return [f"{', '.join(names)} is not read: the labels of images in Parquet are one of its columns"] if names else []


def _count(file: Path) -> int:
    import pyarrow.parquet as pq

    return pq.read_metadata(file).num_rows


def _rows(root: Path, part: Part, others: Sequence[str]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yields the place, the image and the other columns of each row; columns that the file lacks are None."""
    import pyarrow.parquet as pq

    # Makes pyarrow read a page at a time; otherwise it reads a row group, which may be the whole file.
    name = part.table.name
    file = root / name
    with readable(file), pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False) as table:
        here = [column for column in others if column in table.schema_arrow.names]
        batches = some_rows(file, table, [part.images, *here], ROWS_IN_MEMORY)
        for number, row in enumerate(chain.from_iterable(batch.to_pylist() for batch in batches)):
            yield f"{name}/{number}", row.pop(part.images) or {}, dict.fromkeys(others) | row


def _item(
    root: Path,
    part: Part,
    place: str,
    image: dict[str, Any],
    label: str | None = None,
    split: str | None = None,
    group: str | None = None,
) -> Item:
    """The item of a row: its bytes, or the file that it names, beside the Parquet file or below the root."""
    content, listed = image.get("bytes"), image.get("path")
    if content and len(content) > MAX_FILE_BYTES:
        reason = f"too large: {len(content) / 1e6:,.0f} MB, and {MAX_FILE_BYTES / 1e6:,.0f} at most are read"
        return Item(place, None, label, split, group, reason)
    if content or not listed:
        return Item(place, content or None, label, split, group)
    name = listed.replace("\\", "/")
    named = [path for folder in (Path(part.table.name).parent, Path()) if (path := below(root, folder / name))]
    files = [path for path in named if os.path.isfile(path)]  # noqa: PTH113 - pathlib's raises for a name too long
    reason = None if named else f"it names a file outside of {root}: {listed[:200]}"
    return Item(place, files[0] if files else None, label, split, group, reason)


def _image_column(file: Path, columns: Sequence[str], images: Sequence[str], wanted: str | None) -> str:
    if not images:
        hint = ": for files that it names, set ingestion.source=image_folder" if "file_name" in columns else ""
        raise DataError(
            f"{file} has the columns {', '.join(columns)}, expected an image column of structs with binary `bytes`"
            f"{hint}"
        )
    if wanted and wanted not in images:
        raise DataError(
            f"ingestion.image: received {wanted!r}, expected one of {file}'s columns of images, {', '.join(images)}"
        )
    if wanted or len(images) == 1:
        return wanted or images[0]
    if IMAGE not in images:
        raise DataError(f"{file} has the columns of images {', '.join(images)}: set ingestion.image to one of them")
    return IMAGE


def _holds_images(kind: Any) -> bool:
    """Whether a type is a struct of `bytes` and, perhaps, `path`."""
    import pyarrow as pa

    def has(field: str, *tests: Callable[[Any], bool]) -> bool:
        return any(test(kind.field(field).type) for test in (*tests, pa.types.is_null))

    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    binary = has("bytes", pa.types.is_binary, pa.types.is_large_binary)
    return binary and (kind.get_field_index("path") < 0 or has("path", pa.types.is_string, pa.types.is_large_string))
