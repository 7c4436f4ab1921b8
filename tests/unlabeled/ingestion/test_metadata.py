import json
import logging
import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unlabeled.config import Ingestion
from unlabeled.errors import ConfigError, DataError
from unlabeled.images.sources import open_source

HEAD = ["file_name,label"]
ANIMALS = ("cat", "dog")


def folder_of(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"an image, as far as a source can tell")
    return root


def written(path, lines, encoding="utf-8", newline="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((newline.join(lines) + newline).encode(encoding))
    return path.parent


def opened(root, **options):
    return open_source(Ingestion(source="image_folder", path=str(root), **options))


def labels(root, **options):
    """The label of each file that is there, by its path; their number is what the source promised."""
    source = opened(root, **options)
    found = list(source.items)
    assert len(found) == source.total
    return {item.path: item.label for item in found if item.content}


def splits(root, **options):
    return {item.path: item.split for item in opened(root, **options).items}


def warnings(root, **options):
    return " ".join(opened(root, **options).understood.warnings)


def reasons(root, **options):
    return {item.path: item.reason for item in opened(root, **options).items if item.reason}


def refusal(root, **options):
    with pytest.raises(DataError) as refused:
        list(opened(root, **options).items)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def animals(root, columns="file_name,label", count=8, row="{name},{animal}"):
    """A folder of cats and dogs in turn, with a metadata.csv."""
    names = [f"{i}.png" for i in range(count)]
    folder_of(root, *names)
    rows = [row.format(name=name, animal=ANIMALS[i % 2], i=i) for i, name in enumerate(names)]
    return written(root / "metadata.csv", [columns, *rows])


CATS_AND_DOGS = {f"{i}.png": ANIMALS[i % 2] for i in range(8)}


# Where metadata lie


def test_metadata_in_the_folders_of_splits_name_files_beside_them(tmp_path):
    for split, label in (("train", "cat"), ("test", "dog")):
        folder_of(tmp_path, f"{split}/a.png", f"{split}/deeper/b.png")
        written(tmp_path / split / "metadata.csv", [*HEAD, f"a.png,{label}", f"deeper/b.png,{label}"])
    assert labels(tmp_path) == {
        "train/a.png": "cat", "train/deeper/b.png": "cat", "test/a.png": "dog", "test/deeper/b.png": "dog"
    }  # fmt: skip
    assert splits(tmp_path) == dict.fromkeys(("train/a.png", "train/deeper/b.png"), "train") | dict.fromkeys(
        ("test/a.png", "test/deeper/b.png"), "test"
    )


def test_metadata_may_lie_in_a_folder_of_their_own(tmp_path):
    folder_of(tmp_path, "images/a.png")
    written(tmp_path / "annotations/metadata.csv", [*HEAD, "../images/a.png,cat"])
    assert labels(tmp_path) == {"images/a.png": "cat"}


def test_the_split_of_a_row_goes_before_that_of_the_folder(tmp_path):
    folder_of(tmp_path, "train/a.png", "train/b.png", "test/c.png")
    written(tmp_path / "metadata.csv", ["file_name,split", "train/a.png,val", "train/b.png,", "test/c.png,test"])
    assert splits(tmp_path) == {"train/a.png": "validation", "train/b.png": "train", "test/c.png": "test"}


@pytest.mark.parametrize("name", ["metadata.csv", "Metadata.CSV", "metadata.tsv", "metadata.jsonl", "metadata.parquet"])
def test_metadata_are_csv_tsv_lines_of_json_or_parquet(tmp_path, name):
    folder_of(tmp_path, "a.png", "b.png")
    rows = [{"file_name": "a.png", "label": "cat"}, {"file_name": "b.png", "label": None}]
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    elif name.endswith("jsonl"):
        written(tmp_path / name, map(json.dumps, rows))
    else:
        between = "\t" if name.endswith("tsv") else ","
        written(tmp_path / name, [between.join(each) for each in (("file_name", "label"), ("a.png", "cat"))])
    assert labels(tmp_path) == {"a.png": "cat", "b.png": None}


def test_two_metadata_of_one_folder_are_not_guessed_between(tmp_path):
    animals(tmp_path)
    written(tmp_path / "metadata.jsonl", ['{"file_name": "0.png", "label": "fox"}'])
    assert "metadata.jsonl, expected one of both" in refusal(tmp_path)


def test_two_metadata_that_contradict_each_other_are_told(tmp_path):
    folder_of(tmp_path, "sub/a.png")
    written(tmp_path / "metadata.csv", [*HEAD, "sub/a.png,cat"])
    written(tmp_path / "sub/metadata.csv", [*HEAD, "a.png,dog"])
    assert "sub/a.png is named a second time, expected once (here with the label 'dog', before with 'cat')" in refusal(
        tmp_path
    )


@pytest.mark.parametrize("ending", ["xlsx", "xls", "ods"])
def test_a_spreadsheet_is_told_how_to_be_saved(tmp_path, ending):
    folder_of(tmp_path, "a.png", f"metadata.{ending}")
    message = f"{tmp_path}/metadata.{ending} is a spreadsheet: save it as metadata.csv beside it"
    assert refusal(tmp_path) == f"ingestion.path: {message}"


@pytest.mark.parametrize("name", ["labels.csv", "train.csv", "annotations.json", "classes.txt", "labels.xlsx"])
def test_another_file_that_may_hold_the_labels_is_named_where_there_are_none(tmp_path, name):
    folder_of(tmp_path, "1.png", name)
    assert f"nothing here has a label, and {name} is not read: if it holds labels, save it as metadata.csv" in warnings(
        tmp_path
    )
    assert name not in warnings(animals(tmp_path))


# Which column names the classes


@pytest.mark.parametrize(
    "column", ["label", "Label", "fine_label", "class", "Class Name", "category", "target", "labels"]
)
def test_the_usual_columns_name_the_classes(tmp_path, column):
    assert labels(animals(tmp_path, f"file_name,{column}")) == CATS_AND_DOGS


def test_a_column_of_any_name_is_taken_where_it_is_named(tmp_path):
    root = animals(tmp_path, "file_name,breed,label", row="{name},{animal},x")
    assert labels(root, label="breed") == labels(root, label="BREED") == CATS_AND_DOGS
    assert set(labels(root).values()) == {"x"}


def test_a_column_that_may_name_the_classes_is_asked_about(tmp_path):
    root = animals(tmp_path, "file_name,breed,width,uploaded_by_id,caption,seconds", row="{name},{animal},64,7,a,0.{i}")
    assert refusal(root) == (
        f"{root}/metadata.csv: the column breed may name the classes: "
        f"set ingestion.label=breed, or ingestion.label=none"
    )


def test_several_columns_that_may_name_the_classes_are_listed(tmp_path):
    root = animals(tmp_path, "file_name,breed,owner", row="{name},{animal},owner of a {animal}")
    assert "one of the columns breed, owner may name the classes" in refusal(root)
    root = animals(tmp_path, "file_name,class,category", row="{name},{animal},{animal}")
    assert "one of the columns class, category may name the classes" in refusal(root)


def test_columns_whose_values_do_not_repeat_are_not_asked_about(tmp_path):
    root = animals(tmp_path, "file_name,seen_at,camera", row="{name},2026-01-0{i},Leica")
    assert set(labels(root).values()) == {None}


def test_none_is_no_labels_whatever_is_there(tmp_path):
    assert set(labels(animals(tmp_path / "a"), label="none").values()) == {None}
    assert set(labels(folder_of(tmp_path / "b", "cat/a.png", "dog/b.png"), label="none").values()) == {None}


def test_a_column_that_is_not_there_is_told(tmp_path):
    assert "ingestion.label: received 'race', expected one of" in refusal(animals(tmp_path / "a"), label="race")
    root = folder_of(tmp_path / "b", "cat/a.png")
    assert f"ingestion.label: received 'race', but {root} has no metadata.csv" in refusal(root, label="race")


def test_the_digits_have_no_columns():
    with pytest.raises(ConfigError, match="label='kind', expected null or none for the source digits"):
        Ingestion.model_validate({"label": "kind"})


def test_the_names_of_folders_are_the_classes_where_metadata_name_none(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    root = folder_of(tmp_path, *(f"{'cat' if i % 2 else 'dog'}/{i}.png" for i in range(8)))
    written(root / "metadata.csv", ["file_name,photographer", *(f"dog/{i}.png,Ann" for i in (0, 2, 4, 6))])
    assert set(labels(root).values()) == {"cat", "dog"}
    assert "it has no column of labels: the names of folders are the classes" in caplog.text


def test_the_labels_of_metadata_go_before_the_names_of_folders(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    root = folder_of(tmp_path, "part1/a.png", "part2/b.png")
    written(root / "metadata.csv", [*HEAD, "part1/a.png,cat", "part2/b.png,dog"])
    assert labels(root) == {"part1/a.png": "cat", "part2/b.png": "dog"}
    assert "its labels are the classes, the names of the folders are not" in caplog.text


def test_images_without_a_label_are_counted(tmp_path):
    folder_of(animals(tmp_path), "8.png", "9.png")
    with (tmp_path / "metadata.csv").open("a") as file:
        file.write("8.png,\n")
    assert [name for name, label in labels(tmp_path).items() if not label] == ["8.png", "9.png"]
    assert "2 of 10 files have no label; it does not name 1 of them" in warnings(tmp_path)


@pytest.mark.parametrize("column", ["split", "Split", "set", "subset", "partition"])
def test_the_usual_columns_name_the_splits(tmp_path, column):
    folder_of(tmp_path, "a.png", "b.png", "c.png")
    written(tmp_path / "metadata.csv", [f"file_name,{column}", "a.png,training", "b.png,Test", "c.png,valid"])
    assert splits(tmp_path) == {"a.png": "train", "b.png": "test", "c.png": "validation"}


def test_a_set_that_is_no_split_is_another_column(tmp_path):
    root = animals(tmp_path, "file_name,label,set", row="{name},{animal},tea")
    assert labels(root) == CATS_AND_DOGS and set(splits(root).values()) == {None}


# Which class a value is


@pytest.mark.parametrize(
    "given, expected",
    [
        (["cat ", " cat", "cat\u00a0", "dog"], ["cat", "cat", "cat", "dog"]),
        (["007", "7", "0", "10"], ["007", "7", "0", "10"]),
        (["1.0", "2", "", "2.0"], ["1", "2", None, "2"]),
        (["1.5", "2.0", "1.5", "2.0"], ["1.5", "2.0", "1.5", "2.0"]),
        (["0", "1", "-1", "2"], ["0", "1", None, "2"]),
        (["cat", "NaN", "n/a", "<NA>"], ["cat", None, None, None]),
        ([unicodedata.normalize("NFD", "Käfer"), "Käfer", "None", "-1"], ["Käfer", "Käfer", "None", "-1"]),
    ],
)
def test_labels_as_a_spreadsheet_writes_them(tmp_path, given, expected):
    names = folder_of(tmp_path, *(f"{i}.png" for i in range(4)))
    written(names / "metadata.csv", [*HEAD, *(f'{i}.png,"{label}"' for i, label in enumerate(given))])
    assert list(labels(tmp_path).values()) == expected


@pytest.mark.parametrize(
    "given, expected",
    [
        (["cat", " dog "], ["cat", "dog"]),
        ([7, 7.0], ["7", "7"]),
        ([True, False], ["True", "False"]),
        (["007", "7"], ["007", "7"]),
        ([3, None], ["3", None]),
        ([3, -1], ["3", None]),
        ([1, "2"], ["1", "2"]),
    ],
)
def test_labels_as_json_has_them(tmp_path, given, expected):
    folder_of(tmp_path, "0.png", "1.png")
    rows = [json.dumps({"file_name": f"{i}.png", "label": label}) for i, label in enumerate(given)]
    written(tmp_path / "metadata.jsonl", rows)
    assert list(labels(tmp_path).values()) == expected


@pytest.mark.parametrize(
    "given, message",
    [
        (["cat", ["cat", "dog"]], "received labels of type list in the column label, such as ['cat', 'dog'], expected"),
        ([0.5, 1], "received labels of type float in the column label, such as 0.5, expected integers or strings"),
        ([{"name": "cat"}, 1], "received labels of type dict"),
        (["cat", 1], "received numbers and names in the column label, such as 1 and cat, expected one of both"),
        ([1, -1], "received the labels -1 and 1, and -1 stands for no label, expected two classes: write 0 for -1"),
        ([1, -2], "line 2: received the label -2, expected -1 (no label) or 0 to more"),
    ],
)
def test_labels_that_are_no_classes(tmp_path, given, message):
    folder_of(tmp_path, "0.png", "1.png")
    rows = [json.dumps({"file_name": f"{i}.png", "label": label}) for i, label in enumerate(given)]
    written(tmp_path / "metadata.jsonl", rows)
    assert message in refusal(tmp_path)


def test_several_labels_an_image_are_refused_and_can_be_left_out(tmp_path):
    folder_of(tmp_path, "0.png")
    written(tmp_path / "metadata.jsonl", ['{"file_name": "0.png", "labels": ["cat", "dog"]}'])
    assert "set ingestion.label to another column, or to none" in refusal(tmp_path)
    assert labels(tmp_path, label="none") == {"0.png": None}


# Files as people have them


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("between", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_csv_of_any_spreadsheet(tmp_path, encoding, between, newline):
    folder_of(tmp_path, "a.png", "b.png")
    rows = [("file_name", "label", "", ""), ("a.png", "Käfer", "", ""), ("b.png", "bee", "", ""), ("", "", "", "")]
    written(tmp_path / "metadata.csv", map(between.join, rows), encoding, newline)
    assert labels(tmp_path) == {"a.png": "Käfer", "b.png": "bee"}


def test_rows_may_be_empty_and_excel_may_name_its_delimiter(tmp_path):
    folder_of(tmp_path, "a.png", "b.png")
    written(tmp_path / "metadata.csv", ["sep=;", ";", "file_name;label", "", "a.png;cat", ";", "b.png;dog", ";;", ""])
    assert labels(tmp_path) == {"a.png": "cat", "b.png": "dog"}


@pytest.mark.parametrize("column", ["file_name", "File_Name", "filename", "file name", "Filename"])
def test_the_column_of_names_may_be_written_otherwise(tmp_path, column):
    assert labels(animals(tmp_path, f"{column},label")) == CATS_AND_DOGS


@pytest.mark.parametrize(
    "name, listed",
    [
        ("é.png", unicodedata.normalize("NFD", "é.png")),
        (unicodedata.normalize("NFD", "é.png"), "é.png"),
        ("a.JPG", "a.jpg"),
        ("a.jpg", "A.JPG"),
        ("sub/a.png", "sub\\a.png"),
        ("sub/a.png", ".\\sub\\a.png"),
        ("a.png", "./a.png"),
        ("a.png", " a.png "),
        ("sub/a b.png", "sub/a%20b.png"),
        ("100%.png", "100%.png"),
        ("a\\b.png", "a\\b.png"),
        ("sub/a.png", "{root}/sub/a.png"),
        ("sub/a.png", "sub//x/../a.png"),
    ],
)
def test_names_as_macos_windows_and_the_web_write_them(tmp_path, name, listed):
    folder_of(tmp_path, name)
    written(tmp_path / "metadata.csv", [*HEAD, f'"{listed.format(root=tmp_path)}",cat'])
    assert labels(tmp_path) == {name: "cat"}


def test_a_name_by_way_of_a_link_is_of_the_file_that_is_read(tmp_path):
    folder_of(tmp_path, "photos/a.png")
    (tmp_path / "latest").symlink_to("photos")
    written(tmp_path / "metadata.csv", [*HEAD, "latest/a.png,cat"])
    assert labels(tmp_path) == {"photos/a.png": "cat"}


def test_metadata_that_cannot_be_read_are_told(tmp_path):
    folder_of(tmp_path, "a.png")
    (tmp_path / "metadata.csv").symlink_to("nowhere")
    assert refusal(tmp_path) == f"{tmp_path}/metadata.csv cannot be read (No such file or directory)"


def test_names_that_differ_in_case_alone_are_two_files(tmp_path):
    folder_of(tmp_path, "a.png", "A.png")
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system takes them for one")
    written(tmp_path / "metadata.csv", [*HEAD, "a.png,cat", "A.png,dog"])
    assert labels(tmp_path) == {"a.png": "cat", "A.png": "dog"}


def test_rows_of_a_file_that_agree_are_one(tmp_path):
    folder_of(tmp_path, "a.png")
    written(tmp_path / "metadata.csv", ["file_name,label,box", "a.png,cat,1", "./a.png,cat,2"])
    assert labels(tmp_path) == {"a.png": "cat"}
    written(tmp_path / "metadata.csv", ["file_name,label,box", "a.png,cat,1", "./a.png,dog,2"])
    assert "line 3: a.png is named a second time, expected once" in refusal(tmp_path)


@pytest.mark.parametrize(
    "listed, reason",
    [
        ("gone.png", "listed, but the file is missing"),
        ("7", "listed, but the file is missing (sub/007.png is there, and differs in its folder and name)"),
        ("sub/007.jpg", "listed, but the file is missing (sub/007.png is there, and differs in its name)"),
        ("007.png", "listed, but the file is missing (sub/007.png is there, and differs in its folder)"),
        ("C:\\mine\\007.png", "listed, but the file is missing (sub/007.png is there, and differs in its folder)"),
        ("sub", "listed and there, but not of what is read: {root}/photos/sub"),
        ("../other.png", "listed and there, but outside of ingestion.path: {root}/photos/../other.png"),
        ("x" * 5000, "listed, but the file is missing"),
    ],
)
def test_a_name_that_no_file_has_says_which_comes_near(tmp_path, listed, reason):
    root = tmp_path / "photos"
    folder_of(root, "sub/007.png", ".hidden.png", "../other.png")
    written(root / "metadata.csv", [*HEAD, f"{listed},cat"])
    assert list(reasons(root).values()) == [reason.format(root=tmp_path)]


@pytest.mark.parametrize(
    "lines, message",
    [
        (["file_name,label", ",cat"], "line 2: received a row without a file_name, expected one"),
        (["file_name,label", "a.png,cat,dog"], "line 2: received 3 values, expected 2, for file_name, label"),
        (["file_name,label,label", "a.png,cat,dog"], "metadata.csv has two columns label, expected one"),
        (["file_name,label", 'a.png,"cat', "b.png,dog"], "is not a CSV file in UTF-8 (unexpected end of data)"),
    ],
)
def test_csv_that_is_damaged(tmp_path, lines, message):
    folder_of(tmp_path, "a.png", "b.png")
    written(tmp_path / "metadata.csv", lines)
    assert message in refusal(tmp_path)


@pytest.mark.parametrize(
    "lines, message",
    [
        (["{"], "line 1: received no JSON (Expecting property name"),
        (['["a.png", "cat"]'], 'line 1: received ["a.png", "cat"], expected an object in one line'),
        (['{"file_name": "a.png"}', "", '{"label": "cat"}'], "line 3: received a row without a file_name"),
        (['{"picture": "a.png"}'], "has the columns picture, expected file_name (and label)"),
    ],
)
def test_lines_of_json_that_are_damaged(tmp_path, lines, message):
    folder_of(tmp_path, "a.png")
    written(tmp_path / "metadata.jsonl", lines)
    assert message in refusal(tmp_path)


@pytest.mark.parametrize("named", ["../private/id.png", "/etc/passwd", "/dev/zero", "/proc/self/environ"])
def test_a_file_outside_of_the_folder_is_not_read(tmp_path, named):
    (tmp_path / "private").mkdir()
    (tmp_path / "private/id.png").touch()
    root = tmp_path / "data"
    root.mkdir()
    (root / "metadata.csv").write_text(f"file_name,label\n{named},1\n")
    (item,) = opened(root).items
    assert item.content is None and item.reason.startswith("listed and there, but outside of ingestion.path")


@pytest.mark.parametrize(
    "name, line", [("csv", "a.png,x"), ("csv", '"a.png'), ("jsonl", '{"file_name": "a'), ("csv", "")]
)
def test_a_line_without_an_end_is_refused_before_it_is_in_memory(tmp_path, name, line):
    with (tmp_path / f"metadata.{name}").open("w") as file:
        file.write("file_name,label\n" * (name == "csv") + line + "x" * 2**25)
    with pytest.raises(
        DataError, match=r"metadata\.\w+, line \d: it has more than 16,777,216 characters, expected one"
    ):
        opened(tmp_path)


def test_json_of_deep_nesting_is_refused(tmp_path):
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "label": ' + "[" * 100_000)
    with pytest.raises(DataError, match=r"metadata\.jsonl, line 1: received no JSON"):
        opened(tmp_path)
