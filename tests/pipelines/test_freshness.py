"""A stage does not start from what is of other data or parameters, and says in which part it differs."""

import inspect

import pandas as pd
import pytest

from pipelines.images import evaluation as images_evaluation
from pipelines.pairs import evaluation as pairs_evaluation
from pipelines.stages.freshness import (
    check_crops_current,
    check_metrics_current,
    check_resize_current,
    check_train_split_current,
)
from unlabeled.config import Augmentation, Evaluation
from unlabeled.errors import ConfigError
from unlabeled.images.encoder import ImageEncoder, Normalisation
from unlabeled.pairs.towers import PairEncoder
from unlabeled.storage.freshness import contents_of

CROPS = Augmentation().crops_of("data", "order")
MANIFEST = pd.DataFrame({"sha256": ["a", "b"], "split": ["train", "test"]})
RESIZED = "trained with ingestion.resize=crop, and today's images are stored with pad"
METRICS = {"data_digest": "data", "protocol": Evaluation().digest(), "weights": "w"}


@pytest.mark.parametrize(
    "other, message",
    [
        ({"data_digest": "x"}, "the cached crops are of other data: run the stage augmentation again"),
        ({"order": "x"}, "the cached crops are of data in another order: run the stage augmentation again"),
        (
            {"views": 3},
            r"augmentation.views: received 16, but the crops were cached with 3: .*views=fresh",
        ),
    ],
)
def test_crops_of_other_images_or_another_recipe_are_refused(other, message):
    check_crops_current(CROPS, CROPS)
    check_crops_current({}, Augmentation(views="fresh").crops_of("data", "order"))
    with pytest.raises(ConfigError, match=message):
        check_crops_current(CROPS | other, CROPS)


def test_an_encoder_of_another_train_split_is_refused():
    check_train_split_current({"trained_on": contents_of(MANIFEST, "train")}, MANIFEST)
    check_train_split_current({}, MANIFEST)  # by an earlier release
    with pytest.raises(ConfigError, match="trained on other data than today's train split"):
        check_train_split_current({"trained_on": "x"}, MANIFEST)


@pytest.mark.parametrize(
    "other, what",
    [
        ({"weights": "v"}, "another encoder than is here"),
        ({"data_digest": "x"}, "other data than today's"),
        ({"protocol": "x"}, "another evaluation than the parameters ask for"),
    ],
)
def test_metrics_of_anything_else_are_refused(other, what):
    check_metrics_current(METRICS, {"data_digest": "data"}, Evaluation(), {"weights": "w"})
    with pytest.raises(ConfigError, match=f"^the metrics are of {what}: run the stage evaluation again$"):
        check_metrics_current(METRICS | other, {"data_digest": "data"}, Evaluation(), {"weights": "w"})


def test_an_encoder_of_images_resized_in_another_way_is_refused():
    check_resize_current("pad", {"resize": "pad"})
    check_resize_current("crop", {})  # by an earlier release
    with pytest.raises(ConfigError, match=RESIZED):
        check_resize_current("crop", {"resize": "pad"})


def test_evaluation_refuses_such_an_encoder_before_it_measures():
    images = ImageEncoder("linear", 1, 8, Normalisation((0.5,), (0.5,)))
    pairs = PairEncoder(images, ImageEncoder("linear", 1, 8, Normalisation((0.5,), (0.5,))), 4)
    for evaluate, encoder in ((images_evaluation.evaluate, images), (pairs_evaluation.evaluate, pairs)):
        given = dict.fromkeys(inspect.signature(evaluate).parameters)
        given |= {"encoder": encoder, "manifest": MANIFEST, "run": {}, "summary": {"resize": "pad"}}
        with pytest.raises(ConfigError, match=RESIZED):
            evaluate(**given)
