import json
import urllib.request

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unlabeled.config import Ingestion
from unlabeled.errors import DataError
from unlabeled.images.sources import open_source

PNG = b"\x89PNG, as far as a source can tell"


WITHOUT_IMAGES = [
    {"text": ["a"]},
    {"image": [b"bytes alone"]},
    {"image": [{"path": "a.png"}]},
    {"image": [{"bytes": [1, 2]}]},
    {"image": [{"bytes": b"1", "path": 3}]},
]


def folder_of(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PNG)
    return root


def table_of(path, images, labels=None, names=None, column="image"):
    """A Parquet file as the Hugging Face Hub lays it out; images are bytes, a path, or both."""
    pairs = [image if isinstance(image, tuple) else (image, None) for image in images]
    structs = pa.array([{"bytes": content, "path": name} for content, name in pairs], IMAGE)
    table = pa.table({column: structs} | ({} if labels is None else {"label": labels}))
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def opened(source, path, **options):
    return open_source(Ingestion(source=source, path=str(path), **options))


def items(source, path, **options):
    """(path, label, split) of every item; their number is what the source promised."""
    stream = opened(source, path, **options)
    found = list(stream.items)
    assert len(found) == stream.total
    return [(item.path, item.label, item.split) for item in found]


def refusal(source, path, **options):
    with pytest.raises(DataError) as refused:
        list(opened(source, path, **options).items)
    message = str(refused.value)
    assert "\n" not in message
    return message


def test_digits_are_scikit_learns_with_their_classes(digits):
    source = open_source(Ingestion())
    found = list(source.items)
    assert len(found) == source.total == 1797
    np.testing.assert_array_equal([item.content for item in found], digits[0][:, 0])
    assert [item.label for item in found] == [str(target) for target in digits[1]]
    assert {item.split for item in found} == {None} and len({item.path for item in found}) == 1797


@pytest.mark.parametrize("source", ["image_folder", "parquet"])
def test_a_path_that_does_not_exist(source, tmp_path):
    assert refusal(source, tmp_path / "nothing") == f"ingestion.path: {tmp_path}/nothing does not exist"


def test_the_users_folder_is_written_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder_of(tmp_path / "photos", "a.png")
    assert items("image_folder", "~/photos") == [("a.png", None, None)]


def test_a_flat_folder_has_no_labels(tmp_path):
    folder_of(tmp_path, "b.png", "a.jpg", "c.tiff")
    assert items("image_folder", tmp_path) == [(name, None, None) for name in ("a.jpg", "b.png", "c.tiff")]


def test_images_are_read_when_they_are_decoded(tmp_path):
    folder_of(tmp_path, "a/b.png")
    (item,) = opened("image_folder", tmp_path).items
    assert item.content == tmp_path / "a" / "b.png"


def test_the_class_is_the_first_folder_however_deep_the_image_lies(tmp_path):
    folder_of(tmp_path, "cat/a.png", "cat/2023/may/b.png", "dog/c.png", "d.png")
    assert items("image_folder", tmp_path) == [
        ("cat/2023/may/b.png", "cat", None),
        ("cat/a.png", "cat", None),
        ("d.png", None, None),
        ("dog/c.png", "dog", None),
    ]


@pytest.mark.parametrize(
    "folder, split",
    [("train", "train"), ("Training", "train"), ("val", "validation"), ("valid", "validation"), ("TEST", "test")],
)
def test_folders_named_after_splits_are_the_splits_and_their_folders_the_classes(tmp_path, folder, split):
    folder_of(tmp_path, f"{folder}/cat/a.png", "test/dog/deeper/b.png", "test/c.png")
    assert set(items("image_folder", tmp_path)) == {
        (f"{folder}/cat/a.png", "cat", split),
        ("test/dog/deeper/b.png", "dog", "test"),
        ("test/c.png", None, "test"),
    }


def test_a_source_says_which_splits_it_brings(tmp_path):
    folder_of(tmp_path, "train/cat/a.png", "validation/cat/b.png")
    official = {"train": "train/", "validation": "validation/"}
    assert opened("image_folder", tmp_path).understood.official == official
    metadata_of(tmp_path, "file_name,split\ntrain/cat/a.png,test\n")
    official = {"test": "the column split of metadata.csv", "validation": "validation/"}
    assert opened("image_folder", tmp_path).understood.official == official


def test_a_class_may_be_called_train_beside_others(tmp_path):
    folder_of(tmp_path, "train/a.png", "bus/b.png")
    assert items("image_folder", tmp_path) == [("bus/b.png", "bus", None), ("train/a.png", "train", None)]


def test_hidden_files_and_what_dvc_leaves_are_no_images(tmp_path):
    folder_of(tmp_path, "a.png", ".DS_Store", ".git/b.png", "cat/.c.png", "photos.dvc", "cat/e.png")
    assert [path for path, *_ in items("image_folder", tmp_path)] == ["a.png", "cat/e.png"]


def test_what_metadata_say_makes_a_guess_from_folders_needless(tmp_path):
    folder_of(tmp_path, "train/a.png", "bus/b.png", "car/c.png")
    assert "train/ beside bus/, car/ is taken for a class" in str(opened("image_folder", tmp_path).understood.warnings)
    metadata_of(tmp_path, "file_name,label,split\ntrain/a.png,x,train\nbus/b.png,x,test\ncar/c.png,y,test\n")
    assert opened("image_folder", tmp_path).understood.warnings == []


def test_folders_of_splits_count_for_what_metadata_do_not_split(tmp_path):
    folder_of(tmp_path, "train/a.png", "test/b.png")
    metadata_of(tmp_path, "file_name,label,split\ntrain/a.png,x,train\ntest/b.png,x,train\n")
    assert opened("image_folder", tmp_path).understood.official.keys() == {"train"}


def test_files_of_unknown_endings_are_left_for_the_decoder_to_refuse(tmp_path):
    folder_of(tmp_path, "a.png", "b.xyz", "c", "notes.txt")
    assert [path for path, *_ in items("image_folder", tmp_path)] == ["a.png", "b.xyz", "c"]


def test_what_metadata_name_is_read_whatever_it_is_called(tmp_path):
    metadata_of(folder_of(tmp_path, "a.png", "b.txt"), "file_name,label\na.png,cat\nb.txt,dog\n")
    assert items("image_folder", tmp_path) == [("a.png", "cat", None), ("b.txt", "dog", None)]


def test_folders_and_files_may_be_links(tmp_path):
    folder_of(tmp_path / "elsewhere", "a.png")
    folder_of(tmp_path / "photos", "cat/b.png")
    (tmp_path / "photos" / "dog").symlink_to(tmp_path / "elsewhere")
    assert items("image_folder", tmp_path / "photos") == [("cat/b.png", "cat", None), ("dog/a.png", "dog", None)]


@pytest.mark.parametrize(
    "names, left_out",
    [
        ([], ""),
        (["photos.dvc"], "; left out: 1 left by systems and tools (photos.dvc)"),
        ([".hidden/a.png"], "; left out: 1 hidden (.hidden/)"),
        (["photos.zip"], "; left out: 1 not images by their names (photos.zip)"),
    ],
)
def test_a_folder_without_images(tmp_path, names, left_out):
    folder_of(tmp_path, *names)
    assert refusal("image_folder", tmp_path) == f"ingestion.path: {tmp_path} holds no images{left_out}"


def test_a_link_to_a_folder_above_is_not_followed(tmp_path):
    folder_of(tmp_path, "cat/a.png")
    (tmp_path / "cat/above").symlink_to("..")
    (tmp_path / "cat/itself").symlink_to(".")
    assert items("image_folder", tmp_path) == [("cat/a.png", "cat", None)]


def test_a_file_in_place_of_a_folder(tmp_path):
    folder_of(tmp_path, "a.png")
    assert "a.png is a file, expected a folder of images" in refusal("image_folder", tmp_path / "a.png")


def metadata_of(root, text, encoding="utf-8"):
    (root / "metadata.csv").write_bytes(text.encode(encoding))
    return root


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_metadata_give_the_labels(tmp_path, encoding, newline):
    folder_of(tmp_path, "a.png", "x/b.png", "x/c.png", "d.png")
    lines = ["file_name,label", "a.png,Käfer", './x/b.png,"bee, small"', "x/c.png,", ""]
    metadata_of(tmp_path, newline.join(lines), encoding)
    assert items("image_folder", tmp_path) == [
        ("a.png", "Käfer", None),
        ("d.png", None, None),  # not listed: unlabelled
        ("x/b.png", "bee, small", None),
        ("x/c.png", None, None),
    ]


def test_metadata_give_the_splits_too(tmp_path):
    folder_of(tmp_path, "a.png", "b.png", "c.png", "d.png")
    metadata_of(tmp_path, "file_name,split,label\na.png,train,0\nb.png,TEST,1\nc.png,val,1\nd.png,,\n")
    assert items("image_folder", tmp_path) == [
        ("a.png", "0", "train"),
        ("b.png", "1", "test"),
        ("c.png", "1", "validation"),
        ("d.png", None, None),
    ]


def test_spaces_around_the_names_of_metadatas_columns_do_no_harm(tmp_path):
    folder_of(tmp_path, "a.png")
    metadata_of(tmp_path, "file_name, label ,split\na.png, cat, train\n")
    assert items("image_folder", tmp_path) == [("a.png", "cat", "train")]


def test_metadata_without_a_column_of_labels_are_told(tmp_path):
    folder_of(tmp_path, "a.png")
    metadata_of(tmp_path, "file_name,photographer\na.png,Ann\n")
    assert items("image_folder", tmp_path) == [("a.png", None, None)]
    (told,) = opened("image_folder", tmp_path).understood.warnings
    assert told.endswith("metadata.csv has no column label: what it names is without labels")


def test_a_split_that_is_none_is_refused(tmp_path):
    folder_of(tmp_path, "a.png")
    metadata_of(tmp_path, "file_name,split\na.png,tset\n")
    assert "line 2: received the split 'tset', expected train, training, test, val" in refusal("image_folder", tmp_path)


def test_metadata_without_labels_and_beside_folders_leave_images_unlabelled(tmp_path):
    metadata_of(folder_of(tmp_path, "cat/a.png"), "file_name,photographer\ncat/a.png,Ann\n")
    assert items("image_folder", tmp_path) == [("cat/a.png", None, None)]


def test_listed_files_that_are_missing_are_items_without_content(tmp_path):
    metadata_of(folder_of(tmp_path, "a.png"), "file_name,label\na.png,cat\ngone.png,dog\n")
    source = opened("image_folder", tmp_path)
    assert {item.path: item.content for item in source.items} == {"a.png": tmp_path / "a.png", "gone.png": None}
    assert source.total == 2


def test_metadata_of_nothing_but_missing_files(tmp_path):
    metadata_of(tmp_path, "file_name,label\ngone.png,dog\n")
    assert items("image_folder", tmp_path) == [("gone.png", None, None)]


@pytest.mark.parametrize(
    "text, columns", [("name,label\na.png,cat\n", "name, label"), ("", "(none)"), ("a.png;cat\n", "a.png, cat")]
)
def test_metadata_without_file_names(tmp_path, text, columns):
    metadata_of(folder_of(tmp_path, "a.png"), text)
    message = f"{tmp_path}/metadata.csv has the columns {columns}, expected file_name (and label)"
    assert refusal("image_folder", tmp_path) == message


@pytest.mark.parametrize(
    "content", ["file_name,label\na.png,Käfer\n".encode("latin-1"), b"\x89PNG\xff", b"file_name\n" + b"a" * 200_000]
)
def test_metadata_that_are_no_csv(tmp_path, content):
    folder_of(tmp_path, "a.png")
    (tmp_path / "metadata.csv").write_bytes(content)
    assert "metadata.csv is not a CSV file in UTF-8 (" in refusal("image_folder", tmp_path)


def test_parquet_holds_images_as_bytes_or_as_paths_beside_it_or_both(tmp_path):
    images = [b"one", (None, "two.png"), (b"three", "gone.png"), (b"", "four.png"), (None, None)]
    for name in ("two.png", "four.png"):
        (tmp_path / name).touch()
    path = table_of(tmp_path / "a.parquet", images)
    contents = [item.content for item in opened("parquet", path).items]
    assert contents == [b"one", tmp_path / "two.png", b"three", tmp_path / "four.png", None]


def test_a_row_without_an_image_is_an_item_without_content(tmp_path):
    pq.write_table(
        pa.table({"image": pa.array([None, {"bytes": b"one", "path": None}], IMAGE)}), tmp_path / "a.parquet"
    )
    assert [item.content for item in opened("parquet", tmp_path).items] == [None, b"one"]


def test_parquet_items_are_named_by_file_and_row(tmp_path):
    table_of(tmp_path / "x" / "b.parquet", [b"0", b"1"])
    table_of(tmp_path / "a.parquet", [b"2"])
    assert items("parquet", tmp_path) == [
        (name, None, None) for name in ("a.parquet/0", "x/b.parquet/0", "x/b.parquet/1")
    ]


@pytest.mark.parametrize(
    "labels, names, expected",
    [
        (None, None, [None, None, None]),
        ([0, 1, 7], None, ["0", "1", "7"]),
        ([0, -1, None], None, ["0", None, None]),
        ([0, 1, -1], ["cat", "dog"], ["cat", "dog", None]),
        (["cat", "", None], None, ["cat", None, None]),
        (pa.array(["cat", "dog", "cat"]).dictionary_encode(), None, ["cat", "dog", "cat"]),
        (pa.array([1, 0, 1], pa.uint8()), ["cat", "dog"], ["dog", "cat", "dog"]),
        (pa.array(["cat", "dog", "cat"], pa.large_string()), None, ["cat", "dog", "cat"]),
        (pa.nulls(3), None, [None, None, None]),
    ],
)
def test_labels_are_names_or_numbers_or_missing(tmp_path, labels, names, expected):
    path = table_of(tmp_path / "a.parquet", [b"0", b"1", b"2"], labels, names)
    assert [label for _, label, _ in items("parquet", path)] == expected


@pytest.mark.parametrize(
    "labels, names, expected",
    [
        ([0, 2], ["cat", "dog"], "1, the last of the 2 classes that the data name"),
        ([0, -2], ["cat", "dog"], "1, the last of the 2 classes that the data name"),
        ([0, -2], None, "more"),
    ],
)
def test_labels_out_of_range(tmp_path, labels, names, expected):
    path = table_of(tmp_path / "a.parquet", [b"0", b"1"], labels, names)
    assert refusal("parquet", path) == (
        f"a.parquet/1: received the label {labels[1]}, expected -1 (no label) or 0 to {expected}"
    )


@pytest.mark.parametrize("labels, kind", [([0.5, 1.0], "double"), ([[1], [2]], "list<"), ([b"a", b"b"], "binary")])
def test_labels_that_name_no_class(tmp_path, labels, kind):
    path = table_of(tmp_path / "a.parquet", [b"0", b"1"], labels)
    assert f"a.parquet: received labels of type {kind}" in refusal("parquet", path)


@pytest.mark.parametrize(
    "train, test",
    [
        ("train.parquet", "test.parquet"),
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("training.parquet", "TEST.parquet"),
    ],
)
def test_files_named_after_splits_are_the_splits(tmp_path, train, test):
    table_of(tmp_path / train, [b"0", b"1"])
    table_of(tmp_path / test, [b"2"])
    assert sorted(items("parquet", tmp_path)) == sorted(
        [(f"{train}/0", None, "train"), (f"{train}/1", None, "train"), (f"{test}/0", None, "test")]
    )


def test_parquet_files_say_which_splits_they_are(tmp_path):
    for name in ("train-0.parquet", "train-1.parquet", "valid.parquet"):
        table_of(tmp_path / name, [b"0"])
    official = {"train": "train-0.parquet, train-1.parquet", "validation": "valid.parquet"}
    assert opened("parquet", tmp_path).understood.official == official


def test_the_folders_above_the_path_name_no_split(tmp_path):
    path = table_of(tmp_path / "test" / "images.parquet", [b"0"])
    assert items("parquet", path.parent) == items("parquet", path) == [("images.parquet/0", None, None)]


def test_the_image_column_may_be_called_otherwise(tmp_path):
    path = table_of(tmp_path / "a.parquet", [b"one"], [3], column="img")
    (item,) = opened("parquet", path).items
    assert item.content == b"one" and item.label == "3"


def test_of_several_image_columns_image_is_taken(tmp_path):
    structs = {name: pa.array([{"bytes": name.encode(), "path": None}], IMAGE) for name in ("depth", "image", "mask")}
    pq.write_table(pa.table(structs), tmp_path / "a.parquet")
    assert [item.content for item in opened("parquet", tmp_path).items] == [b"image"]


@pytest.mark.parametrize("content", [b"", b"hello", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_a_file_that_is_no_parquet(tmp_path, content):
    (tmp_path / "a.parquet").write_bytes(content)
    assert f"ingestion.path: {tmp_path}/a.parquet cannot be read as Parquet (" in refusal("parquet", tmp_path)


def test_a_parquet_file_with_a_damaged_middle(tmp_path):
    path = table_of(tmp_path / "a.parquet", [np.random.default_rng(i).bytes(1000) for i in range(100)])
    content = path.read_bytes()
    path.write_bytes(content[:50] + b"\xff" * (len(content) // 2) + content[50 + len(content) // 2 :])
    assert "a.parquet cannot be read as Parquet (" in refusal("parquet", path)


@pytest.mark.parametrize("columns", WITHOUT_IMAGES)
def test_a_parquet_file_without_images(tmp_path, columns):
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    message = (
        f"a.parquet has the columns {next(iter(columns))}, expected an image column of structs with binary `bytes`"
    )
    assert message in refusal("parquet", tmp_path)


@pytest.mark.parametrize("metadata", ["{", "null", '{"info": 3}', '{"info": {"features": {"label": "cat"}}}'])
def test_metadata_that_are_not_the_hubs(tmp_path, metadata):
    table_of(tmp_path / "a.parquet", [b"0"], [1])
    table = pq.read_table(tmp_path / "a.parquet").replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, tmp_path / "a.parquet")
    assert "a.parquet: its metadata `huggingface` are not those of the Hub" in refusal("parquet", tmp_path)


def test_a_folder_without_parquet_files(tmp_path):
    folder_of(tmp_path, "a.png")
    assert refusal("parquet", tmp_path) == f"ingestion.path: {tmp_path} holds no .parquet files"


def test_the_last_file_is_looked_at_before_the_first_image_is_read(tmp_path):
    table_of(tmp_path / "a.parquet", [b"one"])
    (tmp_path / "z.parquet").write_bytes(b"torn")
    with pytest.raises(DataError, match="z.parquet cannot be read"):
        opened("parquet", tmp_path)


@pytest.mark.parametrize("dataset", ["cifar10", "stl10"])
def test_torchvisions_data_may_lie_there_as_parquet(tmp_path, dataset):
    table_of(tmp_path / "train.parquet", [b"0"], [1], ["cat", "dog"])
    table_of(tmp_path / "test.parquet", [b"1"], [0], ["cat", "dog"])
    expected = [("test.parquet/0", "cat", "test"), ("train.parquet/0", "dog", "train")]
    assert items("torchvision", tmp_path, dataset=dataset) == expected
    assert items("torchvision", tmp_path / "test.parquet", dataset=dataset) == [("test.parquet/0", "cat", "test")]


def test_parquet_files_that_nobody_has_pointed_to_are_not_torchvisions(tmp_path, monkeypatch):
    from torchvision import datasets

    def download(root, **options):
        raise RuntimeError("no network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "CIFAR10", download)
    (tmp_path / "data/01_raw").mkdir(parents=True)
    table_of(tmp_path / "data/01_raw/mine.parquet", [b"0"])
    with pytest.raises(DataError, match="no network"):
        open_source(Ingestion(source="torchvision"))


def imagenette(root, monkeypatch):
    names = [f"imagenette2/{part}/{word}/a.jpeg" for part in ("train", "val") for word in ("n01440764", "n03000684")]
    folder_of(root, *names)
    return [(names[0], "tench", "train"), (names[1], "chain saw", "train")] + [
        (names[2], "tench", "test"),
        (names[3], "chain saw", "test"),
    ]


def oxford_iiit_pet(root, monkeypatch):
    base = folder_of(root, "oxford-iiit-pet/images/Abyssinian_1.jpg") / "oxford-iiit-pet"
    (base / "annotations").mkdir()
    for part, number in (("trainval", 1), ("test", 2)):
        (base / f"annotations/{part}.txt").write_text(f"Abyssinian_{number} 1 1 1\ngreat_pyrenees_{number} 2 2 1\n")
    at = "oxford-iiit-pet/images"
    return [
        (f"{at}/{animal}_{number}.jpg", label, split)
        for number, split in ((1, "train"), (2, "test"))
        for animal, label in (("Abyssinian", "Abyssinian"), ("great_pyrenees", "Great Pyrenees"))
    ]


def flowers102(root, monkeypatch):
    from scipy.io import savemat
    from torchvision.datasets import Flowers102

    base = folder_of(root, "flowers-102/jpg/image_00001.jpg") / "flowers-102"
    savemat(base / "imagelabels.mat", {"labels": [1, 2, 1, 2, 1, 2]})
    savemat(base / "setid.mat", {"trnid": [1, 2], "valid": [3, 4], "tstid": [5, 6]})
    files = {key: (name, None) for key, (name, _) in Flowers102._file_dict.items()}  # the checksums of the real ones
    monkeypatch.setattr(Flowers102, "_file_dict", files)
    labels, splits = ("pink primrose", "hard-leaved pocket orchid"), ("train", "validation", "test")
    return [
        (f"flowers-102/jpg/image_{number:05d}.jpg", labels[(number - 1) % 2], splits[(number - 1) // 2])
        for number in range(1, 7)
    ]


def food101(root, monkeypatch):
    base = folder_of(root, "food-101/images/pho/1.jpg") / "food-101"
    (base / "meta").mkdir()
    (base / "meta/train.json").write_text('{"pho": ["pho/1", "../../../../outside"], "tacos": ["tacos/1"]}')
    (base / "meta/test.json").write_text('{"pho": ["pho/2"], "tacos": ["tacos/2"]}')
    found = [
        (f"food-101/images/{word}/{number}.jpg", word, split)
        for number, split in ((1, "train"), (2, "test"))
        for word in ("pho", "tacos")
    ]
    return [found[0], ("../../outside.jpg", "pho", "train"), *found[1:]]


def eurosat(root, monkeypatch):
    names = [f"eurosat/2750/{word}/{word}_1.jpg" for word in ("Forest", "River")]
    folder_of(root, *names)
    return [(names[0], "Forest", None), (names[1], "River", None)]


@pytest.mark.parametrize("layout", [imagenette, oxford_iiit_pet, flowers102, food101, eurosat])
def test_torchvisions_photographs_keep_their_splits_and_classes(tmp_path, monkeypatch, layout):
    name = layout.__name__
    expected = layout(tmp_path / name, monkeypatch)
    assert items("torchvision", tmp_path, dataset=name) == expected
    stream = opened("torchvision", tmp_path / name, dataset=name)
    assert stream.understood.official.keys() == {split for *_, split in expected if split}
    assert len(list(stream.sample(100))) == len(expected)
    outside = {item.path for item in stream.items if item.reason}
    assert outside == {path for path, *_ in expected if path.startswith("..")}


@pytest.mark.parametrize(
    "dataset",
    [
        *("cifar10", "cifar100", "fashion_mnist", "stl10", "svhn"),
        *("imagenette", "oxford_iiit_pet", "flowers102", "food101", "eurosat"),
    ],
)
def test_a_download_that_fails_says_what_else_can_be_done(tmp_path, monkeypatch, dataset):
    # The opener itself, not the environment's proxies: urllib reads those once a process.
    closed = {"http": "http://127.0.0.1:9", "https": "http://127.0.0.1:9"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(closed))
    monkeypatch.setattr(urllib.request, "_opener", opener)
    message = refusal("torchvision", tmp_path, dataset=dataset)
    assert message.startswith(f"{dataset} could not be downloaded to {tmp_path}/{dataset} (")
    assert "refused" in message and "ingestion.source=parquet and ingestion.path" in message
