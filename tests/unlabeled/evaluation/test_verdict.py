import numpy as np
import pandas as pd
import pytest

from unlabeled.config import Pretraining
from unlabeled.evaluation.significance import wilson_interval
from unlabeled.evaluation.verdict import Accuracy, compared, curve, selection, with_fewest_labels, worth

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


@pytest.mark.parametrize("draws_agree_to", [0.0, 0.01])
def test_draws_that_agree_are_no_surer_than_their_test_images_allow(draws_agree_to):
    few = {"1": {"mean": 0.5, "std": draws_agree_to}}  # a single draw has no spread at all
    first, _ = curve({"few_label": few, "linear_probe_accuracy": 0.9}, 800, 10, 100)
    assert (first.low, first.high) == wilson_interval(0.5, 100)


def test_an_encoder_no_better_than_the_best_baseline_is_rarely_taken_for_better():
    random, better, trials = np.random.default_rng(0), 0, 400
    for _ in range(trials):  # as good and as hard for both, few test images, and draws that agree
        hard = random.beta(2, 2, 90)
        both = []
        for _ in range(2):
            right = random.random((10, 90)) < hard  # with few labels, draw by draw
            few = {str(n): {"mean": right.mean(), "std": right.mean(1).std() / n} for n in (1, 5, 10)}
            whole = (random.random(90) < hard).mean()
            both.append(curve({"few_label": few, "linear_probe_accuracy": whole}, 800, 10, 90))
        better += compared(both[0], {"pca": both[1]}).better
    assert better / trials <= 0.025


def test_the_best_baseline_is_named_at_the_fewest_labels():
    baselines = {"raw_input": flat(0.4, 0.6), "pca": flat(0.5, 0.55), "random_encoder": flat(0.3, 0.9)}
    said = with_fewest_labels(flat(0.8, 0.99), baselines)
    start = "With one label a class the encoder gets 80\u00a0±\u00a05\u00a0% where the best baseline, PCA, gets 50"
    assert said.startswith(start)


@pytest.mark.parametrize("name, words", [("raw_input", "raw pixels"), ("random_encoder", "a random encoder")])
def test_baselines_are_named_in_words(name, words):
    assert f"the best baseline, {words}, gets" in with_fewest_labels(flat(0.8), {name: flat(0.4)})


LOW = [0.5, 0.6, 0.7, 0.8]


@pytest.mark.parametrize(
    "mine, theirs, words",
    [
        ([0.8, 0.85, 0.9, 0.95], LOW, "with any number of labels that was tried, all of them included"),
        ([0.8, 0.85, 0.9, 0.95], [0.5, 0.6, 0.85, 0.95], "with up to 5 labels a class, and not clearly with more"),
        ([0.8, 0.85, 0.9, 0.95], [0.5, 0.85, 0.9, 0.95], "with one label a class, and not clearly with more"),
        ([0.8, 0.7, 0.9, 0.95], [0.5, 0.7, 0.6, 0.95], "with one label a class, 10 labels a class, and not clearly e"),
        ([0.5, 0.6, 0.7, 0.95], LOW, "with all labels, and not clearly elsewhere"),
    ],
)
def test_it_is_better_with_some_numbers_of_labels(mine, theirs, words):
    found = compared(flat(*mine), {"pca": flat(*theirs)})
    assert found.better and found.words.startswith(f"better than every baseline {words}")


def test_it_is_better_with_none():
    words = "not clearly better than the baselines with any number of labels"
    assert compared(flat(*LOW), {"pca": flat(*LOW)}) == (words, True, False)


def test_what_is_worse_is_called_so():
    baselines = {"pca": flat(*LOW), "raw_input": flat(0.5, 0.6, 0.85, 0.99)}
    words = compared(flat(*LOW), baselines).words
    assert words.endswith("with any number of labels, and clearly worse than raw pixels with all labels")


@pytest.mark.parametrize("gap, better", [(0.0, False), (1e-9, True), (-1e-9, False)])
def test_intervals_that_touch_are_not_apart(gap, better):
    mine = [Accuracy(1, "one label a class", 0.7, 0.5 + gap, 0.9)]
    theirs = [Accuracy(1, "one label a class", 0.4, 0.3, 0.5)]
    assert compared(mine, {"pca": theirs}).better is better


def test_every_baseline_has_to_be_beaten_not_only_the_best_on_average():
    mine, sure = [Accuracy(1, "one label a class", 0.7, 0.6, 0.8)], [Accuracy(1, "one label a class", 0.5, 0.45, 0.55)]
    unsure = [Accuracy(1, "one label a class", 0.4, 0.1, 0.7)]
    assert compared(mine, {"pca": sure}).better
    assert not compared(mine, {"pca": sure, "raw_input": unsure}).better


def manifest_of(labels, different=90):
    """Rows of which every other one is for testing; "" is no label."""
    names = sorted(set(labels) - {""})
    targets = [names.index(label) if label else -1 for label in labels]
    split = np.where(np.arange(len(labels)) % 2, "test", "train")
    contents = [f"{i % different:04x}" for i in range(len(labels))]
    return pd.DataFrame({"label": labels, "target": targets, "split": split, "sha256": contents})


def worth_of(manifest, std=0.8, **changes):
    metrics = {"embedding_std": std, **numbers(**changes), "baselines": {"pca": numbers(linear=0.5, **{"1": 0.2})}}
    return worth(metrics, manifest, Pretraining())


def test_an_encoder_is_worth_what_it_is_beside_the_baselines():
    labelled = manifest_of(["cat", "dog", "dog", "cat"] * 50)
    assert worth_of(labelled).better and worth_of(labelled).words.startswith("better than every baseline with")
    assert not worth_of(labelled, linear=0.5, **{"1": 0.2}).better


def test_a_collapsed_encoder_is_worth_nothing_whatever_its_numbers_are():
    found = worth_of(manifest_of(["cat", "dog", "dog", "cat"] * 50), std=0.0)
    assert not found.alive and found.words.startswith("its embedding has collapsed (standard deviation 0.000,")


def test_without_labels_an_encoder_is_alive_or_not():
    found = worth_of(manifest_of([""] * 90))
    assert found == (
        "there are no labels to test with, and its embedding is alive (standard deviation 0.800, where 1 is as spread "
        "as can be)",
        True,
        True,
    )
    assert not worth_of(manifest_of([""] * 90), std=0.0).alive


def test_two_different_images_say_nothing():
    found = worth_of(manifest_of([""] * 90, different=2))
    assert not found.alive and found.words.endswith("and 2 different images say nothing of an encoder")


def test_one_class_is_not_no_labels():
    words = worth_of(manifest_of(["pets"] * 40 + [""] * 4)).words
    assert words.startswith("all labelled images are of one class, 'pets': there is nothing to tell apart, and its emb")


def test_a_champions_number_was_selected():
    assert selection(0) == "" and "have judged a challenger: the champion's accuracy" in selection(1)
    assert "have judged 7 challengers: the champion's accuracy on them was selected" in selection(7)


@pytest.mark.parametrize(
    "mine, chance, words, better",
    [
        (
            0.333,
            0.443,
            "among the first 10 in 33.3% of the tests, by chance in 44.3%: nothing was clearly learned; ",
            False,
        ),
        (0.9, 0.443, "among the first 10 in 90.0% of the tests, by chance in 44.3%; there are no labels", True),
        (0.9, 0.8, "first of all in 81.0% of the tests, by chance in 4.0%; there are no labels", True),
    ],
)
def test_the_verdict_on_pairs_leads_with_retrieval(mine, chance, words, better):
    manifest = manifest_of([""] * 90).assign(text=[f"caption {i}" for i in range(90)])
    recalls = {"recall_at_1": mine * 0.9, "recall_at_5": mine, "recall_at_10": mine}
    chances = {"recall_at_1": 0.04, "recall_at_5": chance, "recall_at_10": chance}
    found = worth(
        {
            "embedding_std": 0.8,
            **numbers(),
            "baselines": {},
            "retrieval": {"text_to_image": recalls, "baselines": {"chance": {"text_to_image": chances}}},
        },
        manifest,
        Pretraining(),
    )
    assert found.words.startswith(f"a caption finds its image {words}") and found.better is better
