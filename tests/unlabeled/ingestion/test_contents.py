import pandas as pd

from unlabeled.ingestion.contents import contents_of, rows_of, tell_contents
from unlabeled.ingestion.items import Understood
from unlabeled.ingestion.walk import LeftOut
from unlabeled.reports.data_section import understood
from unlabeled.reports.page import Table

COUNTS = {f"class {i}": {"train": i, "test": 1} for i in range(30)} | {"": {"train": 7}}


def summary_of(**changed):
    return {"counts": COUNTS, "splits_from": "drawn", "left_out": {}, "warnings": [], "classes": []} | changed


def test_all_are_counted_by_class_and_split():
    rows = [("b", "train"), ("a", "test"), ("a", "train"), ("a", "train"), (None, "excluded")]
    manifest = pd.DataFrame(rows, columns=["label", "split"])
    source = Understood(warnings=["of the source"])
    told = contents_of(manifest, ["a", "b"], source, "drawn", ["of the rows"])
    counts = told["counts"]
    assert counts == {"a": {"test": 1, "train": 2}, "b": {"train": 1}, "": {"excluded": 1}}
    assert list(counts) == ["a", "b", ""]
    assert told["warnings"] == ["of the source", "of the rows"] and source.warnings == ["of the source"]


def test_the_largest_classes_are_listed_and_the_others_are_one_row():
    header, rows = rows_of(COUNTS)
    assert header == ["class", "train", "test", "all"] and len(rows) == 23
    assert rows[0] == ["class 10", 10, 1, 11] and rows[19] == ["class 29", 29, 1, 30]
    assert rows[20:] == [["10 other classes", 45, 10, 55], ["(no class)", 7, 0, 7], ["all", 442, 30, 472]]


def test_the_terminal_has_one_row_a_class_and_the_warnings_last(caplog):
    caplog.set_level("INFO", "unlabeled")
    left_out = LeftOut()
    left_out.add("hidden", [".a"])
    tell_contents(summary_of(warnings=["train/ is taken for a class"]), left_out, "images")
    assert caplog.messages[0] == "images by class and split:" and len(caplog.messages) == 26 + 3
    assert caplog.messages[26:] == ["splits: drawn", "left out: 1 hidden (.a)", "WARNING: train/ is taken for a class"]
    assert caplog.records[-1].levelname == "WARNING"


def test_names_of_classes_are_no_orders_to_the_terminal_and_no_markup(caplog):
    caplog.set_level("INFO", "unlabeled")
    tell_contents(summary_of(counts={"[red]\x1b[2J": {"train": 1}, "b" * 500: {"train": 1}}), LeftOut(), "images")
    assert "[red]\\x1b[2J" in caplog.text and max(map(len, caplog.messages)) <= 200


def test_groups_are_told_where_they_are_fewer_than_rows(caplog):
    caplog.set_level("INFO", "unlabeled")
    groups = {"by": "documents", "unit": "passages", "count": 5, "splits": {"test": 2, "train": 3}}
    summary = summary_of(groups=groups | {"rows": {"test": 9, "train": 3}})
    tell_contents(summary, LeftOut(), "documents")
    assert "groups: 9 test passages in 2 groups (documents)" in caplog.messages
    assert "Groups: 9 test passages in 2 groups (documents)." in understood(summary)[1].paragraphs


def test_the_page_has_the_same_table():
    left_out = {"hidden": {"count": 2, "names": [".a", ".b"]}}
    table, said, others = understood(summary_of(left_out=left_out, warnings=["train/ is a class"]))
    assert isinstance(table, Table) and (table.header, table.rows) == rows_of(COUNTS)
    assert said.paragraphs == ["Splits: drawn.", "Warning: train/ is a class."]
    assert others.rows == [["hidden", 2, ".a, .b"]]
