import numpy as np
import pandas as pd
import pytest

from unlabeled.config import Evaluation, Pretraining
from unlabeled.evaluation import diagnosis
from unlabeled.evaluation.probe import Labels, fit_linear_probe, measure
from unlabeled.evaluation.verdict import Accuracy

NAMES = ["cat", "dog", "owl"]


def blobs(n=300, dims=16, noise=0.3, seed=0):
    """Three classes as float32 features (n, dims), and a manifest: half train, a fifth validation, the rest test."""
    random = np.random.default_rng(seed)
    targets, place = np.arange(n) % 3, np.arange(n) / n
    split = np.select([place < 0.5, place < 0.7], ["train", "validation"], "test")
    features = random.normal(size=(3, dims))[targets] + noise * random.normal(size=(n, dims))
    return features.astype(np.float32), pd.DataFrame({"target": targets, "split": split})


def says_enough(finding):
    return all([finding.rule, finding.sentence.endswith("."), finding.advice.endswith("."), finding.source])


@pytest.mark.parametrize(
    "spread, untrained, collapsed",
    [(0.01, None, True), (0.5, None, False), (0.04, 0.05, False), (0.02, 0.05, True)],
    ids=["flat", "spread", "as flat as untrained", "flatter than untrained"],
)
def test_a_collapse_is_seen_in_the_spread(spread, untrained, collapsed):
    metrics = {"embedding_std": spread} | ({} if untrained is None else {"untrained_embedding_std": untrained})
    finding = diagnosis.collapse(metrics, Pretraining())
    assert (finding is not None) is collapsed
    assert not collapsed or (says_enough(finding) and f"standard deviation is {spread:.3f}" in finding.sentence)


@pytest.mark.parametrize(
    "rank, dims, classes, count, found",
    [
        (4.4, 128, 10, 900, True),
        (4.5, 128, 10, 900, False),
        (19.0, 1000, 10, 2000, True),
        (20.0, 1000, 10, 2000, False),
        (190.9, 192, 200, 900, False),
        (95.0, 192, 1000, 900, True),
        (1.9, 16, 0, 900, True),
        (2.0, 16, 0, 900, False),
        (1.9, 2, 0, 900, False),
        (9.0, 2048, 10, 18, False),
    ],
)
def test_an_embedding_needs_directions_for_its_classes_and_its_width(rank, dims, classes, count, found):
    finding = diagnosis.dimensional_collapse({"rankme": rank}, dims, classes, count)
    assert (finding is not None) is found
    assert not found or (says_enough(finding) and f"{dims} dimensions and uses {rank:.1f}" in finding.sentence)


def test_advice_for_texts_names_no_augmentation():
    narrow = diagnosis.dimensional_collapse({"rankme": 1.9}, 128, 2, 900, augmented=False)
    curve = [Accuracy(1.0, "one label a class", 0.5, 0.4, 0.6)]
    none = diagnosis.no_gain(curve, {"tfidf": curve}, "passages", augmented=False)
    assert narrow.advice == "Train for longer (pretraining.epochs), or bring more data."
    assert none.advice == "Train for longer, or bring more passages, also to test on."


def history_of(*accuracies):
    return pd.DataFrame({"epoch": 10 * np.arange(1, 1 + len(accuracies)), "knn_accuracy": accuracies})


def test_a_training_that_was_still_rising_was_too_short():
    finding = diagnosis.under_training(history_of(0.3, 0.5, 0.6, 0.7), validated=200)
    assert says_enough(finding) and "rose by 20.0 points" in finding.sentence
    assert "pretraining.epochs=80" in finding.advice


@pytest.mark.parametrize(
    "accuracies, validated",
    [
        ((0.3, 0.6, 0.75, 0.7), 200),
        ((0.3, 0.69, 0.69, 0.7), 200),
        ((0.3, 0.62, 0.66, 0.7), 200),
        ((0.3, 220 / 221, 220 / 221, 1.0), 221),
        ((0.3, 0.9, 0.96, 0.99), 221),
    ],
    ids=["past its best", "within the error", "within two errors", "one image at the ceiling", "two errors are left"],
)
def test_a_training_that_was_long_enough_is_not_called_short(accuracies, validated):
    assert diagnosis.under_training(history_of(*accuracies), validated) is None


@pytest.mark.parametrize(
    "accuracies, validated, reason",
    [
        ((0.3, 0.5, 0.6, 0.7), 0, "no validation data have a label"),
        ((0.3, 0.7), 200, "kNN accuracy was measured 2 times during the training; it takes 3"),
        ((np.nan, np.nan, 0.5, 0.6, 0.7), 200, "one of them in the first half"),
        ((), 200, "measured 0 times"),
    ],
    ids=["no validation split", "too few looks", "no early look", "no looks"],
)
def test_whether_an_unwatched_training_was_too_short_cannot_be_told(accuracies, validated, reason):
    assert reason in diagnosis.under_training(history_of(*accuracies), validated).reason


def test_epochs_without_a_look_are_skipped_and_there_may_be_none_at_all():
    rising = history_of(0.3, np.nan, 0.5, np.nan, 0.6, 0.7)
    assert isinstance(diagnosis.under_training(rising, 200), diagnosis.Finding)
    assert "0 times" in diagnosis.under_training(rising.drop(columns="knn_accuracy"), 200).reason


def probed(features, manifest):
    labels = Labels.of(manifest)
    metrics, probe = measure(features, labels, Evaluation(shots=(), fractions=(), regularisation=(1.0,)))
    return probe, features, labels, metrics["linear_probe_accuracy"]


def test_a_probe_that_learned_by_heart_is_seen():
    noise = np.random.default_rng(0).normal(size=(300, 400)).astype(np.float32)
    finding = diagnosis.overfit_probe(*probed(noise, blobs()[1]))
    assert says_enough(finding) and "right on 100.0 % of the images it learned from" in finding.sentence


def test_a_probe_that_knows_new_images_as_well_is_fine():
    assert diagnosis.overfit_probe(*probed(*blobs())) is None


def test_a_gap_that_few_test_images_leave_open_is_not_overfitting():
    features, manifest = blobs(noise=1.8)
    labels = Labels.of(manifest)
    probe = fit_linear_probe(features, labels, Evaluation(regularisation=(1.0,)))
    accuracy = (probe.predict(features[labels.train]) == labels.targets[labels.train]).mean() - 0.15
    few = Labels(labels.targets, labels.train, labels.validation, labels.test[:4])
    assert diagnosis.overfit_probe(probe, features, few, accuracy) is None
    assert diagnosis.overfit_probe(probe, features, labels, accuracy) is not None
    assert diagnosis.overfit_probe(probe, features, labels, accuracy + 0.11) is None


def pictures(n=300, side=8):
    return np.random.default_rng(1).integers(0, 256, (n, 1, side, side), dtype=np.uint8)


def of_pixels(images):
    return images.reshape(len(images), -1).astype(np.float32) - 127.5


def plant(images, pairs, change=2):
    for test, train in pairs:
        images[test] = np.clip(images[train].astype(int) + change, 0, 255)
    return images


def test_twins_across_the_splits_are_leakage_and_shown_as_pairs():
    pairs = [(250, 3), (260, 17), (299, 140)]
    images = plant(pictures(), pairs)
    finding = diagnosis.leakage(of_pixels(images), images, blobs()[1])
    assert says_enough(finding) and "3.3 % of the test images (3 of 90" in finding.sentence
    assert sorted(rows for rows, _ in finding.rows) == pairs
    assert all("twin in train" in words for _, words in finding.rows)


def test_the_closest_twins_are_shown_first_and_not_all_of_many():
    images = plant(pictures(), [(210 + i, i) for i in range(20)], change=5 * pictures(1)[0] // 255)
    plant(images, [(240, 50)], change=0)
    finding = diagnosis.leakage(of_pixels(images), images, blobs()[1])
    assert finding.rows[0][0] == (240, 50) and len(finding.rows) == diagnosis.MAX_LISTED_ROWS
    assert "(21 of 90" in finding.sentence


def again(images, how):
    """Images as uint8 that were changed on the way to a second file."""
    changed = images.astype(np.float32)
    if how.startswith("noise"):
        changed += np.random.default_rng(2).normal(0, float(how[5:]), images.shape)
    elif how == "darker":
        changed *= 0.9
    elif how == "shifted":
        changed = np.roll(changed, 1, -1)
    return changed.round().clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "how, found", [("same", True), ("noise3", True), ("darker", True), ("noise40", False), ("shifted", False)]
)
def test_only_images_that_are_nearly_the_same_are_twins(how, found):
    images = pictures()
    images[250] = again(images[3:4], how)
    features = of_pixels(images)
    features[250] = features[3]
    assert (diagnosis.leakage(features, images, blobs()[1]) is not None) is found


@pytest.mark.parametrize("light", [4, 40, 250])
def test_dark_images_are_not_twins_for_their_darkness_nor_those_of_one_scene_for_the_scene(light):
    random, scene = np.random.default_rng(0), np.linspace(0.2, 1, 64).reshape(8, 8)
    images = random.poisson(light * scene, (300, 1, 8, 8)).clip(0, 255).astype(np.uint8)
    assert diagnosis.leakage(of_pixels(images), images, blobs()[1]) is None
    plant(images, [(250, 3), (260, 17)], change=0)
    assert diagnosis.leakage(of_pixels(images), images, blobs()[1]) is not None


def test_even_images_are_nobodys_twins():
    images = np.full((300, 1, 8, 8), 7, np.uint8)
    assert diagnosis.leakage(of_pixels(images), images, blobs()[1]) is None


def test_copies_within_a_split_are_no_leakage():
    images = plant(pictures(), [(20, 3), (250, 240)])
    assert diagnosis.leakage(of_pixels(images), images, blobs()[1]) is None


def test_one_twin_among_very_many_test_images_does_not_matter():
    images = plant(pictures(420), [(419, 3)])
    manifest = pd.DataFrame({"split": ["train"] * 20 + ["test"] * 400})
    assert diagnosis.leakage(of_pixels(images), images, manifest) is None
    assert diagnosis.leakage(of_pixels(images), images, manifest[manifest.index != 50].reset_index()) is None
    small = np.r_[:20, 400:420]
    assert diagnosis.leakage(of_pixels(images[small]), images[small], manifest.iloc[small]) is not None


@pytest.mark.parametrize("split", ["train", "test"])
def test_without_two_splits_leakage_cannot_be_told(split):
    images = pictures(20)
    said = diagnosis.leakage(of_pixels(images), images, pd.DataFrame({"split": [split] * 20}))
    assert said == diagnosis.Undecided("there is no test split beside a train split")


def noisy(flipped):
    features, manifest = blobs()
    manifest.loc[flipped, "target"] = (manifest.target[flipped] + 1) % 3
    return features, manifest


def test_flipped_labels_are_found_and_shown():
    flipped = [5, 100, 160, 231, 290]
    features, manifest = noisy(flipped)
    finding = diagnosis.label_noise(features, Labels.of(manifest), NAMES)
    assert says_enough(finding) and "5 of 300 labels" in finding.sentence and "(1.7 %)" in finding.sentence
    assert sorted(rows for rows, _ in finding.rows) == [(row,) for row in flipped]
    words = dict(finding.rows)
    assert words[(5,)] == f"labelled {NAMES[(5 + 1) % 3]}, looks like {NAMES[5 % 3]}"


def test_right_labels_are_not_doubted():
    features, manifest = blobs()
    assert diagnosis.label_noise(features, Labels.of(manifest), NAMES) is None


def test_labels_that_an_embedding_knows_nothing_of_are_not_doubted():
    features, manifest = blobs(n=900, noise=30)
    assert not isinstance(diagnosis.label_noise(features, Labels.of(manifest), NAMES), diagnosis.Finding)
    manifest["target"] = (np.arange(900) % 20 == 0).astype(int)  # all neighbours are of the frequent class
    said = diagnosis.label_noise(features, Labels.of(manifest), NAMES)
    assert "mostly wrong about all classes but at most one" in said.reason


def test_unlabelled_images_are_neither_doubted_nor_asked():
    features, manifest = noisy([5, 100, 120, 140, 160, 180])
    manifest.loc[[5, 7], "target"] = -1
    finding = diagnosis.label_noise(features, Labels.of(manifest), NAMES)
    assert sorted(row for (row,), _ in finding.rows) == [100, 120, 140, 160, 180]
    assert "5 of 298 labels" in finding.sentence


def test_too_few_images_to_ask_are_not_asked():
    features, manifest = noisy([5])
    few = Labels.of(manifest.iloc[:10])
    said = diagnosis.label_noise(features[:10], few, NAMES)
    assert said.reason == "only 10 images have a label, and 10 neighbours vote"


def points(*lows_and_highs):
    return [Accuracy(1.0 + i, "", (low + high) / 2, low, high) for i, (low, high) in enumerate(lows_and_highs)]


@pytest.mark.parametrize(
    "mine, found",
    [([(0.5, 0.9), (0.6, 0.9)], True), ([(0.51, 0.9), (0.6, 0.9)], False), ([(0.4, 0.9), (0.61, 0.9)], False)],
    ids=["touching", "better with few", "better with many"],
)
def test_a_gain_anywhere_is_a_gain(mine, found):
    baselines = {"pca": points((0.3, 0.5), (0.3, 0.4)), "raw_input": points((0.1, 0.2), (0.5, 0.6))}
    finding = diagnosis.no_gain(points(*mine), baselines)
    assert (finding is not None) is found
    assert not found or says_enough(finding)


def test_how_large_a_gain_is_still_possible_is_said():
    finding = diagnosis.no_gain(points((0.6, 0.8)), {"pca": points((0.58, 0.74)), "raw_input": points((0.2, 0.4))})
    assert "it gains +4.0 points, and anything from -8.8 to +16.8 is possible" in finding.sentence


def test_rows_are_spread_evenly_and_exactly_so_many():
    rows = np.arange(100, 350)
    assert diagnosis.spread(rows, 1000).tolist() == rows.tolist() and len(diagnosis.spread(rows[:0], 5)) == 0
    assert diagnosis.spread(rows, 125).tolist() == rows[::2].tolist()
    chosen = diagnosis.spread(rows, 100)
    assert len(chosen) == 100 and set(np.diff(chosen)) == {2, 3}
