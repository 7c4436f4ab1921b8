"""Images in Parquet files, as the Hugging Face Hub lays them out."""

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from unlabeled.columns import find_labels, find_splits, split_of, tell_columns
from unlabeled.errors import DataError
from unlabeled.items import Item, Source
from unlabeled.layout import official_splits, split_in_name
from unlabeled.tables import Table, declared_beside, parquet_table, readable
from unlabeled.walk import every_file, is_metadata

logger = logging.getLogger(__name__)

IMAGE = "image"
"""The column of images, where there are several."""
ROWS = 64
"""Of a Parquet file, in memory at a time."""


def holds_parquet(path: Path) -> bool:
    return path.suffix == ".parquet" or (path.is_dir() and bool(_names(path)))


def _names(folder: Path) -> list[str]:
    return [name for name in every_file(folder, "ingestion.path") if name.lower().endswith(".parquet")]


def read_parquet(path: Path, label: str | None = None, image: str | None = None) -> Source:
    """The images of a Parquet file, or of all in a folder.

    Args:
        label: As `ingestion.label`.
        image: As `ingestion.image`.

    Raises:
        DataError: There are none, a file cannot be read, or it has to be asked which column is meant.
    """
    files = parquet_files(path)
    root = path if path.is_dir() else path.parent
    images, tables = parquet_tables(root, files, image)
    labels, splits = find_labels(tables, label), find_splits(tables)
    if labels.question:
        raise DataError(labels.question)
    tell_columns(tables, labels, splits)
    official = official_splits({*splits.found, *map(split_in_name, files)})
    wanted = [column for column in (labels.column, splits.column) if column]

    def items() -> Iterator[Item]:
        for number, name in enumerate(files):
            for place, content, row in _rows(root, name, images[number], wanted):
                split = split_of(row.get(splits.column)) or split_in_name(name)
                yield Item(place, content, labels.of(number, row), official.get(split))

    return Source(items(), sum(map(_count, files.values())))


def _count(file: Path) -> int:
    import pyarrow.parquet as pq

    return pq.read_metadata(file).num_rows


def parquet_tables(root: Path, files: dict[str, Path], image: str | None = None) -> tuple[list[str], list[Table]]:
    """For each file the name of its column of images, and its other columns as a table.

    Args:
        image: As `ingestion.image`.
    """
    import pyarrow.parquet as pq

    images, tables = [], []
    for name, file in files.items():
        with readable(file):
            schema = pq.read_schema(file)
        candidates = [field.name for field in schema if _holds_images(field.type)]
        images.append(_image_column(file, schema.names, candidates, image))
        tables.append(parquet_table(file, name, candidates, declared_beside(root, schema.names)))
    return images, tables


def _splits(tables: Sequence[Table], column: str | None) -> set[str | None]:
    return {split_of(row[column]) for table in tables for _, row in table.read([column])} if column else set()


def parquet_files(path: Path) -> dict[str, Path]:
    """A file, or all in a folder, in the order of their names within it. Raises DataError where there is none."""
    root, names = (path, _names(path)) if path.is_dir() else (path.parent, [path.name])
    if not names:
        raise DataError(f"ingestion.path: {root} holds no .parquet files")
    of_images = [name for name in names if not is_metadata(name)]
    return {name: root / name for name in of_images or names}


def _rows(
    root: Path, name: str, image: str, others: Sequence[str]
) -> Iterator[tuple[str, Path | bytes | None, dict[str, Any]]]:
    """The place, the image and the other columns of each row; a column that the file lacks is None."""
    import pyarrow.parquet as pq

    # So pyarrow reads a page at a time; otherwise a row group, which may be the whole file.
    file = root / name
    with readable(file), pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False) as table:
        here = [column for column in others if column in table.schema_arrow.names]
        batches = table.iter_batches(ROWS, columns=[image, *here])
        for number, row in enumerate(chain.from_iterable(batch.to_pylist() for batch in batches)):
            yield f"{name}/{number}", _content(root, file, row.pop(image) or {}), dict.fromkeys(others) | row


def _content(root: Path, file: Path, image: dict[str, Any]) -> Path | bytes | None:
    """The bytes of an image, or its file: beside the Parquet file, or below the root."""
    if image.get("bytes") or not image.get("path"):
        return image.get("bytes") or None
    beside, below = (folder / image["path"].replace("\\", "/") for folder in (file.parent, root))
    return below if below.exists() and not beside.exists() else beside


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
    logger.warning("%s: of the columns of images %s, %s is read", file, ", ".join(images), IMAGE)
    return IMAGE


def _holds_images(kind: Any) -> bool:
    """A struct of `bytes` and, perhaps, `path`."""
    import pyarrow as pa

    def has(field: str, *tests: Callable[[Any], bool]) -> bool:
        return any(test(kind.field(field).type) for test in (*tests, pa.types.is_null))

    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    binary = has("bytes", pa.types.is_binary, pa.types.is_large_binary)
    return binary and (kind.get_field_index("path") < 0 or has("path", pa.types.is_string, pa.types.is_large_string))
