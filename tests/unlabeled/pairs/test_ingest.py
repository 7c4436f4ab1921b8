"""Captioned images: their sources, their split, and what is wrong with them."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from unlabeled.errors import ConfigError, DataError
from unlabeled.pairs.config import PairsIngestion
from unlabeled.pairs.ingest import ingest

EMOJI = Path(__file__).resolve().parents[3] / "conf/emoji/parameters_clip.yml"
COLOURS = ["red", "green", "blue", "black"]


def picture(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(256, size=(8, 8, 3), dtype=np.uint8))


def folder_of(root, rows, columns=("file_name", "text", "kind"), drawn=None):
    """A folder of pictures with a metadata.csv; `drawn`: the names of the files, if they are not those of the rows."""
    root.mkdir(exist_ok=True)
    for seed, name in enumerate(drawn if drawn is not None else [row[0] for row in rows]):
        picture(seed).save(root / name)
    with (root / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return root


def ingested(tmp_path, path=None, **options):
    source = {"source": "pairs", "path": str(path)} if path else {}
    return ingest(PairsIngestion(**source, **options), tmp_path / "stored")


@pytest.fixture
def fish(tmp_path):
    rows = [[f"{i:02}.png", f"a {COLOURS[i % 4]} fish number {i}", COLOURS[i % 2]] for i in range(40)]
    return folder_of(tmp_path / "fish", rows)


def test_digits_are_described_by_what_is_seen(tmp_path):
    made = ingested(tmp_path)
    assert made.images.shape == (1797, 1, 8, 8) and made.summary["captions"] > 60
    words = made.manifest.text.str.split().map(set)
    assert all(label in said for label, said in zip(made.manifest.label, words, strict=True))
    ink = made.images.mean((1, 2, 3))
    assert ink[made.manifest.text.str.contains("bold")].min() > ink[made.manifest.text.str.contains("thin")].max()


def test_a_folder_with_captions_and_any_column_of_labels(tmp_path, fish):
    made = ingested(tmp_path, fish, label="kind")
    assert made.manifest.text[3] == "a black fish number 3" and made.summary["classes"] == ["green", "red"]
    assert ingested(tmp_path, fish).summary["classes"] == []


def test_captions_in_the_folders_of_splits(tmp_path, fish):
    rows = list(csv.reader((fish / "metadata.csv").read_text().splitlines()))[1:]
    for split, part in (("train", rows[:30]), ("test", rows[30:])):
        folder_of(tmp_path / "pairs", [], drawn=())
        folder_of(tmp_path / "pairs" / split, part)
    (tmp_path / "pairs/metadata.csv").unlink()
    made = ingested(tmp_path, tmp_path / "pairs", label="kind")
    texts = dict(zip(made.manifest.path, made.manifest.text, strict=True))
    assert texts["train/03.png"] == rows[3][1] and texts["test/31.png"] == rows[31][1]
    assert made.summary["splits"]["test"] == 10 and made.summary["classes"] == ["green", "red"]


def test_captions_in_lines_of_json(tmp_path, fish):
    before = ingested(tmp_path, fish).manifest
    rows = csv.DictReader((fish / "metadata.csv").read_text().splitlines())
    (fish / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (fish / "metadata.csv").unlink()
    assert ingested(tmp_path, fish).manifest.text.tolist() == before.text.tolist()


def test_columns_that_may_name_the_classes_are_told(tmp_path, fish, caplog):
    made = ingested(tmp_path, fish)
    assert made.summary["classes"] == [] and "set ingestion.label=kind" in " ".join(made.summary["warnings"])
    assert "the column kind may name the classes" in caplog.text
    caplog.clear()
    assert ingested(tmp_path, fish, label="none").summary["classes"] == []
    assert "may name the classes" not in caplog.text


def test_digits_may_be_without_labels(tmp_path):
    assert ingested(tmp_path, label="none").summary["classes"] == []


def test_parquet_gives_the_same(tmp_path, fish):
    files = sorted(fish.glob("*.png"))
    table = ingested(tmp_path, fish).manifest.set_index("path").loc[[file.name for file in files]]
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    (tmp_path / "parquet").mkdir()
    pq.write_table(pa.table({"image": images, "text": table.text.tolist()}), tmp_path / "parquet/all.parquet")
    again = ingested(tmp_path, tmp_path / "parquet").manifest
    assert again.text.tolist() == table.text.tolist() and again.sha256.tolist() == table.sha256.tolist()


def test_captions_that_differ_in_what_does_not_count_stay_on_one_side(tmp_path):
    forms = ["{}: beard", "{}: light skin tone, beard", "{}: medium-dark skin tone, beard"]  # as emoji have them
    rows = [[f"{i}{j}.png", form.format(f"person {i}"), ""] for i in range(30) for j, form in enumerate(forms)]
    folder, together = folder_of(tmp_path / "people", rows), yaml.safe_load(EMOJI.read_text())["clip"]["ingestion"]
    manifest = ingested(tmp_path, folder, together=together["together"]).manifest
    sides = manifest.groupby(manifest.text.str.split(":").str[0]).split.nunique()
    assert len(sides) == 30 and (sides == 1).all() and manifest.group.nunique() == 30
    assert (ingested(tmp_path, folder).manifest.groupby(manifest.text.str.split(":").str[0]).split.nunique() > 1).any()


def test_the_digest_is_of_images_and_captions(tmp_path, fish):
    before = ingested(tmp_path, fish).summary["data_digest"]
    assert ingested(tmp_path, fish).summary["data_digest"] == before
    text = (fish / "metadata.csv").read_text()
    (fish / "metadata.csv").write_text(text.replace("a black fish number 3,", "a black whale number 3,"))
    changed = ingested(tmp_path, fish).summary["data_digest"]
    assert changed != before and ingested(tmp_path, fish, tokenizer="bpe").summary["data_digest"] != changed


def test_what_lacks_its_other_half_is_quarantined(tmp_path):
    names = [f"{i:02}.png" for i in range(60)]
    rows = [[name, f"a {COLOURS[i % 4]} fish number {i}", ""] for i, name in enumerate(names)]
    rows[5][1], rows[7][0] = " ", "gone.png"
    quarantine = ingested(tmp_path, folder_of(tmp_path / "fish", rows, drawn=names)).quarantine
    assert dict(zip(quarantine.path, quarantine.reason, strict=True)) == {
        "05.png": "its caption is empty",
        "07.png": "no row of a table names it",
        "gone.png": "listed, but the file is missing",
    }


def test_a_folder_without_captions_is_one_sentence(tmp_path):
    (tmp_path / "bare").mkdir()
    picture(0).save(tmp_path / "bare/0.png")
    with pytest.raises(DataError, match="has no metadata.csv, expected one with the columns file_name,text"):
        ingested(tmp_path, tmp_path / "bare")
    rows = [["0.png", "fish"], ["1.png", "bird"]]
    said = "has the columns file_name, kind: set ingestion.caption to the column of captions"
    with pytest.raises(DataError, match=said):
        ingested(tmp_path, folder_of(tmp_path / "other", rows, ("file_name", "kind")))


@pytest.mark.parametrize("column", ["text", "Beschreibung", "Caption", "image_description", "Was man sieht"])
def test_captions_have_a_column_of_any_name(tmp_path, fish, column):
    rows = list(csv.reader((fish / "metadata.csv").read_text().splitlines()))[1:]
    for columns in (("file_name", column, "kind"), ("Image", column, "kind")):
        made = ingested(tmp_path, folder_of(tmp_path / "named", rows, columns), label="kind")
        assert made.manifest.text[3] == "a black fish number 3"


def test_a_column_of_captions_that_is_named_is_read(tmp_path):
    rows = [[f"{i}.png", f"a fish of which number {i} is", f"ein Fisch, die Nummer {i}"] for i in range(20)]
    folder = folder_of(tmp_path / "two", rows, ("file_name", "english", "deutsch"))
    with pytest.raises(DataError, match="set ingestion.caption to the column of captions"):
        ingested(tmp_path, folder)
    assert ingested(tmp_path, folder, caption="Deutsch").manifest.text.str.startswith("ein").all()


def test_a_table_of_any_name_describes_the_images_beside_it(tmp_path, fish):
    before = ingested(tmp_path, fish).manifest
    (fish / "metadata.csv").rename(fish / "Bilder.csv")
    for path in (fish, fish / "Bilder.csv"):
        made = ingested(tmp_path, path)
        assert made.manifest.equals(before) and made.summary["left_out"] == {}
    (fish / "more.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="of Bilder.csv, more.csv, name one as ingestion.path"):
        ingested(tmp_path, fish)


def test_captions_stand_beside_metadata(tmp_path, fish):
    before = ingested(tmp_path, fish, label="kind").manifest
    rows = list(csv.DictReader((fish / "metadata.csv").read_text().splitlines()))
    for name, column in (("metadata.csv", "kind"), ("captions.csv", "text")):
        with (fish / name).open("w", newline="") as file:
            csv.writer(file).writerows([["file_name", column], *([row["file_name"], row[column]] for row in rows)])
    made = ingested(tmp_path, fish, label="kind")
    assert made.manifest.equals(before) and made.summary["warnings"] == []
    (fish / "captions.tsv").write_text("file_name\ttext\n")
    with pytest.raises(DataError, match="received .*captions.csv and .*captions.tsv, expected one of both"):
        ingested(tmp_path, fish)


def test_captions_that_are_no_utf8_are_one_sentence(tmp_path, fish):
    (fish / "metadata.csv").write_bytes(b"file_name,text\n00.png,caf\xe9\n")
    with pytest.raises(DataError, match=r"metadata.csv is not a CSV file in UTF-8"):
        ingested(tmp_path, fish)


def test_a_caption_with_a_comma_and_no_quotes_is_not_cut(tmp_path, fish):
    with (fish / "metadata.csv").open("a") as file:
        file.write("99.png,a dog, running,red\n")
    with pytest.raises(DataError, match="line 42: received 4 values, expected 3, for file_name, text, kind; put text"):
        ingested(tmp_path, fish)


def test_an_image_with_two_captions_is_told(tmp_path, fish):
    with (fish / "metadata.csv").open("a") as file:
        file.write("03.png,another one,red\n")
    with pytest.raises(DataError, match="line 42: 03.png is named a second time, expected once"):
        ingested(tmp_path, fish)


def test_captions_in_parquet_that_are_no_strings_are_told(tmp_path):
    table = pa.table({"image": [{"bytes": b"", "path": "a.png"}], "text": [["one", "two"]]})
    pq.write_table(table, tmp_path / "lists.parquet")
    with pytest.raises(DataError, match="received a column text of type list<.*>, expected one string an image"):
        ingested(tmp_path, tmp_path / "lists.parquet")


def test_a_vocabulary_below_the_characters_is_refused(tmp_path, fish):
    with pytest.raises(ConfigError, match="ingestion.vocabulary: received 60, expected 261 or more"):
        ingested(tmp_path, fish, tokenizer="bpe", vocabulary=60)


def test_a_vocabulary_larger_than_the_captions_allow_is_refused(tmp_path, fish):
    with pytest.raises(ConfigError, match=r"ingestion.vocabulary: received 5000, expected no more than \d+"):
        ingested(tmp_path, fish, vocabulary=5000)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"source": "pairs"}, "path=None, expected ingestion.path to be set for the source pairs"),
        ({"together": ": [a-z]+"}, "together=': .a-z.*', expected none for the source captioned_digits"),
        ({"caption": "text"}, "caption='text', expected none for the source captioned_digits: it is of source=pairs"),
        ({"path": "/my"}, "path='/my', expected none for the source captioned_digits: it is of source=pairs"),
        (
            {"source": "pairs", "path": "/my", "together": "["},
            r"together: received '\[', expected a regular expression",
        ),
        ({"source": "pairs", "path": "/my", "together": "a", "group": "b"}, "together='a' and group='b', expected one"),
        ({"source": "folder"}, "ingestion.source: received 'folder', expected 'captioned_digits' or 'pairs'"),
    ],
)
def test_a_wrong_parameter_is_one_sentence(options, message):
    with pytest.raises(ConfigError, match=message):
        PairsIngestion.model_validate(options)


def test_a_column_that_is_not_there_is_named(tmp_path, fish):
    with pytest.raises(DataError, match="ingestion.label: received 'colour', expected one of .*file_name, text, kind"):
        ingested(tmp_path, fish, label="colour")
