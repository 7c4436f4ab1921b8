"""Columns of tables that name the classes and the splits, and the class that each value stands for."""

import logging
import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from unlabeled.config import NO_LABELS
from unlabeled.errors import DataError
from unlabeled.ingestion.layout import SPLITS, split_named
from unlabeled.ingestion.tables import Table, plain

logger = logging.getLogger(__name__)

UNLABELLED = -1
"""Integer that stands for no label, as in STL-10 and on the Hugging Face Hub."""
PREFERRED = ("label", "fine_label")
"""Columns of classes that take precedence over all others; the second is CIFAR-100's."""
USUAL = {"labels", "label_name", "class", "classes", "class_name", "class_label", "category", "category_name", "target"}
USUAL_NUMBERS = {"label_id", "class_id", "category_id", "target_id"}
USUAL_TEXTS = (
    {"text"},
    {"caption", "captions", "description", "content", "body", "document", "sentence", "review", "comment", "message"},
    {"texts", "documents", "sentences", "reviews", "comments", "messages", "article", "abstract", "prompt", "alt_text"},
    {"beschreibung", "bildunterschrift", "texte", "inhalt", "legende", "descripcion", "texto", "testo", "descrizione"},
)
"""Usual names of columns of texts and captions, the likeliest first."""
MIN_PROSE = 20
"""Least mean length, in characters, of the values of a column that may be texts without a usual name."""
SAMPLED_ROWS = 100
"""Rows of each table whose values are measured for that."""
SPLIT = "split"
USUAL_SPLITS = {"set", "subset", "partition"}
"""Columns of splits, if all of their values are names of splits."""
NO_CLASSES = re.compile(
    r"is_(train|valid|val|test).*|split|set|subset|partition|fold|"
    r"(.*_)?(id|idx|index|uuid|url|uri|path|file|filename|file_name|image|width|height|size|bytes|text|captions?|description|title|prompt|md5|sha\d*|checksum|hash|licen[sc]e|source|date|time|timestamp|"
    r"format|channels|mode|bbox)"
)
"""Names of columns that are never suggested as classes."""
NESTED = ("list", "large_list", "fixed_size", "struct", "map", "binary", "large_binary", "extension")
"""Prefixes of Arrow's types that hold several values or raw bytes."""
MISSING = {"", "nan", "<na>", "n/a", "#n/a", "null"}
"""Texts that spreadsheets and pandas write for a missing value."""
MAX_CLASSES = 10_000
MAX_NAME = 200
"""Largest number of distinct values, and of their characters, of a column that is suggested as classes."""
WHOLE = re.compile(r"-?\d+(\.0*)?")
NUMBER = re.compile(r"-?\d*\.?\d+(e-?\d+)?", re.IGNORECASE)

Key = tuple[str, Any]
"""A value with the name of its type, as Python treats 1, 1.0 and True as the same key."""


@dataclass(frozen=True)
class Labels:
    """The labels of tables.

    Attributes:
        column: Name of the column of labels; None: there are no labels.
        classes: The class of each value, table by table; values without one are unlabelled.
        question: Question to the user, where a column may name the classes and none was configured; else empty.
    """

    column: str | None = None
    classes: Sequence[dict[Key, str]] = ()
    question: str | None = None

    def of(self, table: int, row: dict[str, Any]) -> str | None:
        return self.classes[table].get(_key(row[self.column])) if self.column else None


class Splits(NamedTuple):
    """The column of tables that names splits, if there is one, and the splits that it names."""

    column: str | None = None
    found: Collection[str] = ()


def find_labels(tables: Sequence[Table], wanted: str | None, *others: str | None) -> Labels:
    """Finds the labels of tables that belong together.

    Args:
        wanted: The column of the classes; `none`: there are no labels; None: the usual column, if there is one.
        others: Columns of groups or texts, which are never suggested as classes.

    Raises:
        DataError: There is no such column, or its values cannot be classes.
    """
    if is_none(wanted):
        return Labels()
    columns = _columns(tables)
    if wanted:
        return _classes_of(tables, _named(columns, wanted, tables, "ingestion.label", f", or {NO_LABELS}"))
    columns = [each for each in columns if each not in others and _may_name_classes(each, tables)]
    values = {column: each for column, each in _values(tables, columns, MAX_CLASSES).items() if each.rows}
    rivals = _usual(values, tables) or [column for column, each in values.items() if each.repeat_as_classes()]
    if not rivals:
        return Labels()
    if len(rivals) > 1 or not _is_usual(rivals[0], tables):
        return Labels(question=_question(tables, rivals))
    return _classes_of(tables, rivals[0])


def is_none(wanted: str | None) -> bool:
    """Whether `ingestion.label` says that there are no labels."""
    return wanted is not None and wanted.lower() == NO_LABELS


def find_splits(tables: Sequence[Table]) -> Splits:
    """Finds the splits that tables name. Raises DataError where a column called `split` has a value that is not a
    split."""
    columns = [each for each in _columns(tables) if plain(each) in {SPLIT, *USUAL_SPLITS}]
    for column, each in _values(tables, columns).items():
        wrong = next(((value, place) for (_, value), place in each.places.items() if not split_of(value)), None)
        if wrong and plain(column) == SPLIT:
            raise DataError(f"{wrong[1]}: received the split {wrong[0]!r}, expected {', '.join(SPLITS)}, or nothing")
        if each.rows and not wrong:
            return Splits(column, {split for _, value in each.places if (split := split_of(value))})
    return Splits()


def find_text(
    tables: Sequence[Table], others: Collection[str] = (), *, wanted: str | None, key: str = "ingestion.text"
) -> str:
    """The column of texts: the one that the user names, one with a usual name, or the only one that holds prose.

    Args:
        others: Columns of other things.
        wanted: The column that the user names; None: none is named.
        key: The parameter that names it.

    Raises:
        DataError: There is no such column, or several may be meant.
    """
    columns = _columns(tables)
    if wanted:
        return _named(columns, wanted, tables, key)
    columns = [column for column in columns if column not in others]
    for names in USUAL_TEXTS:
        if found := [column for column in columns if plain(column) in names]:
            return found[0]
    named = [column for column in columns if plain(column).rpartition("_")[2] in set().union(*USUAL_TEXTS)]
    likely = named or _prose(tables, [each for each in columns if not NO_CLASSES.fullmatch(plain(each))])
    if len(likely) == 1:
        return likely[0]
    raise DataError(
        f"{where(tables)} has the columns {', '.join(_columns(tables))}: set {key} to the column of "
        f"{'captions' if key == 'ingestion.caption' else 'texts'}"
    )


def _prose(tables: Sequence[Table], columns: Sequence[str]) -> list[str]:
    """The columns whose values are as long as sentences."""
    lengths: dict[str, list[int]] = {column: [] for column in columns}
    for table in tables:
        for _, row in islice(table.read(columns), SAMPLED_ROWS):
            for column, value in row.items():
                if isinstance(value, str) and not _is_missing(value):
                    lengths[column].append(len(value))
    return [column for column, each in lengths.items() if each and sum(each) / len(each) >= MIN_PROSE]


def find_groups(tables: Sequence[Table], wanted: str | None) -> str | None:
    """The column of groups, as the table spells it. Raises DataError where there is none of that name."""
    return _named(_columns(tables), wanted, tables, "ingestion.group") if wanted else None


def group_in(row: dict[str, Any], column: str | None) -> str | None:
    """The name of the group of a row; None: it is in no group."""
    return None if column is None or _is_missing(row.get(column)) else str(row[column]).strip()


def tell_columns(tables: Sequence[Table], labels: Labels, splits: Splits) -> list[str]:
    """Logs which columns there are and which are read; returns a warning of tables without labels."""
    logger.info(
        "%s: of the columns %s, %s has the labels and %s the splits",
        where(tables),
        ", ".join(_columns(tables)),
        labels.column or "none",
        splits.column or "none",
    )
    without = [table.name for table in tables if labels.column and labels.column not in table.columns]
    return [f"{', '.join(without)} has no column {labels.column}: it is without labels"] if without else []


def _columns(tables: Sequence[Table]) -> list[str]:
    return list(dict.fromkeys(column for table in tables for column in table.columns))


def split_of(value: Any) -> str | None:
    """The split that a value names; None: the value is missing, or names no split."""
    return split_named(str(value)) if value else None


def class_name(label: int, names: list[str] | None, place: str) -> str | None:
    """The class of a number; None: unlabelled. Raises DataError for a number without a declared class."""
    if label == UNLABELLED:
        return None
    if label < 0 or (names and label >= len(names)):
        most = f"{len(names) - 1}, the last of the {len(names)} classes that the data name" if names else "more"
        raise DataError(f"{place}: received the label {label}, expected {UNLABELLED} (no label) or 0 to {most}")
    return names[label] if names else str(label)


def where(tables: Sequence[Table]) -> str:
    """The names of tables for a message."""
    return tables[0].name if len(tables) == 1 else f"{tables[0].name} (and {len(tables) - 1} more)"


@dataclass
class _Values:
    """The non-missing values of a column.

    Attributes:
        places: The place where each different value was seen first.
        rows: Number of values.
        may_be_classes: Whether the values may be classes: neither too many, nor too long, nor lists.
    """

    places: dict[Key, str] = field(default_factory=dict)
    rows: int = 0
    may_be_classes: bool = True

    def repeat_as_classes(self) -> bool:
        """Whether there are at least two distinct values, each in two rows on average, and none of them a
        measurement."""
        values = [str(value) for _, value in self.places]
        measured = all(map(NUMBER.fullmatch, values)) and not _whole(values)
        return self.may_be_classes and not measured and 2 <= len(self.places) <= self.rows / 2


def _values(tables: Iterable[Table], columns: Sequence[str], limit: float = math.inf) -> dict[str, _Values]:
    found = {column: _Values() for column in columns}
    for table in tables:
        for place, row in table.read(columns) if columns else ():
            for column, value in row.items():
                if _is_missing(value):
                    continue
                each, key = found[column], _key(value)
                each.rows += 1
                if each.may_be_classes or limit == math.inf:
                    each.places.setdefault(key, place)
                if isinstance(value, list | dict) or len(str(value)) > MAX_NAME or len(each.places) > limit:
                    each.may_be_classes = False
    return found


def _is_missing(value: Any) -> bool:
    """Whether a value is missing, in any notation."""
    return value.strip().lower() in MISSING if isinstance(value, str) else value is None or value != value


def _key(value: Any) -> Key:
    return type(value).__name__, str(value) if isinstance(value, list | dict) else value


def _named(columns: Sequence[str], wanted: str, tables: Sequence[Table], key: str, others: str = "") -> str:
    """The column that the user named, in the table's spelling or another case."""
    for written in (str, plain):
        if found := [column for column in columns if written(column) == written(wanted)]:
            return found[0]
    raise DataError(
        f"{key}: received {wanted!r}, expected one of {where(tables)}'s columns, {', '.join(columns)}{others}"
    )


def _may_name_classes(column: str, tables: Sequence[Table]) -> bool:
    """Whether a column's name and type allow it to name the classes."""
    nested = any(table.types.get(column, "").startswith(NESTED) for table in tables)
    return _is_usual(column, tables) or not (nested or NO_CLASSES.fullmatch(plain(column)))


def _usual(columns: Collection[str], tables: Sequence[Table]) -> list[str]:
    """The columns that most probably name the classes: all those of the best rank."""
    ranks = [*({name} for name in PREFERRED), None, USUAL, USUAL_NUMBERS]
    for rank in ranks:
        if found := [each for each in columns if (_is_declared(each, tables) if rank is None else plain(each) in rank)]:
            return found
    return []


def _is_usual(column: str, tables: Sequence[Table]) -> bool:
    return bool(_usual([column], tables))


def _is_declared(column: str, tables: Iterable[Table]) -> bool:
    return any(column in table.classes for table in tables)


def _question(tables: Sequence[Table], rivals: Sequence[str]) -> str:
    which = f"the column {rivals[0]}" if len(rivals) == 1 else f"one of the columns {', '.join(rivals)}"
    return (
        f"{where(tables)}: {which} may name the classes: set ingestion.label={rivals[0]}"
        f"{' (or another)' if len(rivals) > 1 else ''}, or ingestion.label={NO_LABELS}"
    )


def _classes_of(tables: Sequence[Table], column: str) -> Labels:
    found = [_values([table], [column])[column].places if column in table.columns else {} for table in tables]
    whole = _whole(value for places in found for kind, value in places if kind == "str")
    declared = next((table.classes[column] for table in tables if column in table.classes), None)
    classes = []
    for table, places in zip(tables, found, strict=True):
        names = table.classes.get(column, declared)
        named = {key: _class_of(key, place, table, column, names, whole) for key, place in places.items()}
        classes.append({key: name for key, name in named.items() if name is not None})
    _check_kinds(tables, found, column)
    return Labels(column, classes)


def _whole(values: Iterable[Any]) -> bool:
    """Whether all values are whole numbers, as spreadsheets or pandas write them: 1 or 1.0."""
    return all(WHOLE.fullmatch(str(value)) for value in values)


def _class_of(key: Key, place: str, table: Table, column: str, names: list[str] | None, whole: bool) -> str | None:
    """The class of a non-missing value; `whole`: whether all texts of the column are whole numbers."""
    kind, value = key
    if kind == "str":
        name = unicodedata.normalize("NFC", value.strip())
        name = name.partition(".")[0] if whole else name
        return None if whole and name == str(UNLABELLED) else name
    if kind == "bool" and not names:
        return str(value)
    if kind in ("int", "bool") or (kind == "float" and value.is_integer()):
        return class_name(int(value), names, place)
    raise DataError(
        f"{table.name}: received labels of type {table.types.get(column, kind)} in the column {column}, such as "
        f"{str(value)[:50]}, expected integers or strings, one an image: set ingestion.label to another column, or to "
        f"{NO_LABELS}"
    )


def _check_kinds(tables: Sequence[Table], found: Sequence[dict[Key, str]], column: str) -> None:
    """Raises DataError where some labels are numbers and others names, or where -1 would be one of two classes."""
    values = sorted({str(value) for places in found for _, value in places})
    declared = any(column in table.classes for table in tables)
    if len({kind == "str" for places in found for kind, _ in places}) > 1 and not declared and not _whole(values):
        raise DataError(
            f"{where(tables)}: received numbers and names in the column {column}, such as {values[0]} and "
            f"{values[-1]}, expected one of both: set ingestion.label to another column, or to {NO_LABELS}"
        )
    if values == ["-1", "1"]:
        raise DataError(
            f"{where(tables)}: received the labels -1 and 1, and -1 stands for no label, expected two classes: write 0 "
            f"for -1, or names"
        )
