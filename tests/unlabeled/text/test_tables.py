"""Texts in the rows of tables: CSV, TSV, JSON lines and Parquet."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unlabeled.errors import ConfigError, DataError
from unlabeled.text.config import TextIngestion
from unlabeled.text.ingest import ingest

KINDS = ["Sport", "Kultur"]
ROWS = [
    {"nr": str(i), "Meldung": f'Die {i}. Meldung, "heute":\nein Satz über Nummer {i * i}.', "Ressort": KINDS[i % 2]}
    for i in range(60)
]


def written(path, rows=ROWS, delimiter=","):
    """A table of that ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix in (".jsonl", ".ndjson"):
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, rows[0], delimiter=delimiter)
            table.writeheader()
            table.writerows(rows)
    return path


def ingested(path, **changed):
    return ingest(TextIngestion(**{"source": "text", "path": str(path), "passage": 50} | changed))


@pytest.mark.parametrize(
    "name, delimiter",
    [("a.csv", ","), ("a.CSV", ";"), ("a.tsv", "\t"), ("a.jsonl", ""), ("a.ndjson", ""), ("a.parquet", "")],
)
def test_each_row_is_a_document_with_its_label(tmp_path, name, delimiter):
    made = ingested(written(tmp_path / name, delimiter=delimiter), label="Ressort")
    assert made.summary["documents"] == 60 and made.summary["classes"] == ["Kultur", "Sport"]
    texts = made.manifest.drop_duplicates("path").sort_values("text")
    assert sorted(texts.text) == sorted(row["Meldung"] for row in ROWS)
    assert texts.path.str.startswith(name).all()


def test_a_label_is_found_and_a_column_that_may_be_one_is_told(tmp_path):
    renamed = [{"Label": row["Ressort"], "body": row["Meldung"]} for row in ROWS]
    assert ingested(written(tmp_path / "a.csv", renamed)).summary["classes"] == ["Kultur", "Sport"]
    made = ingested(written(tmp_path / "b.csv"))
    assert made.summary["classes"] == [] and "set ingestion.label=Ressort" in " ".join(made.summary["warnings"])
    assert ingested(tmp_path / "a.csv", label="none").summary["classes"] == []


def test_a_column_of_texts_that_nothing_tells_is_asked_for(tmp_path):
    rows = [{"frage": row["Meldung"], "antwort": f"Ja, die Meldung Nummer {i} ist neu."} for i, row in enumerate(ROWS)]
    with pytest.raises(DataError, match="has the columns frage, antwort: set ingestion.text to the column of texts"):
        ingested(written(tmp_path / "a.csv", rows))
    assert ingested(tmp_path / "a.csv", text="Antwort").manifest.text.str.startswith("Ja").all()
    with pytest.raises(
        DataError, match="ingestion.text: received 'Text', expected one of .*'s columns, frage, antwort"
    ):
        ingested(tmp_path / "a.csv", text="Text")


def test_files_and_a_column_name_the_splits(tmp_path):
    written(tmp_path / "data/train-0.parquet", ROWS[:40]), written(tmp_path / "data/test-0.parquet", ROWS[40:])
    (tmp_path / "README.md").write_text("about"), (tmp_path / "dataset_infos.json").write_text("{}")
    made = ingested(tmp_path, text="Meldung", validation_fraction=0.0)
    assert made.manifest.drop_duplicates("path").split.value_counts().to_dict() == {"train": 40, "test": 20}
    rows = [{**row, "split": "test" if i < 9 else "train"} for i, row in enumerate(ROWS)]
    made = ingested(written(tmp_path / "one/all.csv", rows), validation_fraction=0.0)
    assert (made.manifest.drop_duplicates("path").split == "test").sum() == 9


def test_what_is_no_text_is_quarantined(tmp_path):
    rows = [{"text": row["Meldung"]} for row in ROWS] + [{"text": ["a", "list"]}, {"text": None}, {"text": " "}]
    rows += [{"text": "\ud800 half a character, and then a sentence"}, {"text": 7}, {"text": "x" * 500_000}]
    made = ingested(written(tmp_path / "a.jsonl", rows), max_characters=1000, max_quarantined=0.1)
    assert dict(made.quarantine.to_numpy()) == {
        "a.jsonl, line 61": "received a text of type list",
        "a.jsonl, line 62": "empty",
        "a.jsonl, line 63": "empty",
        "a.jsonl, line 66": "longer than ingestion.max_characters=1000",
    }


def test_a_long_document_in_a_cell_is_read(tmp_path):
    rows = [{"text": f"{i} " + "ein langer Text mit vielen Wörtern " * 6000} for i in range(3)]
    assert (
        ingested(written(tmp_path / "a.csv", rows), validation_fraction=0.0, test_fraction=0.0).summary["documents"]
        == 3
    )


def test_tables_beside_other_texts_are_texts_unless_a_column_is_named(tmp_path):
    written(tmp_path / "a.csv", [{"text": row["Meldung"]} for row in ROWS])
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text(f"Ein Text, die Nummer {number}, der für sich steht.")
    made = ingested(tmp_path, validation_fraction=0.0, test_fraction=0.0)
    assert made.summary["documents"] == 7 and "a.csv is read as one text" in " ".join(made.summary["warnings"])
    assert ingested(tmp_path, text="text").summary["documents"] == 60


def test_columns_are_of_tables(tmp_path):
    (tmp_path / "a.txt").write_text("A text.")
    with pytest.raises(DataError, match="ingestion.label: received 'kind', but .* holds no tables"):
        ingested(tmp_path, label="kind")
    with pytest.raises(ConfigError, match="text='body', expected null for the source topics"):
        TextIngestion.model_validate({"text": "body"})


def test_a_default_vocabulary_adapts_and_a_chosen_one_is_refused(tmp_path, caplog):
    made = ingested(written(tmp_path / "a.csv"))
    assert made.summary["vocabulary"] < 4096 and "ingestion.vocabulary is adapted to the training texts" in caplog.text
    with pytest.raises(ConfigError, match="ingestion.vocabulary: received 4096, expected no more than"):
        ingested(tmp_path / "a.csv", vocabulary=4096)
