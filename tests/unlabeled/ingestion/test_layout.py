import itertools
import time

import pytest

from unlabeled.ingestion.layout import read_layout, split_named


def read(*names, **options):
    """(label, split) of each file, None for what is left out; the official splits and the warnings."""
    layout = read_layout(names, **options)
    places = [layout.place_of(name) for name in names]
    said = [None if place.left_out else (place.label, place.split) for place in places]
    return said, layout.official, layout.warnings


@pytest.mark.parametrize(
    "split, names",
    {
        "train": "train Training train_set training-set TrainSet train_images train2017 images_train seg_train",
        "test": "test testing Test_Set test-set testset test_images test1 evaluation",
        "validation": "val valid validation validation_set Validation-Set val2017 valset dev devset dev_set",
    }.items(),
)
def test_names_of_splits(split, names):
    assert {split_named(name) for name in [*names.split(), f" {split} set "]} == {split}


def test_names_that_only_begin_as_those_of_splits():
    names = ["test_tube", "train_station", "training_shoes", "valley", "devil", "trainers", "validator", "testimony"]
    assert [split_named(name) for name in names] == [None] * len(names)


SPLITS = ("train/cat/1", "train/dog/1", "test/cat/1", "test/dog/1")
PLACES = [("cat", "train"), ("dog", "train"), ("cat", "test"), ("dog", "test")]


@pytest.mark.parametrize(
    "train, test", [("training_set", "test_set"), ("Training", "TEST"), ("train images", "test images")]
)
def test_splits_are_recognised_however_they_are_spelt(train, test):
    said, official, warnings = read(*(name.replace("train", train).replace("test", test) for name in SPLITS))
    assert (said, official, warnings) == (PLACES, {"train": [f"{train}/"], "test": [f"{test}/"]}, [])


@pytest.mark.parametrize("wrapper", ["pets", "down/pets", "data", "a/b/c", "train", "images"])
def test_a_wrapper_is_seen_through(wrapper):
    assert read(*(f"{wrapper}/{name}" for name in SPLITS))[0] == PLACES
    assert read(f"{wrapper}/cat/1", f"{wrapper}/dog/1")[0][0][0] == "cat"


@pytest.mark.parametrize("inner", ["images", "train", "data/images"])
def test_a_wrapper_in_splits_is_seen_through(inner):
    names = [name.replace("train/", f"train/{inner}/").replace("test/", "test/images/") for name in SPLITS]
    assert read(*names)[0] == PLACES
    assert read("train/images/1", "test/images/1")[0] == [(None, "train"), (None, "test")]


def test_a_single_folder_of_images_is_a_class_unless_it_says_what_it_holds():
    assert read("cat/1")[0] == [("cat", None)]
    assert read("images/1")[0] == read("data/jpg/1")[0] == [(None, None)]
    assert read("train/cat/1")[0] == [("cat", "train")]


def test_folders_of_unlabelled_images_beside_splits_are_for_training():
    said, official, warnings = read(*SPLITS, "unlabeled/1", "unlabelled_images/x/1", "unsup/cat/1")
    assert said == [*PLACES, *[(None, "train")] * 3] and not warnings
    assert official["train"] == ["train/", "unlabeled/", "unlabelled_images/", "unsup/"]


def test_unlabelled_images_beside_classes_stay_in_their_split():
    said, *_ = read("train/pos/1", "train/neg/1", "train/unsup/1", "test/pos/1", "test/neg/1", "test/unlabeled/1")
    assert said[2] == (None, "train") and said[5] == (None, "test")
    assert read("cat/1", "dog/1", "unlabeled/1")[0][2] == (None, None)
    assert read("labeled/cat/1", "labeled/dog/1", "unlabeled/1")[0] == [("cat", None), ("dog", None), (None, None)]


def test_what_else_lies_beside_splits_is_kept_and_named():
    said, _, warnings = read(*SPLITS, "more/cat/1", "more/new/1", "extra/1", "cover.png")
    assert said == [*PLACES, ("cat", "train"), (None, "train"), (None, "train"), (None, "train")]
    assert warnings == [
        "extra/ is none of the splits beside it: its images (1) are kept for training, without a label",
        "more/ is none of the splits beside it: its images (2) are kept for training, those in cat with that label",
        "images beside the folders of splits (1) are kept for training, without a label",
    ]


def test_classes_beside_a_test_folder_of_the_same_classes_are_for_training():
    said, official, (warning,) = read("cat/1", "dog/1", "test/cat/1", "test/dog/1")
    assert said == PLACES and official == {"test": ["test/"]} and warning.startswith("cat/, dog/ beside splits")


def test_a_data_set_beside_its_own_copy_keeps_its_splits():
    said, _, (warning,) = read(*(f"x/{name}" for name in SPLITS), *(f"x/x/{name}" for name in SPLITS))
    assert said == PLACES * 2 and "x/x/ lies beside splits and holds splits of its own" in warning


def test_classes_may_come_before_splits():
    said, official, warnings = read("cat/train/1", "cat/test/1", "dog/train/1", "dog/test/1")
    assert said == [("cat", "train"), ("cat", "test"), ("dog", "train"), ("dog", "test")]
    assert official == {"train": ["*/train/"], "test": ["*/test/"]} and not warnings


def test_data_sets_side_by_side_keep_their_splits_and_classes():
    said, *_ = read(*(f"{each}/{name}" for each in ("sketches", "paintings") for name in SPLITS))
    assert said == PLACES * 2


@pytest.mark.parametrize("name", ["train", "Test", "val"])
def test_a_class_called_as_a_split_is_a_class_and_a_warning(name):
    said, official, (warning,) = read(f"{name}/1", "bus/1", "car/1")
    assert said == [(name, None), ("bus", None), ("car", None)] and not official
    assert warning.startswith(f"{name}/ beside bus/, car/ is taken for a class, not for a split: if it is one, name")


def test_one_split_beside_one_other_folder_is_told_by_its_classes():
    said, official, (warning,) = read("train/cat/1", "train/dog/1", "more/1")
    assert said == [("cat", "train"), ("dog", "train"), (None, "train")] and official == {"train": ["train/"]}
    assert warning.startswith("more/ is none of the splits beside it")


def test_masks_are_no_images():
    assert read("images/1", "annotations/trimaps/1")[0] == [(None, None), None]
    assert read("train/1", "test/1", "train_masks/1")[0] == [(None, "train"), (None, "test"), None]
    assert read("train/images/1", "train/labels/1", "test/images/1")[0] == [(None, "train"), None, (None, "test")]
    assert read("cat/1", "labels/1")[0] == [("cat", None), ("labels", None)]


def test_classes_that_differ_in_case_alone_are_told():
    warnings = read("train/Cat/1", "train/dog/1", "test/cat/1", "test/dog/1")[2]
    assert warnings == ["'Cat', 'cat' are taken for different classes: rename their folders if they are the same"]


def test_accents_are_the_same_however_they_are_composed():
    assert {label for label, _ in read("train/Ka\u0308fer/1", "train/x/1", "test/K\u00e4fer/1")[0]} == {"Käfer", "x"}


SHIPPED = {
    "imagenet": (["train/n1/1", "train/n2/1", "val/1", "test/1"], "n1 train, n2 train, - validation, - test"),
    "imagenette": (
        ["imagenette2/train/n1/1", "imagenette2/val/n1/1", "imagenette2/train/n2/1"],
        "n1 train, n1 validation, n2 train",
    ),
    "cifar": (["cifar/train/0_frog", "cifar/test/1_cat"], "- train, - test"),
    "flowers": (["jpg/image_1", "jpg/image_2"], "- -, - -"),
    "petimages": (["PetImages/Cat/1", "PetImages/Dog/1"], "Cat -, Dog -"),
    "eurosat": (["2750/Forest/1", "2750/River/1"], "Forest -, River -"),
    "food": (["food-101/images/pie/1", "food-101/images/cake/1"], "pie -, cake -"),
    "stl": (["train/1", "test/1", "unlabeled/1"], "- train, - test, - train"),
    "roboflow": (["train/a/1", "train/b/1", "valid/a/1", "test/b/1"], "a train, b train, a validation, b test"),
    "ucf": (["UCF-101/Run/1", "UCF-101/Swim/1"], "Run -, Swim -"),
    "intel": (
        ["seg_train/seg_train/sea/1", "seg_train/seg_train/ice/1", "seg_test/seg_test/sea/1"],
        "sea train, ice train, sea test",
    ),
    "voc": (["VOC/JPEGImages/1", "VOC/SegmentationClass/1"], "- -, left out"),
    "tiny": (["t/train/n1/images/1", "t/train/n2/images/1", "t/val/images/1"], "n1 train, n2 train, - validation"),
    "mvtec": (["a/train/good/1", "a/test/cut/1", "a/ground_truth/cut/1"], "good train, cut test, left out"),
    "cats": (["training_set/cats/1", "training_set/dogs/1", "test_set/cats/1"], "cats train, dogs train, cats test"),
}


@pytest.mark.parametrize("names, expected", SHIPPED.values(), ids=SHIPPED)
def test_data_sets_as_their_authors_ship_them(names, expected):
    said, _, warnings = read(*names)
    assert (
        ", ".join("left out" if each is None else " ".join(part or "-" for part in each) for each in said) == expected
    )
    assert not warnings


def test_texts_beside_the_folders_of_splits_and_classes_are_lists_and_notes():
    names = (
        "imdb/train/pos/1",
        "imdb/train/neg/1",
        "imdb/train/unsup/1",
        "imdb/train/urls",
        "imdb/test/pos/1",
        "imdb/er",
    )
    said, _, warnings = read(*names, unit="texts", strays=False)
    assert said == [("pos", "train"), ("neg", "train"), (None, "train"), None, ("pos", "test"), None] and not warnings
    assert read("pos/1", "neg/1", "2", unit="texts", strays=False)[0][2] == (None, None)


def test_every_file_of_any_tree_has_a_place():
    pool = ["train", "test", "val", "cat", "images", "masks", "unlabeled", "extra"]
    paths = [path for depth in range(4) for path in itertools.product(pool, repeat=depth)]
    for first, second in itertools.islice(itertools.combinations(paths, 2), 0, None, 37):
        names = ["/".join([*path, "1.png"]) for path in (first, second)]
        layout = read_layout(names)
        assert all(layout.place_of(name) for name in names)


def test_many_classes_are_read_in_little_time():
    names = [f"{split}/n{number:08d}/1.png" for split in ("train", "val") for number in range(21_000)]
    began = time.process_time()
    assert len(read_layout(names).places) >= len(names)
    assert time.process_time() - began < 10
