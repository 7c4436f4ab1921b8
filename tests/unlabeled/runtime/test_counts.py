import pytest

from unlabeled.runtime.counts import counted, duration


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


@pytest.mark.parametrize("seconds, said", [(20.4, "20 s"), (59, "1 min"), (600, "10 min"), (7800, "2 h 10 min")])
def test_a_duration_is_told_in_its_unit(seconds, said):
    assert duration(seconds) == said
