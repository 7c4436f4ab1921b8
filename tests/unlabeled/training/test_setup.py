"""What a training learns from, told apart from what only labels it."""

import pandas as pd
import pytest

from unlabeled.config import Augmentation, Pretraining
from unlabeled.training.setup import lesson_of

MANIFEST = pd.DataFrame(
    {
        "path": ["cat/a.png", "cat/b.png", "dog/c.png"],
        "sha256": ["a", "b", "c"],
        "checksum": [1, 2, 3],
        "label": ["cat", "cat", "dog"],
        "split": ["train", "train", "test"],
    }
)
RELABELLED = MANIFEST.assign(path=["cat/a.png", "dog/b.png", "dog/c.png"], label=["cat", "dog", "dog"])
SUMMARY = {"source": "pets", "data_digest": "x", "channels": 3, "image_size": 8, "mean": [0.5], "std": [0.2]}


def lesson(manifest=MANIFEST, method="byol", summary=SUMMARY, config=None, recipe=None):
    return lesson_of(method, manifest, summary, config or Pretraining(), recipe or Augmentation())


def test_labels_paths_and_the_order_of_rows_are_not_learned_from():
    assert lesson() == lesson(RELABELLED) == lesson(MANIFEST[::-1], summary=SUMMARY | {"data_digest": "y"})


def test_a_supervised_method_learns_from_labels():
    assert lesson(method="supervised") != lesson(RELABELLED, method="supervised")
    assert lesson(method="supervised") == lesson(MANIFEST[::-1], method="supervised")


@pytest.mark.parametrize(
    "other",
    [
        {"manifest": MANIFEST.assign(checksum=[1, 2, 4])},
        {"manifest": MANIFEST.assign(split="train")},
        {"manifest": MANIFEST[:2]},
        {"manifest": MANIFEST.assign(text=["a cat", "a cat", "a dog"])},
        {"summary": SUMMARY | {"image_size": 16}},
        {"config": Pretraining(epochs=3)},
        {"recipe": Augmentation(flip=0.1)},
        {"method": "simclr"},
    ],
)
def test_everything_else_is(other):
    assert lesson(**other) != lesson()
