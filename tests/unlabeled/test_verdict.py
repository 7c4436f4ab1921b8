import pytest

from unlabeled.significance import wilson_interval
from unlabeled.verdict import Accuracy, curve, verdict

SETTINGS = {"1": "one label a class", "5": "5 labels a class", "10": "10 labels a class", "all": "all labels"}
LABELS = (1.0, 5.0, 10.0, 80.0)


def flat(*means, half=0.05):
    """A curve of these means at 1, 5, 10 labels a class and at all, each with the same interval."""
    kinds = zip(LABELS, SETTINGS.values(), means, strict=False)
    return [Accuracy(labels, setting, mean, mean - half, mean + half) for labels, setting, mean in kinds]


def numbers(linear=0.9, **few):
    few = few or {"1": 0.5}
    return {
        "linear_probe_accuracy": linear,
        "few_label": {name: {"mean": mean, "std": 0.1} for name, mean in few.items()},
    }


def test_few_labels_are_mean_and_std_and_the_last_point_is_all_labels():
    first, last = curve(numbers(linear=0.9), labelled=800, classes=10, tested=200)
    assert first == Accuracy(1.0, "one label a class", 0.5, 0.4, 0.6)
    assert last == Accuracy(80.0, "all labels", 0.9, *wilson_interval(0.9, 200))


def test_shares_of_the_labels_are_left_out():
    points = curve(numbers(**{"1": 0.5, "10": 0.7, "1%": 0.2, "12.5%": 0.3}), 800, 10, 200)
    assert [point.labels for point in points] == [1, 10, 80]


def test_a_curve_ascends_in_labels():
    points = curve(numbers(**{"20": 0.7, "1": 0.5, "100": 0.8}), 80, 10, 200)
    assert [point.setting for point in points] == [
        "one label a class",
        "all labels",
        "20 labels a class",
        "100 labels a class",
    ]


def test_without_few_labels_a_curve_is_one_point():
    (point,) = curve({"few_label": {}, "linear_probe_accuracy": 0.4}, 30, 3, 0)
    assert point == Accuracy(10.0, "all labels", 0.4, 0.0, 1.0)


def test_an_accuracy_reads_as_a_percentage_and_half_its_interval():
    assert str(Accuracy(1, "one label a class", 0.5, 0.4, 0.6)) == "50\u00a0±\u00a010\u00a0%"


def test_the_best_baseline_is_named_at_the_fewest_labels():
    baselines = {"raw_input": flat(0.4, 0.6), "pca": flat(0.5, 0.55), "random_encoder": flat(0.3, 0.9)}
    said = verdict(flat(0.8, 0.99), baselines)
    start = "With one label a class the encoder gets 80\u00a0±\u00a05\u00a0% where the best baseline, PCA, gets 50"
    assert said.startswith(start)


@pytest.mark.parametrize("name, words", [("raw_input", "raw pixels"), ("random_encoder", "a random encoder")])
def test_baselines_are_named_in_words(name, words):
    assert f"the best baseline, {words}, gets" in verdict(flat(0.8), {name: flat(0.4)})


def worth(mine, theirs):
    return verdict(flat(*mine), {"pca": flat(*theirs)}).split(". ", 1)[1]


def test_it_is_worth_it_everywhere():
    said = worth([0.8, 0.85, 0.9, 0.95], [0.5, 0.6, 0.7, 0.8])
    assert said == "It is worth its training with any number of labels that was tried, all of them included."


def test_it_is_worth_it_nowhere():
    said = worth([0.5, 0.6, 0.7, 0.8], [0.5, 0.6, 0.7, 0.8])
    assert said == "It is not clearly better with any number of labels: on these images it is not worth its training."


def test_it_is_worth_it_up_to_some_number():
    said = worth([0.8, 0.85, 0.9, 0.95], [0.5, 0.6, 0.85, 0.95])
    assert said == "It is worth its training with up to 5 labels a class, and not clearly with more."


def test_it_is_worth_it_with_the_fewest_labels_alone():
    said = worth([0.8, 0.85, 0.9, 0.95], [0.5, 0.85, 0.9, 0.95])
    assert said == "It is worth its training with one label a class, and not clearly with more."


def test_it_is_worth_it_here_and_there():
    said = worth([0.8, 0.7, 0.9, 0.95], [0.5, 0.7, 0.6, 0.95])
    assert said == "It is worth its training with one label a class, 10 labels a class, and not clearly elsewhere."


def test_it_is_worth_it_with_all_labels_alone():
    said = worth([0.5, 0.6, 0.7, 0.95], [0.5, 0.6, 0.7, 0.8])
    assert said == "It is worth its training with all labels, and not clearly elsewhere."


@pytest.mark.parametrize("gap, better", [(0.0, False), (1e-9, True), (-1e-9, False)])
def test_intervals_that_touch_are_not_apart(gap, better):
    mine = [Accuracy(1, "one label a class", 0.7, 0.5 + gap, 0.9)]
    theirs = [Accuracy(1, "one label a class", 0.4, 0.3, 0.5)]
    assert ("It is worth its training" in verdict(mine, {"pca": theirs})) is better


def test_every_baseline_has_to_be_beaten_not_only_the_best_on_average():
    mine, sure = [Accuracy(1, "one label a class", 0.7, 0.6, 0.8)], [Accuracy(1, "one label a class", 0.5, 0.45, 0.55)]
    unsure = [Accuracy(1, "one label a class", 0.4, 0.1, 0.7)]
    assert "It is worth its training" in verdict(mine, {"pca": sure})
    assert "It is not clearly better" in verdict(mine, {"pca": sure, "raw_input": unsure})
