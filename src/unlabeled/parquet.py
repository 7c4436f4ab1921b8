"""Images in Parquet files, as the Hugging Face Hub lays them out."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlabeled.errors import DataError
from unlabeled.items import Item, Source
from unlabeled.layout import official_splits, split_in_name

if TYPE_CHECKING:
    import pyarrow as pa

LABEL_COLUMNS = ("label", "fine_label")  # the second is CIFAR-100's
UNLABELLED = -1
"""What stands for no label among integers, as in STL-10 and on the Hugging Face Hub."""
ROWS = 64
"""Of a Parquet file, in memory at a time."""


def holds_parquet(path: Path) -> bool:
    return path.suffix == ".parquet" or any(path.rglob("*.parquet"))


def read_parquet(path: Path, labels: Sequence[str] = LABEL_COLUMNS) -> Source:
    """The images of a Parquet file, or of all in a folder; the first column there is of `labels` names the classes.

    Raises DataError where there are none, or a file cannot be read.
    """
    import pyarrow.parquet as pq

    files = parquet_files(path)
    official = official_splits(map(split_in_name, files))
    total = 0
    for file in files.values():
        with readable(file):
            metadata = pq.read_metadata(file)
        _columns(file, metadata.schema.to_arrow_schema(), labels)
        total += metadata.num_rows

    def items() -> Iterator[Item]:
        for name, file in files.items():
            yield from _rows(file, name, official.get(split_in_name(name)), labels)

    return Source(items(), total)


def parquet_files(path: Path) -> dict[str, Path]:
    """A file, or all in a folder, in the order of their names within it. Raises DataError where there is none."""
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"ingestion.path: {path} holds no .parquet files")
    root = path if path.is_dir() else path.parent
    return {file.relative_to(root).as_posix(): file for file in files}


def _rows(file: Path, name: str, split: str | None, labels: Sequence[str]) -> Iterator[Item]:
    import pyarrow.parquet as pq

    number = 0
    # So pyarrow reads a page at a time; otherwise a row group, which may be the whole file.
    with readable(file), pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False) as table:
        image_column, label_column, names = _columns(file, table.schema_arrow, labels)
        for batch in table.iter_batches(ROWS, columns=[image_column, *([label_column] if label_column else [])]):
            for row in batch.to_pylist():
                image, label, path = row[image_column] or {}, row.get(label_column), f"{name}/{number}"
                content = image.get("bytes")
                if not content and image.get("path"):
                    content = file.parent / image["path"]
                label = class_name(label, names, path) if isinstance(label, int) else label or None
                yield Item(path, content, label, split)
                number += 1


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """What Arrow says of a file that is no Parquet becomes a DataError."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"ingestion.path: {file} cannot be read as Parquet ({' '.join(str(error).split())})") from error


def _columns(
    file: Path, schema: "pa.Schema", labels: Sequence[str]
) -> tuple[str, str | None, list[str] | None]:
    """The names of the image and the label column, and the names of the classes where the Hub's metadata have them."""
    images = [field.name for field in schema if _holds_images(field.type)]
    if not images:
        raise DataError(
            f"{file} has the columns {', '.join(schema.names)}, expected an image column of structs with binary `bytes`"
        )
    label = next((name for name in labels if name in schema.names), None)
    if label and not _names_a_class(schema.field(label).type):
        raise DataError(f"{file}: received labels of type {schema.field(label).type}, expected integers or strings")
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        names = features.get(label, {}).get("names")
    except (ValueError, AttributeError) as error:
        raise DataError(f"{file}: its metadata `huggingface` are not those of the Hub ({error})") from error
    return "image" if "image" in images else images[0], label, names


def _holds_images(kind: Any) -> bool:
    """A struct of `bytes` and, perhaps, `path`."""
    import pyarrow as pa

    def has(field: str, *tests: Callable[[Any], bool]) -> bool:
        return any(test(kind.field(field).type) for test in (*tests, pa.types.is_null))

    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    binary = has("bytes", pa.types.is_binary, pa.types.is_large_binary)
    return binary and (kind.get_field_index("path") < 0 or has("path", pa.types.is_string, pa.types.is_large_string))


def _names_a_class(kind: Any) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_string, pa.types.is_large_string, pa.types.is_null)
    return any(test(kind) for test in tests)


def class_name(label: int, names: list[str] | None, path: str) -> str | None:
    if label == UNLABELLED:
        return None
    if label < 0 or (names and label >= len(names)):
        most = f"{len(names) - 1}, the last of the {len(names)} classes that the data name" if names else "more"
        raise DataError(f"{path}: received the label {label}, expected {UNLABELLED} (no label) or 0 to {most}")
    return names[label] if names else str(label)
