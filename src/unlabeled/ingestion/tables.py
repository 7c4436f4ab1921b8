"""Tables in files: CSV of any spreadsheet, JSON lines and Parquet, read row by row and repeatedly."""

import codecs
import csv
import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from unlabeled.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ENDINGS = ("csv", "tsv", "jsonl", "ndjson", "parquet")
"""Endings of the files that are read as tables."""
DELIMITERS = (",", ";", "\t", "|")
MAX_LINE_CHARACTERS = 2**24
"""Largest number of characters of a line."""
MAX_VALUE_CHARACTERS = 2**17
"""Largest number of characters of a value of CSV, unless it is a text."""
PARQUET_ROWS = 4096
"""Rows of a Parquet file in memory at a time, where they are small; never columns of images."""
PARQUET_BYTES = 2**28
"""Bytes of a Parquet file in memory at a time, unless a single row has more. A row may be as large as its whole row
group, as its value may be in the dictionary."""
EXPANDED, EXPANSION = 2**26, 100
"""Bytes of a row group's columns, and their ratio to the compressed size, above which a file is refused."""

PARQUET_SIZES = ("uncompressed", "compressed")
"""Parquet's names for the uncompressed and the compressed size."""

Rows = Iterator[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Table:
    """A table in a file.

    Attributes:
        name: Name of the table in messages.
        columns: Names of the columns, in order.
        read: Yields, for some columns, each row's place, for messages, and its values.
        types: Types of the columns, for messages, where the file declares them.
        classes: Names of the classes of each column that the file declares to hold classes.
    """

    name: str
    columns: Sequence[str]
    read: Callable[[Sequence[str]], Rows]
    types: dict[str, str] = field(default_factory=dict)
    classes: dict[str, list[str]] = field(default_factory=dict)


def open_table(path: Path, known: Sequence[str] = (), longest: int = MAX_VALUE_CHARACTERS) -> Table:
    """Opens a table by the ending of its file: .parquet, .jsonl, or else CSV.

    Args:
        known: Names of columns, in lower case. A CSV file's delimiter is the one that makes one of them a column; where
            none does, the one that makes most columns.
        longest: Largest number of characters of a value in CSV.

    Raises:
        DataError: The file is not of the kind that its ending says; raised here, or while rows are read.
    """
    kinds = {".parquet": parquet_table, ".jsonl": _json_lines, ".ndjson": _json_lines}
    kind = kinds.get(path.suffix.lower())
    return kind(path) if kind else _csv(path, known, longest)


def plain(column: str) -> str:
    """A column's name in the form for comparisons: lower case, words joined by `_`."""
    return re.sub(r"[\s_-]+", "_", column.strip().lower())


def _csv(path: Path, known: Sequence[str], longest: int) -> Table:
    with _errors(path, "CSV"), path.open(newline="", encoding=(encoding := _encoding(path))) as file:
        header, start, delimiters = _first_line(_lines(path, file))
        headers = {each: _header(header, each) for each in delimiters}
    most = max(delimiters, key=lambda each: len(headers[each]))
    delimiter = next((each for each in delimiters if {*known} & {*map(plain, headers[each])}), most)
    columns = headers[delimiter]
    if twice := sorted({name for name in columns if name and columns.count(name) > 1}):
        raise DataError(f"{path} has two columns {twice[0]}, expected one")

    def read(wanted: Sequence[str]) -> Rows:
        csv.field_size_limit(longest)  # of the module, as the library has no other
        with _errors(path, "CSV"), path.open(newline="", encoding=encoding) as file:
            reader = csv.reader(_lines(path, file), delimiter=delimiter, skipinitialspace=True, strict=True)
            for values in reader:
                values = [value.strip() for value in values]
                if reader.line_num <= start or not any(values):
                    continue
                place = f"{path}, line {reader.line_num}"
                if any(values[len(columns) :]):
                    raise DataError(
                        f"{place}: received {len(values)} values, expected {len(columns)}, for {', '.join(columns)}; "
                        f"put text that has commas in quotes"
                    )
                row = dict(zip(columns, values, strict=False))
                yield place, {name: row.get(name, "") for name in wanted}

    return Table(str(path), [name for name in columns if name], read)


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    """The lines of a file. Raises DataError for one that is longer than MAX_LINE_CHARACTERS."""
    number = 0
    while line := file.readline(MAX_LINE_CHARACTERS + 1):
        number += 1
        if len(line) > MAX_LINE_CHARACTERS:
            raise DataError(
                f"{path}, line {number}: it has more than {MAX_LINE_CHARACTERS:,} characters, expected one row"
            )
        yield line


def _first_line(file: Iterable[str]) -> tuple[str, int, Sequence[str]]:
    """The line that names the columns, its number, and its possible delimiters. Empty lines and Excel's `sep=;` may
    come before it."""
    delimiters: Sequence[str] = DELIMITERS
    line, number = "", 0
    for number, line in enumerate(file, 1):
        if told := re.fullmatch(r"sep=(.)\s*", line):
            delimiters = (told[1],)
        elif line.strip(" \r\n\t,;|"):
            return line, number, delimiters
    return line, number, delimiters


def _header(line: str, delimiter: str) -> list[str]:
    """The names of columns, without the empty ones that spreadsheets append."""
    names = [name.strip() for name in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])]
    while names and not names[-1]:
        names.pop()
    return names


def _encoding(path: Path) -> str:
    """The encoding: UTF-16 where a file begins with its byte order mark or has a zero in its first two bytes, else
    UTF-8."""
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(start) > 1 and not (start[0] and start[1]):
        return "utf-16-be" if not start[0] else "utf-16-le"
    return "utf-8-sig"


@contextmanager
def _errors(path: Path, kind: str) -> Generator[None]:
    """Context in which errors of a text file become a DataError that names the expected kind of file."""
    try:
        yield
    except (UnicodeError, csv.Error) as error:
        raise DataError(f"{path} is not a {kind} file in UTF-8 ({error}): save it as {kind} in UTF-8") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error


def _json_lines(path: Path) -> Table:
    def objects() -> Iterator[tuple[str, dict[str, Any]]]:
        with _errors(path, "JSON lines"), path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(_lines(path, file), 1):
                if line.strip():
                    yield f"{path}, line {number}", _object(path, number, line)

    def read(wanted: Sequence[str]) -> Rows:
        for place, row in objects():
            yield place, {name: row.get(name) for name in wanted}

    columns = dict.fromkeys(name for _, row in objects() for name in row)
    return Table(str(path), list(columns), read)


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}, line {number}: received no JSON ({error}), expected an object in one line") from error
    if not isinstance(row, dict):
        raise DataError(f"{path}, line {number}: received {line.strip()[:50]}, expected an object in one line")
    return {_whole(name): _whole(value) if isinstance(value, str) else value for name, value in row.items()}


def _whole(text: str) -> str:
    """A text of JSON without blanks around it; half a surrogate pair, which no file can hold, becomes a `?`."""
    return text.strip().encode(errors="replace").decode()


def parquet_table(
    path: Path, name: str | None = None, without: Sequence[str] = (), classes: Mapping[str, list[str]] | None = None
) -> Table:
    """Opens a Parquet file as a table.

    Args:
        name: Name of the table in messages; None: its path.
        without: Names of columns to leave out.
        classes: Names of the classes of columns, where the file does not declare them itself.
    """
    import pyarrow.parquet as pq

    name = name or str(path)
    with readable(path):
        schema = pq.read_schema(path)
        columns = [column for column in schema.names if column not in without]

    def read(wanted: Sequence[str]) -> Rows:
        nothing = dict.fromkeys(wanted)
        here = [column for column in columns if column in nothing]
        with readable(path), pq.ParquetFile(path) as file:
            rows = chain.from_iterable(batch.to_pylist() for batch in some_rows(path, file, here, PARQUET_ROWS))
            for number, row in enumerate(rows if here else repeat({}, file.metadata.num_rows)):
                yield f"{name}/{number}", nothing | row

    types = {each.name: str(each.type) for each in schema}
    return Table(name, columns, read, types, {**(classes or {}), **_declared(path, schema)})


def some_rows(
    path: Path, file: "pq.ParquetFile", columns: Sequence[str], most: int, groups: Iterable[int] | None = None
) -> Iterator["pa.RecordBatch"]:
    """Yields the rows of a Parquet file in order, at most `most` at a time, and fewer where they may be large.

    Args:
        groups: Numbers of row groups; None: all.

    Raises:
        DataError: Columns of a row group are far larger than they are in the file.
    """
    for number in range(file.metadata.num_row_groups) if groups is None else groups:
        group = file.metadata.row_group(number)
        chunks = [group.column(each) for each in range(group.num_columns)]
        chunks = [chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns]
        size, stored = (sum(getattr(chunk, f"total_{kind}_size") for chunk in chunks) for kind in PARQUET_SIZES)
        if size > max(EXPANDED, EXPANSION * stored):
            raise DataError(
                f"ingestion.path: {path} cannot be used: row group {number} would grow from {stored / 1e6:,.1f} MB to "
                f"{size / 1e6:,.0f} MB: write it with smaller row groups"
            )
        rows = max(1, min(most, PARQUET_BYTES // max(1, size)))
        yield from file.iter_batches(rows, row_groups=[number], columns=list(columns))


@contextmanager
def readable(file: Path) -> Generator[None]:
    """Context in which Arrow's errors about a file that is not Parquet become a DataError."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, UnicodeError, OSError) as error:
        raise DataError(f"ingestion.path: {file} cannot be read as Parquet ({' '.join(str(error).split())})") from error


def _declared(file: Path, schema: "pa.Schema") -> dict[str, list[str]]:
    """Names of the classes of each column that the file's metadata declare to hold classes."""
    try:
        info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {})
        return _classes(info, schema.names)
    except (ValueError, AttributeError) as error:
        raise DataError(f"{file}: its metadata `huggingface` are not those of the Hub ({error})") from error


def declared_beside(root: Path, columns: Sequence[str]) -> dict[str, list[str]]:
    """Names of the classes of each column that a dataset_infos.json declares; older data sets have this file
    instead."""
    path = root / "dataset_infos.json"
    try:
        infos = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        found = [_classes(info, columns) for info in infos.values()]
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path} is not a dataset_infos.json of the Hugging Face Hub ({error})") from error
    return found[0] if found and all(each == found[0] for each in found) else {}


def _classes(info: dict[str, Any], columns: Sequence[str]) -> dict[str, list[str]]:
    """Names of classes in the description of a data set by the Hugging Face Hub."""
    features = {column: each for column, each in (info.get("features") or {}).items() if column in columns}
    names = {column: each.get("names") for column, each in features.items() if not isinstance(each, list)}
    return {column: each for column, each in names.items() if each}
