import pytest

from unlabeled.counts import counted


@pytest.mark.parametrize(
    "count, plural, said",
    [
        (0, "classes", "0 classes"),
        (1, "images", "1 image"),
        (1, "classes", "1 class"),
        (1, "copies", "1 copy"),
        (1, "train passages", "1 train passage"),
        (1, "epochs", "1 epoch"),
        (2, "classes", "2 classes"),
        (12_345, "damaged images", "12,345 damaged images"),
    ],
)
def test_one_is_no_plural(count, plural, said):
    assert counted(count, plural) == said
