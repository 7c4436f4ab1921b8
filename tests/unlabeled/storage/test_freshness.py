import pandas as pd
import pytest

import unlabeled.errors
import unlabeled.storage.reuse
from unlabeled.storage.freshness import Difference, contents_of, difference, digest_of, is_other, made_by, order_of

ASKED = {"data_digest": "abc", "views": 8, "crop_size": None}


def test_what_is_of_the_same_parts_does_not_differ():
    assert difference(ASKED, ASKED) is None
    assert difference(ASKED, {**ASKED, "tokens": 1000}) is None  # which nothing is asked of


@pytest.mark.parametrize(
    "found, other",
    [
        ({"data_digest": "abe", "views": 4}, Difference("data_digest", "abc", "abe")),
        ({"data_digest": "abc", "views": 4}, Difference("views", 8, 4)),
        ({"data_digest": "abc"}, Difference("views", 8, None)),
        ({}, Difference("data_digest", "abc", None)),
    ],
)
def test_the_first_part_that_differs_is_told(found, other):
    assert difference(ASKED, found) == other


@pytest.mark.parametrize("recorded, other", [("abc", False), ("abe", True), ("", True), (None, False)])
def test_a_record_of_an_earlier_release_does_not_speak_against_anything(recorded, other):
    assert is_other("abc", recorded) is other


def test_a_digest_is_of_names_and_values_in_whatever_order():
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert len({digest_of({"a": 1, "b": 2}), digest_of({"a": 2, "b": 1}), digest_of({"a": 1})}) == 3


def test_how_rows_are_made_is_code_and_parameters():
    digests = {
        made_by([unlabeled.storage.reuse], size=8),
        made_by([unlabeled.storage.reuse], size=9),
        made_by([unlabeled.errors], size=8),
        made_by([], size=8),
    }
    assert len(digests) == 4 and made_by([unlabeled.storage.reuse], size=8) in digests


def test_rows_have_an_order_and_a_split_has_none():
    manifest = pd.DataFrame({"sha256": ["a", "b", "c"], "split": ["train", "test", "train"]})
    turned = manifest[::-1]
    assert order_of(manifest) != order_of(turned) and contents_of(manifest, "train") == contents_of(turned, "train")
    assert contents_of(manifest, "train") != contents_of(manifest, "test")
