import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from unlabeled.config import Ingestion
from unlabeled.errors import ConfigError, DataError
from unlabeled.images.ingest import ingest
from unlabeled.ingestion.groups import Grouper, groups_of, sentence_of
from unlabeled.text.config import TextIngestion
from unlabeled.text.ingest import ingest as ingest_texts


def bursts(root, count, size=5):
    """Folders with `count` bursts of so many different images."""
    root.mkdir(parents=True, exist_ok=True)
    for burst in range(count):
        for shot in range(size):
            pixels = np.random.default_rng([burst, shot]).integers(0, 256, (12, 12), np.uint8)
            Image.fromarray(pixels).save(root / f"burst{burst}_{shot}.png")
    return root


def ingested(root, **options):
    return ingest(Ingestion(source="image_folder", path=str(root), **options), root.parent)


@pytest.mark.parametrize(
    "expression, path, group",
    [
        (r"patient\d+", "a/patient12/3.png", "patient12"),
        (r"p(\d+)/", "a/p12/3.png", "12"),
        (r"^(a)|^(b)", "b/3.png", "b"),
        (r"patient\d+", "a/3.png", None),
        (r"\d*", "a/3.png", None),
        (None, "a/3.png", None),
    ],
)
def test_a_group_is_what_the_expression_finds_in_a_path(expression, path, group):
    assert Grouper(expression).group_of(path) == group


def test_no_split_divides_a_group(tmp_path):
    manifest = ingested(bursts(tmp_path / "photos", 60), group=r"burst\d+").manifest
    assert manifest.group.nunique() == 60 and (manifest.groupby("group").split.nunique() == 1).all()
    assert set(manifest.split) == {"train", "validation", "test"}


def test_a_group_stays_where_it_is_when_others_and_more_of_it_are_added(tmp_path):
    before = ingested(bursts(tmp_path / "a" / "photos", 20, 3), group=r"burst\d+").manifest
    after = ingested(bursts(tmp_path / "b" / "photos", 40), group=r"burst\d+").manifest
    assert (
        dict(zip(before.group, before.split, strict=True)).items()
        <= dict(zip(after.group, after.split, strict=True)).items()
    )


def test_without_an_expression_equal_pixels_are_a_group_and_nothing_moves(tmp_path):
    result = ingested(bursts(tmp_path / "photos", 20))
    assert result.manifest.group.nunique() == 100 and sentence_of(result.summary) == ""
    place = [int(digest[:13], 16) / 16**13 for digest in result.manifest.sha256]
    assert [p < 0.1 for p in place] == (result.manifest.split == "validation").tolist()


def test_paths_that_are_in_no_group_are_counted_in_a_warning(tmp_path, caplog):
    bursts(tmp_path / "photos", 20)
    for number in range(3):
        Image.new("L", (12, 12), 50 * number).save(tmp_path / "photos" / f"other{number}.png")
    result = ingested(tmp_path / "photos", group=r"burst\d+")
    assert result.manifest.group.nunique() == 23
    (warning,) = result.summary["warnings"]
    assert "says nothing of 3 of 103 paths, such as other0.png" in warning and warning in caplog.text


def test_official_splits_win_and_the_groups_that_they_divide_are_counted(tmp_path):
    bursts(tmp_path / "photos" / "train", 10, 2)
    for shot in range(2):
        pixels = np.random.default_rng([99, shot]).integers(0, 256, (12, 12), np.uint8)
        (tmp_path / "photos" / "test").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / "test" / f"burst{shot}.png")
    result = ingested(tmp_path / "photos", group=r"burst\d+", validation_fraction=0)
    assert result.summary["splits"] == {"test": 2, "train": 20}
    assert "2 groups (ingestion.group='burst\\\\d+') lie in several" in "".join(result.summary["warnings"])


def test_the_summary_says_how_many_groups_each_split_has():
    rows = [("a", "train"), ("a", "train"), ("b", "test"), ("c", "test"), ("c", "test"), ("d", "excluded")]
    manifest = pd.DataFrame(rows, columns=["group", "split"])
    summary = groups_of(manifest, "ingestion.group='x'", "images")
    assert summary["groups"]["count"] == 4 and summary["groups"]["splits"] == {"excluded": 1, "test": 2, "train": 1}
    assert sentence_of(summary) == "2 train images in 1 group, 3 test images in 2 groups (ingestion.group='x')"
    assert sentence_of({}) == ""


def test_groups_that_a_user_names_are_part_of_the_digest_of_the_data(tmp_path):
    root = bursts(tmp_path / "photos", 30)
    digests = [ingested(root, group=group, test_fraction=0, validation_fraction=0) for group in (None, r"\d+", "b")]
    assert len({each.summary["data_digest"] for each in digests}) == 3


def test_what_is_no_regular_expression_is_refused():
    with pytest.raises(ConfigError, match="ingestion.group: received '\\(', expected a regular expression"):
        Ingestion.model_validate({"group": "("})


def documents(root, count, shared=""):
    root.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        words = " ".join(map(str, np.random.default_rng(number).integers(0, 10**6, 200)))
        (root / f"{number:03}.txt").write_text("\n".join([words, words[::-1], "", shared]))
    return root


def texts(root, **options):
    return ingest_texts(TextIngestion(source="text", path=str(root), passage=200, vocabulary=300, **options))


def test_passages_of_a_document_are_a_group(tmp_path):
    result = texts(documents(tmp_path / "texts", 40))
    assert (result.manifest.group == result.manifest.path).all()
    assert "test passages in" in sentence_of(result.summary) and "(documents)" in sentence_of(result.summary)


def test_documents_are_grouped_by_their_names(tmp_path):
    manifest = texts(documents(tmp_path / "texts", 80), group=r"^\d\d").manifest
    assert manifest.group.nunique() == 8 and (manifest.groupby("group").split.nunique() == 1).all()


def test_a_document_stays_in_its_split_when_another_is_added_that_holds_a_paragraph_of_it(tmp_path):
    shared = "A paragraph that stands in all of the documents, and is long enough to be no coincidence at all."
    root = documents(tmp_path / "texts", 60, shared)
    before = texts(root).manifest.drop_duplicates("path").set_index("path").split
    (root / "short.txt").write_text(shared)
    after = texts(root).manifest.drop_duplicates("path").set_index("path").split
    assert (after[before.index] == before).all()


def patients(root, column="patient", missing=()):
    """Images with a table that names a patient for every five."""
    bursts(root, 30)
    names = sorted(path.name for path in root.iterdir())
    rows = [f"{name},{'' if number in missing else f'p{number // 5}'}" for number, name in enumerate(names)]
    (root / "metadata.csv").write_text("\n".join([f"file_name,{column}", *rows]))
    return root


@pytest.mark.parametrize("column", ["patient", "Patient ID"])
def test_a_column_of_metadata_names_the_groups_and_no_classes(tmp_path, column):
    result = ingested(patients(tmp_path / "photos", column), group=f"column:{column.lower()}")
    assert set(result.manifest.group) == {f"p{number}" for number in range(30)} and not result.summary["classes"]
    assert (result.manifest.groupby("group").split.nunique() == 1).all()


def test_files_without_a_group_in_metadata_are_each_of_their_own(tmp_path):
    result = ingested(patients(tmp_path / "photos", missing=(0, 1)), group="column:patient")
    assert result.manifest.group.nunique() == 32
    assert "ingestion.group='column:patient' says nothing of 2 of 150 paths" in "".join(result.summary["warnings"])


def test_a_column_of_parquet_names_the_groups(tmp_path):
    root = bursts(tmp_path / "photos", 10)
    content = [path.read_bytes() for path in sorted(root.iterdir())]
    table = pa.table({"image": [{"bytes": each} for each in content], "patient": np.repeat(np.arange(10), 5)})
    pq.write_table(table, tmp_path / "a.parquet")
    config = Ingestion(source="parquet", path=str(tmp_path / "a.parquet"), group="column:patient")
    manifest = ingest(config, tmp_path / "out").manifest
    assert set(manifest.group) == set("0123456789") and (manifest.groupby("group").split.nunique() == 1).all()


def test_a_column_of_groups_that_is_not_there_is_named(tmp_path):
    root = patients(tmp_path / "photos")
    message = "ingestion.group: received 'person', expected one of .*metadata.csv's columns, file_name, patient"
    with pytest.raises(DataError, match=message):
        ingested(root, group="column:person")
    (root / "metadata.csv").unlink()
    with pytest.raises(DataError, match="ingestion.group: received column:person, but .* has no metadata.csv"):
        ingested(root, group="column:person")


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"group": "column:"}, "ingestion.group: received 'column:', expected the name of a column after column:"),
        ({"group": "column:a"}, "group='column:a', expected a regular expression: digits has no columns"),
    ],
)
def test_a_column_of_groups_is_checked_before_anything_is_read(keys, message):
    with pytest.raises(ConfigError, match=message):
        Ingestion.model_validate(keys)
