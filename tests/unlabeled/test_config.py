import math
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from unlabeled.config import (
    Augmentation,
    EarlierIngestion,
    Embedding,
    Evaluation,
    Exporting,
    Ingestion,
    Pretraining,
    Registration,
    Search,
)
from unlabeled.errors import ConfigError
from unlabeled.pairs.config import PairsIngestion
from unlabeled.text.config import TextIngestion
from unlabeled.video.config import VideoIngestion

BLOCKS = [Ingestion, Augmentation, Pretraining, Evaluation, Registration, Embedding, Search, Exporting]
blocks = pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.block)


def refusal(block, parameters):
    with pytest.raises(ConfigError) as refused:
        block.model_validate(parameters)
    return str(refused.value)


@blocks
def test_an_empty_block_is_the_defaults(block):
    assert block.model_validate({}) == block()


@blocks
def test_the_defaults_written_out_are_the_defaults(block):
    assert block.model_validate(block().model_dump()) == block()


@blocks
def test_what_json_and_yaml_make_of_a_block_is_the_block(block):
    assert block.model_validate(block().model_dump(mode="json")) == block()


@blocks
def test_a_block_cannot_be_changed(block):
    parameters = block()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(parameters, next(iter(block.model_fields)), None)


@pytest.mark.parametrize(
    "block, key, closest",
    [
        (Ingestion, "soruce", "source"),
        (Ingestion, "image_sice", "image_size"),
        (Augmentation, "view", "views"),
        (Pretraining, "epcohs", "epochs"),
        (Pretraining, "batchsize", "batch_size"),
        (Evaluation, "knn_temp", "knn_temperature"),
        (Registration, "modelname", "model_name"),
    ],
)
def test_an_unknown_key_names_the_closest(block, key, closest):
    assert refusal(block, {key: 1}) == f"{block.block}.{key} is not a parameter: did you mean {block.block}.{closest}?"


@blocks
def test_a_key_like_no_other_names_them_all(block):
    every = ", ".join(block.model_fields)
    assert refusal(block, {"zzz": 1}) == f"{block.block}.zzz is not a parameter: choose from {every}"


@pytest.mark.parametrize(
    "block, key, received, expected",
    [
        (Ingestion, "source", "flickr", "'digits', 'torchvision', 'image_folder' or 'parquet'"),
        (
            *(Ingestion, "dataset", "mnist"),
            "'cifar10', 'cifar100', 'fashion_mnist', 'stl10', 'svhn', 'imagenette', 'oxford_iiit_pet', 'flowers102', "
            "'food101' or 'eurosat'",
        ),
        (Ingestion, "image_size", 0, "greater than or equal to 4"),
        (Ingestion, "image_size", 5000, "less than or equal to 4096"),
        (Ingestion, "channels", 2, "1 or 3"),
        (Ingestion, "fraction", 0, "greater than 0"),
        (Ingestion, "fraction", 1.5, "less than or equal to 1"),
        (Ingestion, "validation_fraction", -0.1, "greater than or equal to 0"),
        (Ingestion, "test_fraction", 1, "less than 1"),
        (Ingestion, "max_quarantined", 1.0, "less than 1"),
        (Ingestion, "max_pixels", 0, "greater than or equal to 1"),
        (Ingestion, "rare_labels", "keep", "'refuse' or 'drop'"),
        (Augmentation, "views", 1, "greater than or equal to 2 or 'fresh'"),
        (Augmentation, "views", 1025, "less than or equal to 1024 or 'fresh'"),
        (Augmentation, "views", "stale", "a valid integer or 'fresh'"),
        (Augmentation, "crop_size", 0, "greater than or equal to 4"),
        (Augmentation, "flip", 2, "less than or equal to 1"),
        (Augmentation, "hue", 0.6, "less than or equal to 0.5"),
        (Augmentation, "blur", [], "at least 1 item, not 0"),
        (Augmentation, "crop_scale", [0.1, 0.2, 0.3], "at most 2 items, not 3"),
        (Augmentation, "seed", -1, "greater than or equal to 0"),
        (Evaluation, "seed", 2**32, "less than 4294967296"),
        (Pretraining, "encoder", "", "at least 1 character"),
        (Pretraining, "epochs", 0, "greater than or equal to 1"),
        (Pretraining, "batch_size", 1, "greater than or equal to 2"),
        (Pretraining, "optimizer", "adagrad", "'sgd', 'adamw' or 'lars'"),
        (Pretraining, "learning_rate", 0, "greater than 0"),
        (Pretraining, "clip_gradient", 0.0, "greater than 0"),
        (Pretraining, "device", "tpu", "'auto', 'cpu', 'cuda' or 'mps'"),
        (Evaluation, "knn_k", 0, "greater than or equal to 1"),
        (Evaluation, "regularisation", [], "at least 1 item, not 0"),
        (Registration, "model_name", "", "at least 1 character"),
        (Registration, "level", 0, "greater than 0"),
        (Registration, "max_class_drop", -1, "greater than or equal to 0"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_was_received_and_expected(block, key, received, expected):
    assert refusal(block, {key: received}) == f"{block.block}.{key}: received {received!r}, expected {expected}"


@pytest.mark.parametrize(
    "block, key, received, expected",
    [
        (Ingestion, "path", 3, "a valid string"),
        (Ingestion, "image_size", "32", "a valid integer"),
        (Ingestion, "image_size", 32.0, "a valid integer"),
        (Ingestion, "max_pixels", True, "a valid integer"),
        (Ingestion, "test_fraction", "many", "a valid number"),
        (Augmentation, "flip", True, "a valid number"),
        (Augmentation, "blur", 0.5, "a valid tuple"),
        (Pretraining, "learning_rate", "2e-3", "a valid number"),
        (Pretraining, "epochs", None, "a valid integer"),
        (Pretraining, "compile", "no", "a valid boolean"),
        (Pretraining, "method", [1], "a valid dictionary"),
        (Evaluation, "shots", "1, 5", "a valid tuple"),
        (Registration, "require_git", 1, "a valid boolean"),
    ],
)
def test_nothing_is_converted_from_another_type(block, key, received, expected):
    assert refusal(block, {key: received}) == f"{block.block}.{key}: received {received!r}, expected {expected}"


@pytest.mark.parametrize("received", [math.nan, math.inf, -math.inf])
def test_numbers_are_finite(received):
    assert refusal(Pretraining, {"learning_rate": received}).startswith(
        f"pretraining.learning_rate: received {received}, expected "
    )


@pytest.mark.parametrize(
    "key, received, message",
    [
        ("crop_scale", [0.2, "all"], "augmentation.crop_scale.1: received 'all', expected a valid number"),
        ("crop_scale", [0.2], "augmentation.crop_scale.1: received [0.2], expected one more value"),
        ("crop_ratio", [0, 1], "augmentation.crop_ratio.0: received 0, expected greater than 0"),
        ("solarize", [0, 0.2, 3], "augmentation.solarize.2: received 3, expected less than or equal to 1"),
    ],
)
def test_a_bad_value_in_a_list_is_named_with_its_place(key, received, message):
    assert refusal(Augmentation, {key: received}) == message


@pytest.mark.parametrize("received", ["digits", None, 3, [1]])
def test_a_block_is_a_dictionary(received):
    assert refusal(Ingestion, received).startswith(f"ingestion: received {received!r}, expected a valid dictionary")


def test_lists_of_yaml_become_tuples():
    recipe = Augmentation.model_validate({"crop_scale": [0.4, 1], "blur": [1, 0.1], "solarize": [0]})
    assert recipe.crop_scale == (0.4, 1.0) and recipe.blur == (1.0, 0.1) and recipe.solarize == (0.0,)
    assert Evaluation.model_validate({"shots": [1, 2], "fractions": []}).shots == (1, 2)


def test_whole_numbers_do_for_fractional_ones():
    assert Augmentation.model_validate({"flip": 1}).flip == 1.0
    assert Pretraining.model_validate({"learning_rate": 1, "warmup_epochs": 0}).learning_rate == 1.0


@pytest.mark.parametrize("version", [3, "3", "champion"])
def test_a_version_is_a_number_or_an_alias(version):
    assert Embedding.model_validate({"version": version}).version == str(version)


@pytest.mark.parametrize("version", ["", None, True, 1.5])
def test_what_is_no_version_is_refused(version):
    assert refusal(Exporting, {"version": version}).startswith(f"export.version: received {version!r}, expected ")


@pytest.mark.parametrize("views", [2, 1024, "fresh"])
def test_views_are_a_number_of_crops_or_fresh(views):
    assert Augmentation.model_validate({"views": views}).views == views


def test_everything_that_is_wrong_is_said_in_one_sentence():
    message = refusal(Pretraining, {"epochs": 0, "epcohs": 3, "momentum": 1})
    assert "\n" not in message and message.split("; ") == [
        "pretraining.epochs: received 0, expected greater than or equal to 1",
        "pretraining.momentum: received 1, expected less than 1",
        "pretraining.epcohs is not a parameter: did you mean pretraining.epochs?",
    ]


def test_the_splits_leave_something_to_train_on():
    fractions = {"validation_fraction": 0.5, "test_fraction": 0.5}
    assert refusal(Ingestion, fractions) == (
        "ingestion: received validation_fraction=0.5 and test_fraction=0.5, expected a sum below 1, so that images are "
        "left to train on"
    )
    assert Ingestion.model_validate({"validation_fraction": 0, "test_fraction": 0.9}).test_fraction == 0.9


@pytest.mark.parametrize("path", [None, ""])
@pytest.mark.parametrize("source", ["image_folder", "parquet"])
def test_sources_of_files_need_a_path(source, path):
    assert refusal(Ingestion, {"source": source, "path": path}) == (
        f"ingestion: received path={path!r}, expected ingestion.path to be set for the source {source}"
    )
    assert EarlierIngestion.model_validate({"source": source, "path": path}).name == source


@pytest.mark.parametrize("source", ["digits", "torchvision"])
def test_sources_that_come_by_themselves_need_none(source):
    assert Ingestion.model_validate({"source": source}).path is None


@pytest.mark.parametrize(
    "given, place",
    [
        ({}, None),
        ({"source": "image_folder", "path": "photos"}, "/project/photos"),
        ({"source": "torchvision"}, "/project/data/01_raw/cifar10"),
        ({"source": "torchvision", "dataset": "svhn", "path": "/elsewhere"}, "/elsewhere"),
    ],
)
def test_what_is_read_has_one_place(given, place):
    anchored = Ingestion.model_validate(given).anchored(Path("/project"))
    assert anchored.path == anchored.place == place


@pytest.mark.parametrize("key", ["crop_scale", "crop_ratio", "blur_sigma"])
def test_ranges_ascend(key):
    message = f"augmentation: received {key}=[0.9, 0.5], expected the lower value first"
    assert refusal(Augmentation, {key: [0.9, 0.5]}) == message
    assert getattr(Augmentation.model_validate({key: [0.5, 0.5]}), key) == (0.5, 0.5)


def test_a_crop_covers_no_more_than_the_image():
    message = "augmentation: received crop_scale=[0.5, 1.5], expected no more than 1, the whole image"
    assert refusal(Augmentation, {"crop_scale": [0.5, 1.5]}) == message


def test_the_blocks_can_be_had_without_the_heavy_libraries():
    script = "import sys, unlabeled.config; sys.exit(bool({'torch', 'numpy', 'pandas', 'PIL'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    "spread, untrained, collapsed",
    [
        (0.04, None, True),
        (0.06, None, False),
        (0.04, 0.5, True),
        (0.04, 0.06, False),
        (0.02, 0.06, True),
        (0.007, 0.008, False),  # a burst of one scene
        (0.0, 0.0, True),  # one image many times: a point, as it was before any training
        (1.5e-7, 1.5e-7, True),  # by rounding
    ],
)
def test_a_collapse_is_a_spread_below_the_threshold_and_far_below_the_untrained_one(spread, untrained, collapsed):
    assert Pretraining(min_embedding_std=0.05).is_collapsed(spread, untrained) is collapsed
    assert not Pretraining(min_embedding_std=0).is_collapsed(spread, untrained)  # asked to let it pass


@pytest.mark.parametrize(
    "block, given, name",
    [
        (Ingestion, {}, "digits"),
        (Ingestion, {"source": "torchvision", "dataset": "svhn", "path": "data/svhn"}, "svhn"),
        (Ingestion, {"source": "image_folder", "path": "data/01_raw/clothing/"}, "clothing"),
        (Ingestion, {"source": "image_folder", "path": "/my: photos 'of' cats"}, "my-photos-of-cats"),
        (Ingestion, {"source": "image_folder", "path": "."}, "image_folder"),
        (Ingestion, {"source": "image_folder", "path": "~/Köln"}, "Köln"),
        (Ingestion, {"source": "parquet", "path": "data/emoji.parquet"}, "emoji"),
        (PairsIngestion, {}, "captioned_digits"),
        (PairsIngestion, {"source": "pairs", "path": "data/emoji"}, "emoji"),
        (TextIngestion, {}, "topics"),
        (TextIngestion, {"source": "text", "path": "data/shakespeare.txt"}, "shakespeare"),
        (TextIngestion, {"source": "text", "path": "texte.csv"}, "texte"),
        (VideoIngestion, {}, "synthetic_moving_digits"),
        (VideoIngestion, {"source": "video", "path": "films"}, "films"),
    ],
)
def test_a_data_set_is_called_after_its_folder_or_file(block, given, name):
    assert block(**given).name == name


def test_a_folder_that_is_called_like_a_known_source_has_no_known_size():
    assert Ingestion(source="image_folder", path="data/cifar10").known_size is None
    assert Ingestion(source="torchvision", dataset="cifar10").known_size == 32
