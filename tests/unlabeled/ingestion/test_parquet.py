import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unlabeled.config import Ingestion
from unlabeled.errors import ConfigError, DataError
from unlabeled.images.sources import open_source
from unlabeled.ingestion import parquet
from unlabeled.ingestion.tables import some_rows
from unlabeled.ingestion.walk import find_files
from unlabeled.pairs.config import PairsIngestion
from unlabeled.pairs.sources import open_pairs

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
ANIMALS = ["cat", "dog"] * 4


def table_of(path, names=None, images=None, **columns):
    """A Parquet file with a column `image`, others, and what the Hub's metadata name of the classes of columns."""
    rows = len(next(iter(columns.values()), images or [0] * 8))
    content = images or [{"bytes": f"{path}/{i}".encode(), "path": None} for i in range(rows)]
    table = pa.table({"image": pa.array(content, IMAGE)} | columns)
    if names:
        features = {column: {"names": each, "_type": "ClassLabel"} for column, each in names.items()}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def items(path, **options):
    source = open_source(Ingestion(source="parquet", path=str(path), **options))
    found = list(source.items)
    assert len(found) == source.total
    return found


def labels(path, **options):
    return [item.label for item in items(path, **options)]


def warnings(path):
    return open_source(Ingestion(source="parquet", path=str(path))).understood.warnings


def test_a_folder_is_walked_once(tmp_path, monkeypatch):
    table_of(tmp_path / "train.parquet")
    walks = []
    monkeypatch.setattr(parquet, "find_files", lambda root, key: walks.append(root) or find_files(root, key))
    open_source(Ingestion(source="parquet", path=str(tmp_path)))
    open_source(Ingestion(source="torchvision", path=str(tmp_path)))
    table_of(tmp_path / "train.parquet", text=["a"] * 8)
    open_pairs(PairsIngestion(source="pairs", path=str(tmp_path)))
    assert walks == [tmp_path] * 3


def refusal(path, **options):
    with pytest.raises(DataError) as refused:
        items(path, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# Which column names the classes


@pytest.mark.parametrize("column", ["label", "Label", "fine_label", "class", "category", "target", "labels"])
def test_the_usual_columns_name_the_classes(tmp_path, column):
    assert labels(table_of(tmp_path / "a.parquet", **{column: ANIMALS})) == ANIMALS


def test_a_column_that_is_declared_to_be_of_classes_is_one(tmp_path):
    path = table_of(tmp_path / "a.parquet", {"animal": ["cat", "dog"]}, animal=[0, 1] * 4, weather=["sun", "rain"] * 4)
    assert labels(path) == ANIMALS


def test_names_of_classes_may_be_declared_beside_the_files(tmp_path):
    table_of(tmp_path / "data/a.parquet", label=[0, 1] * 4)
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    (tmp_path / "dataset_infos.json").write_text(json.dumps({"default": {"features": features}}))
    assert labels(tmp_path) == ANIMALS
    (tmp_path / "dataset_infos.json").write_text("[]")
    assert "dataset_infos.json is not a dataset_infos.json of the Hugging Face Hub" in refusal(tmp_path)


def test_fine_labels_go_before_coarse_ones(tmp_path):
    names = {"coarse_label": ["pet"], "fine_label": ["cat", "dog"]}
    path = table_of(tmp_path / "a.parquet", names, coarse_label=[0] * 8, fine_label=[0, 1] * 4)
    assert labels(path) == ANIMALS and labels(path, label="coarse_label") == ["pet"] * 8


def test_two_columns_of_declared_classes_are_asked_about(tmp_path):
    names = {"coarse": ["pet"], "fine": ["cat", "dog"]}
    path = table_of(tmp_path / "a.parquet", names, coarse=[0] * 8, fine=[0, 1] * 4)
    assert "one of the columns coarse, fine may name the classes" in refusal(path)


def test_a_column_that_may_name_the_classes_is_asked_about(tmp_path):
    path = table_of(
        tmp_path / "a.parquet",
        breed=ANIMALS, width=[32] * 8, seconds=[i / 10 for i in range(8)], vector=[[1.0], [2.0]] * 4, text=ANIMALS,
    )  # fmt: skip
    assert refusal(path) == (
        "a.parquet: the column breed may name the classes: set ingestion.label=breed, or ingestion.label=none"
    )
    assert labels(path, label="breed") == ANIMALS
    assert labels(path, label="none") == [None] * 8


def test_a_column_that_is_not_there_is_told(tmp_path):
    path = table_of(tmp_path / "a.parquet", label=ANIMALS)
    assert refusal(path, label="race") == (
        "ingestion.label: received 'race', expected one of a.parquet's columns, label, or none"
    )


def test_a_label_that_is_an_image_is_none(tmp_path):
    structs = pa.array([{"bytes": b"one", "path": None}], IMAGE)
    pq.write_table(pa.table({"image": structs, "label": structs}), tmp_path / "a.parquet")
    assert labels(tmp_path) == [None]


@pytest.mark.parametrize(
    "values, expected",
    [
        (pa.array([1.0, 0.0, None, float("nan")]), ["1", "0", None, None]),
        (pa.array([True, False, None, True]), ["True", "False", None, "True"]),
        (pa.array(["cat ", "cat", "", "NaN"]), ["cat", "cat", None, None]),
        (pa.array(["1.0", "2", "2.0", "-1"]), ["1", "2", "2", None]),
        (pa.array([0, 1, -1, 2], pa.int8()), ["0", "1", None, "2"]),
        (pa.array([0, 1, 0, 1], pa.uint64()), ["0", "1", "0", "1"]),
    ],
)
def test_labels_of_any_type(tmp_path, values, expected):
    assert labels(table_of(tmp_path / "a.parquet", label=values)) == expected


@pytest.mark.parametrize("values, kind", [([["cat"], ["dog"]], "list<"), ([{"a": 1}, {"a": 2}], "struct<")])
@pytest.mark.parametrize("column", ["label", "labels"])
def test_labels_of_many_values_are_refused(tmp_path, column, values, kind):
    message = refusal(table_of(tmp_path / "a.parquet", **{column: values}))
    assert message.startswith(f"a.parquet: received labels of type {kind}")
    assert message.endswith(
        "expected integers or strings, one an image: set ingestion.label to another column, or to none"
    )


def test_declared_booleans_have_names(tmp_path):
    assert labels(table_of(tmp_path / "a.parquet", {"label": ["no", "yes"]}, label=[True, False])) == ["yes", "no"]


# Several files


def test_each_file_has_its_own_numbers_of_classes(tmp_path):
    table_of(tmp_path / "test.parquet", {"label": ["dog", "cat"]}, label=[0, 1])
    table_of(tmp_path / "train.parquet", {"label": ["cat", "dog"]}, label=[0, 1])
    assert labels(tmp_path) == ["dog", "cat", "cat", "dog"]


def test_names_of_classes_that_one_file_declares_are_those_of_the_others(tmp_path):
    table_of(tmp_path / "test.parquet", label=[0, 1])
    table_of(tmp_path / "train.parquet", {"label": ["cat", "dog"]}, label=[0, 1])
    assert labels(tmp_path) == ["cat", "dog", "cat", "dog"]


def test_a_file_without_the_column_is_without_labels_and_is_told(tmp_path):
    table_of(tmp_path / "test.parquet", id=[0, 1])
    table_of(tmp_path / "train.parquet", label=["cat", "dog"])
    assert labels(tmp_path) == [None, None, "cat", "dog"]
    assert warnings(tmp_path) == ["test.parquet has no column label: it is without labels"]


def test_numbers_in_one_file_and_names_in_another_are_refused(tmp_path):
    table_of(tmp_path / "test.parquet", label=[0, 1])
    table_of(tmp_path / "train.parquet", label=["cat", "dog"])
    message = refusal(tmp_path)
    assert "test.parquet (and 1 more): received numbers and names in the column label, such as 0 and dog" in message


def test_metadata_beside_images_in_parquet_are_no_images(tmp_path):
    table_of(tmp_path / "a.parquet", label=["cat", "dog"])
    pq.write_table(pa.table({"file_name": ["a.png"], "label": ["fox"]}), tmp_path / "metadata.parquet")
    assert labels(tmp_path) == ["cat", "dog"]


def test_metadata_beside_unlabelled_images_in_parquet_are_told(tmp_path):
    table_of(tmp_path / "a.parquet", id=[0, 1])
    (tmp_path / "metadata.csv").write_text("file_name,label\n0.png,cat\n")
    assert warnings(tmp_path) == ["metadata.csv is not read: the labels of images in Parquet are one of its columns"]


def test_metadata_alone_are_told_the_source_that_reads_them(tmp_path):
    pq.write_table(pa.table({"file_name": ["a.png"], "label": ["fox"]}), tmp_path / "metadata.parquet")
    assert refusal(tmp_path).endswith("with binary `bytes`: for files that it names, set ingestion.source=image_folder")


def test_hidden_files_are_left_out(tmp_path):
    table_of(tmp_path / "a.parquet", label=["cat", "dog"])
    table_of(tmp_path / ".cache/b.parquet", label=["fox"])
    assert labels(tmp_path) == ["cat", "dog"]


# Images and splits


def test_of_several_columns_of_images_one_has_to_be_named(tmp_path):
    columns = {name: pa.array([{"bytes": name.encode(), "path": None}], IMAGE) for name in ("left", "right")}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert refusal(tmp_path).endswith("has the columns of images left, right: set ingestion.image to one of them")
    assert [item.content for item in items(tmp_path, image="right")] == [b"right"]
    message = refusal(tmp_path, image="middle")
    assert message.startswith("ingestion.image: received 'middle', expected one of") and "left, right" in message


def test_that_others_than_image_are_left_out_is_told(tmp_path):
    columns = {name: pa.array([{"bytes": name.encode(), "path": None}], IMAGE) for name in ("image", "mask")}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert [item.content for item in items(tmp_path)] == [b"image"]
    told = "of the columns of images image is read, mask not: ingestion.image names another"
    assert warnings(tmp_path) == [told]


def test_a_column_of_images_is_of_parquet():
    with pytest.raises(ConfigError, match="image='left', expected null for the source digits"):
        Ingestion.model_validate({"image": "left"})


@pytest.mark.parametrize("listed", ["pictures/a.png", "pictures\\a.png", "./pictures/a.png"])
@pytest.mark.parametrize("lies", [".", "data"])
def test_paths_are_relative_to_the_parquet_file_or_to_the_folder_of_all(tmp_path, listed, lies):
    table_of(tmp_path / "data/a.parquet", images=[{"bytes": None, "path": listed}])
    place = tmp_path / lies / "pictures/a.png"
    place.parent.mkdir(parents=True)
    place.touch()
    (item,) = items(tmp_path)
    assert item.content.samefile(place)


@pytest.mark.parametrize("column", ["split", "Set", "subset", "partition"])
def test_a_column_of_splits_goes_before_the_names_of_files(tmp_path, column):
    table_of(tmp_path / "train.parquet", **{column: ["training", "val", "TEST", None]})
    assert [item.split for item in items(tmp_path)] == ["train", "validation", "test", "train"]


def test_a_split_that_is_none_is_refused(tmp_path):
    path = table_of(tmp_path / "a.parquet", split=["train", "tset"])
    assert refusal(path).startswith("a.parquet/1: received the split 'tset', expected train")


def test_labels_are_read_some_rows_at_a_time(tmp_path):
    path = table_of(tmp_path / "a.parquet", label=["cat", "dog"] * 5000)
    assert labels(path) == ["cat", "dog"] * 5000


# What a row names, and what it takes


@pytest.mark.parametrize("named", ["../private/id.png", "{root}/private/id.png", "/dev/zero", "a/../../private/id.png"])
def test_a_file_outside_of_the_data_is_not_read_and_named_in_quarantine(tmp_path, named):
    (tmp_path / "private").mkdir()
    (tmp_path / "private/id.png").write_bytes(b"secret")
    named = named.format(root=tmp_path)
    table_of(tmp_path / "data/a.parquet", images=[{"bytes": None, "path": named}])
    for path in (tmp_path / "data", tmp_path / "data/a.parquet"):
        (item,) = items(path)
        assert item.content is None and item.reason == f"it names a file outside of {tmp_path / 'data'}: {named}"


def test_links_in_the_folder_of_the_data_are_followed_and_only_files_are_read(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.png").write_bytes(b"image")
    rows = [{"bytes": None, "path": name} for name in ("link/a.png", "device", "pipe", "x" * 5000, "a\0b", ".")]
    table_of(tmp_path / "data/a.parquet", images=rows)
    (tmp_path / "data/link").symlink_to("../elsewhere")
    (tmp_path / "data/device").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "data/pipe")
    first, *others = items(tmp_path / "data")
    assert first.content.read_bytes() == b"image" and {item.content for item in others} == {None}


def test_an_absolute_path_into_the_data_is_read(tmp_path):
    path = table_of(tmp_path / "a.parquet", images=[{"bytes": None, "path": str(tmp_path / "a.png")}])
    (tmp_path / "a.png").touch()
    assert items(path)[0].content == tmp_path / "a.png"


def test_a_row_group_that_would_fill_the_memory_is_refused(tmp_path):
    path, row = tmp_path / "a.parquet", {"bytes": bytes(2**27), "path": None}
    pq.write_table(pa.table({"image": pa.array([row] * 8, IMAGE)}), path, compression="zstd")
    assert path.stat().st_size < 10**5
    message = f"ingestion.path: {path} cannot be used: row group 0 would grow from"
    assert refusal(path).startswith(message)


def test_rows_are_read_by_their_bytes(tmp_path, monkeypatch):
    content = [{"bytes": os.urandom(1000) * 100, "path": None}] * 50 + [{"bytes": b"1", "path": None}] * 14
    path = table_of(tmp_path / "a.parquet", images=content)
    monkeypatch.setattr("unlabeled.ingestion.tables.PARQUET_BYTES", 500_000)
    with pq.ParquetFile(path) as file:
        sizes = [len(batch) for batch in some_rows(path, file, ["image"], 64)]
    assert sum(sizes) == 64 and max(sizes) <= 5
    assert [item.content for item in items(path)] == [row["bytes"] for row in content]
