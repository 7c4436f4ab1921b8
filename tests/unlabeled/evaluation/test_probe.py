from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from lightly.utils.benchmarking import knn_predict
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from unlabeled.config import Evaluation
from unlabeled.evaluation.probe import (
    Labels,
    LinearProbe,
    draw_labels,
    few_label_accuracy,
    fit_linear_probe,
    knn_accuracy,
    knn_right,
    knn_votes,
    measure,
    nearest,
    why_untested,
)
from unlabeled.evaluation.significance import EFFECTIVE, KNN_EFFECTIVE, effective_count


def blobs(n=240, dims=12, classes=4, noise=1.5, seed=0):
    """Overlapping classes as float32 features (n, dims) of various scales, and their targets."""
    random = np.random.default_rng(seed)
    targets = random.permutation(np.arange(n) % classes)
    features = random.normal(size=(classes, dims))[targets] + noise * random.normal(size=(n, dims))
    return (features * np.linspace(0.5, 5, dims) + 3).astype(np.float32), targets


def labels_of(targets, train=0.5, validation=0.25):
    """The first half to train on, then a quarter each to validate and to test on."""
    place = np.arange(len(targets)) / len(targets)
    split = np.select([place < train, place < train + validation], ["train", "validation"], "test")
    return Labels.of(pd.DataFrame({"target": targets, "split": split}))


def accuracy(probe, features, targets, rows):
    return (probe.predict(features[rows]) == targets[rows]).mean()


def slow_probabilities(features, labels, regularisation):
    """Logistic regression on standardised features, in float64 by scipy: ½‖W‖² + C Σ cross-entropy, bias free."""
    features, targets = features.astype(np.float64), labels.targets
    train, classes = features[labels.train], np.unique(targets[labels.train])
    x, both = (features - train.mean(0)) / train.std(0), np.concatenate([labels.train, labels.validation])
    given, hot = x[both], targets[both][:, None] == classes

    def cost(flat):
        weight, bias = flat[: -len(classes)].reshape(len(classes), -1), flat[-len(classes) :]
        logs = log_softmax(given @ weight.T + bias, axis=1)
        slope = regularisation * (np.exp(logs) - hot)
        value = (weight**2).sum() / 2 - regularisation * logs[hot].sum()
        return value, np.concatenate([(weight + slope.T @ given).ravel(), slope.sum(0)])

    start = np.zeros(len(classes) * (x.shape[1] + 1))
    found = minimize(cost, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "gtol": 1e-9, "ftol": 1e-15}).x
    weight, bias = found[: -len(classes)].reshape(len(classes), -1), found[-len(classes) :]
    return softmax(x @ weight.T + bias, axis=1)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("regularisation", [0.01, 1.0])
def test_the_probe_is_logistic_regression_as_scipy_finds_it(classes, regularisation):
    features, targets = blobs(classes=classes)
    labels = labels_of(targets)
    probe = fit_linear_probe(features, labels, Evaluation(regularisation=(regularisation,), max_iterations=5000))
    # Of two classes, only the difference of their weights is regularised.
    expected = slow_probabilities(features, labels, regularisation / 2 if classes == 2 else regularisation)
    np.testing.assert_allclose(softmax(probe.logits(features), axis=1), expected, atol=5e-3)
    assert (probe.predict(features) == expected.argmax(1)).mean() > 0.99


def test_two_classes_are_told_apart_by_two_rows_of_weights():
    features, targets = blobs(classes=2)
    targets = 3 + 4 * targets  # 3 and 7
    probe = fit_linear_probe(features, labels_of(targets), Evaluation())
    assert probe.classes.tolist() == [3, 7] and probe.logits(features).shape == (240, 2)
    assert accuracy(probe, features, targets, labels_of(targets).test) > 0.8


def test_the_probe_classifies_what_is_separable_without_an_error():
    features, targets = blobs(noise=0.05)
    labels = labels_of(targets)
    assert accuracy(fit_linear_probe(features, labels, Evaluation()), features, targets, labels.test) == 1


def test_the_validation_split_chooses_the_regularisation_by_cross_entropy():
    features, targets = blobs(n=120, dims=40, noise=4.0)
    labels, candidates = labels_of(targets), (1e-4, 1e-2, 1.0, 1e4)
    mean, std = features[labels.train].mean(0), features[labels.train].std(0)
    x, losses = (features - mean) / std, {}
    for c in candidates:
        alone = LogisticRegression(C=c, max_iter=1000).fit(x[labels.train], targets[labels.train])
        losses[c] = log_loss(targets[labels.validation], alone.predict_proba(x[labels.validation]))
    chosen = fit_linear_probe(features, labels, Evaluation(regularisation=candidates))
    assert chosen.regularisation == min(losses, key=losses.get) and chosen.regularisation == 1.0


def test_the_probe_learns_from_the_validation_split_too():
    features, targets = blobs()
    labels, spoiled = labels_of(targets), features.copy()
    spoiled[labels.validation] = features[np.roll(labels.validation, 1)]
    config = Evaluation(regularisation=(0.1,))
    assert not np.array_equal(
        fit_linear_probe(features, labels, config).weight, fit_linear_probe(spoiled, labels, config).weight
    )


def test_a_class_that_only_validation_has_is_learned():
    features, targets = blobs()
    labels = labels_of(targets)
    rows = labels.train[targets[labels.train] != 3]
    probe = fit_linear_probe(features, Labels(targets, rows, labels.validation, labels.test), Evaluation())
    assert probe.classes.tolist() == [0, 1, 2, 3]


def test_the_order_of_the_candidates_does_not_matter():
    features, targets = blobs()
    first, second = (
        fit_linear_probe(features, labels_of(targets), Evaluation(regularisation=c)) for c in ((1e-2, 1.0), (1.0, 1e-2))
    )
    assert np.array_equal(first.weight, second.weight) and first.regularisation == second.regularisation


def test_neither_the_labels_nor_the_features_of_test_enter_the_probe():
    features, targets = blobs()
    labels, spoiled, shuffled = labels_of(targets), features.copy(), targets.copy()
    spoiled[labels.test] = np.nan
    shuffled[labels.test] = np.roll(targets[labels.test], 1)
    clean = fit_linear_probe(features, labels, Evaluation())
    other = fit_linear_probe(spoiled, labels_of(shuffled), Evaluation())
    assert np.array_equal(clean.weight, other.weight) and np.array_equal(clean.bias, other.bias)


def test_without_a_validation_split_the_middle_regularisation_is_taken():
    features, targets = blobs()
    labels = labels_of(targets, validation=0.0)
    probe = fit_linear_probe(features, labels, Evaluation(regularisation=(10.0, 1e-3, 0.1)))
    assert probe.regularisation == 0.1
    assert accuracy(probe, features, targets, labels.test) > 0.6


def test_the_scale_and_the_shift_of_features_do_not_matter():
    features, targets = blobs()
    labels, scales = labels_of(targets), np.geomspace(0.1, 100, 12)
    plain = fit_linear_probe(features, labels, Evaluation())
    scaled = fit_linear_probe((features * scales - 7).astype(np.float32), labels, Evaluation())
    moved = scaled.logits((features * scales - 7).astype(np.float32))
    np.testing.assert_allclose(softmax(moved, 1), softmax(plain.logits(features), 1), atol=2e-2)


@pytest.mark.parametrize("later", [5.3, 6.0, -100.0], ids=["the same", "another", "far away"])
def test_a_dimension_that_is_constant_in_training_has_no_say(later):
    features, targets = blobs()
    labels, constant = labels_of(targets), np.full((240, 1), 5.3, np.float32)
    constant[labels.test] = later
    plain = fit_linear_probe(features, labels, Evaluation(regularisation=(1.0,)))
    wider = fit_linear_probe(np.hstack([features, constant]), labels, Evaluation(regularisation=(1.0,)))
    logits = wider.logits(np.hstack([features, constant])[labels.test])
    np.testing.assert_allclose(softmax(logits, 1), softmax(plain.logits(features[labels.test]), 1), atol=1e-2)


def test_a_probe_of_nothing_but_constants_guesses():
    _, targets = blobs()
    probe = fit_linear_probe(np.ones((240, 3), np.float32), labels_of(targets), Evaluation())
    assert np.isfinite(probe.logits(np.ones((5, 3), np.float32))).all()


def test_a_class_that_training_has_never_seen_is_never_right():
    features, targets = blobs(noise=0.05)
    labels = labels_of(targets)
    known = Labels(targets, *(rows[targets[rows] != 2] for rows in (labels.train, labels.validation)), labels.test)
    metrics, probe = measure(features, known, Evaluation(draws=2))
    share = (targets[labels.test] != 2).mean()
    assert probe.classes.tolist() == [0, 1, 3]
    assert metrics["linear_probe_accuracy"] == metrics["knn_accuracy"] == pytest.approx(share)


def test_a_loaded_probe_is_the_saved_one_exactly(tmp_path):
    features, targets = blobs()
    probe = fit_linear_probe(features, labels_of(targets + 5), Evaluation())
    probe.save(tmp_path / "probe.safetensors")
    loaded = LinearProbe.load(tmp_path / "probe.safetensors")
    assert np.array_equal(loaded.logits(features), probe.logits(features))
    assert np.array_equal(loaded.predict(features), probe.predict(features))
    assert loaded.regularisation == probe.regularisation and set(loaded.classes) == {5, 6, 7, 8}


def test_logits_are_a_linear_function_of_raw_features():
    probe = LinearProbe(np.float32([[1, 2], [0, 1]]), np.float32([0, 3]), np.array([4, 9]), 1.0)
    features = np.float32([[1, 1], [2, 2]])
    assert probe.logits(features).tolist() == [[3, 4], [6, 5]]
    assert probe.predict(features).tolist() == [9, 4]


def test_probabilities_are_the_softmax_of_the_logits():
    features, targets = blobs()
    probe = fit_linear_probe(features, labels_of(targets), Evaluation())
    probabilities = probe.probabilities(features)
    np.testing.assert_allclose(probabilities, softmax(probe.logits(features).astype(float), axis=1), atol=1e-6)
    assert probabilities.dtype == np.float32 and probabilities.shape == (240, 4)
    assert np.array_equal(probe.classes[probabilities.argmax(1)], probe.predict(features))


def test_probabilities_of_very_sure_logits_are_finite():
    probe = LinearProbe(np.float32([[1e4], [-1e4]]), np.zeros(2, np.float32), np.arange(2), 1.0)
    assert probe.probabilities(np.float32([[1], [-1]])).tolist() == [[1, 0], [0, 1]]


def test_there_may_be_nothing_to_give_probabilities_of():
    probe = LinearProbe(np.ones((3, 2), np.float32), np.zeros(3, np.float32), np.arange(3), 1.0)
    assert probe.probabilities(np.empty((0, 2), np.float32)).shape == (0, 3)


def slow_nearest(features, queries, bank, k):
    """One query after another; similarities and rows."""
    unit = features.astype(np.float64) / np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    found = [sorted(((unit[query] @ unit[row], row) for row in bank), reverse=True)[:k] for query in queries]
    return np.array([[s for s, _ in each] for each in found]), np.array([[row for _, row in each] for each in found])


@pytest.mark.parametrize("k", [1, 5, 500])
def test_the_nearest_are_those_of_the_slow_loop(k):
    features, _ = blobs(noise=3.0)
    queries, bank = np.arange(0, 60, 2), np.arange(239, 80, -1)
    similarities, rows = nearest(features, queries, bank, k)
    expected = slow_nearest(features, queries, bank, k)
    assert rows.shape == (30, min(k, 159)) and rows.dtype == np.int64 and np.array_equal(rows, expected[1])
    np.testing.assert_allclose(similarities, expected[0], atol=1e-6)


def test_an_image_in_the_bank_is_nearest_to_itself():
    features, _ = blobs()
    similarities, rows = nearest(features, np.arange(240), np.arange(240), 1)
    assert rows[:, 0].tolist() == list(range(240)) and np.allclose(similarities, 1, atol=1e-6)


def test_the_nearest_do_not_depend_on_how_many_are_looked_up_at_once(monkeypatch):
    features, _ = blobs()
    whole = nearest(features, np.arange(100), np.arange(100, 240), 4)
    monkeypatch.setattr("unlabeled.evaluation.probe.MAX_SIMILARITIES", 1000)  # seven queries
    for part, all_at_once in zip(nearest(features, np.arange(100), np.arange(100, 240), 4), whole, strict=True):
        np.testing.assert_allclose(part, all_at_once, atol=1e-6)


def test_of_no_queries_and_of_no_bank_nothing_is_near():
    features, _ = blobs()
    none = np.empty(0, np.int64)
    assert nearest(features, none, np.arange(240), 3)[1].shape == (0, 3)
    assert nearest(features, np.arange(5), none, 3)[1].shape == (5, 0)


def test_votes_are_weighted_by_similarity():
    similarities, targets = np.float32([[0.9, 0.5, 0.1], [0.3, 0.2, 0.1]]), np.array([[0, 2, 2], [1, 1, 1]])
    votes = knn_votes(similarities, targets, 4, 0.5)
    e = np.exp
    expected = [[e(1.8), 0, e(1.0) + e(0.2), 0], [0, e(0.6) + e(0.4) + e(0.2), 0, 0]] / e([[1.8], [0.6]])
    np.testing.assert_allclose(votes, expected, rtol=1e-6)


@pytest.mark.parametrize("temperature", [1e-4, 0.01, 0.0113, 0.07])
def test_votes_of_close_neighbours_are_those_in_double_precision_however_low_the_temperature(temperature):
    random = np.random.default_rng(0)
    similarities = -np.sort(-random.uniform(0.98, 1, (200, 20)).astype(np.float32), axis=1)
    targets = random.integers(0, 10, (200, 20))
    weights = np.exp((similarities.astype(np.float64) - similarities.max(1, keepdims=True)) / temperature)
    expected = np.zeros((200, 10))
    np.add.at(expected, (np.arange(200)[:, None], targets), weights)
    np.testing.assert_allclose(knn_votes(similarities, targets, 10, temperature), expected, rtol=1e-4, atol=1e-6)


def test_who_is_infinitely_far_has_no_vote():
    votes = knn_votes(np.float32([[-np.inf, 0.0]]), np.array([[0, 1]]), 2, 0.1)
    assert votes.tolist() == [[0, 1]]


def slow_knn(features, labels, k, temperature):
    """A vote for one image after another; the class of each test image."""
    unit = features.astype(np.float64) / np.sqrt((features.astype(np.float64) ** 2).sum(1, keepdims=True))
    winners = []
    for row in labels.test:
        similarities = sorted(
            ((unit[row] @ unit[other], labels.targets[other]) for other in labels.train), reverse=True
        )
        votes = {}
        for similarity, label in similarities[:k]:
            votes[label] = votes.get(label, 0) + np.exp(similarity / temperature)
        winners.append(max(votes, key=votes.get))
    return np.array(winners)


@pytest.mark.parametrize("k, temperature", [(1, 0.1), (7, 0.1), (20, 0.5), (500, 0.07)])
def test_knn_is_the_slow_loop(k, temperature):
    features, targets = blobs(noise=3.0)
    labels = labels_of(targets)
    expected = (slow_knn(features, labels, k, temperature) == targets[labels.test]).mean()
    assert knn_accuracy(features, labels, Evaluation(knn_k=k, knn_temperature=temperature)) == pytest.approx(expected)


def test_knn_is_lightlys():
    features, targets = blobs(noise=3.0)
    labels, unit = labels_of(targets), torch.nn.functional.normalize(torch.from_numpy(features), dim=1)
    bank, given = unit[labels.train].T, torch.from_numpy(targets[labels.train])
    theirs = knn_predict(unit[labels.test], bank, given, 4, knn_k=20, knn_t=0.1)[:, 0].numpy()
    assert knn_accuracy(features, labels, Evaluation()) == pytest.approx((theirs == targets[labels.test]).mean())


def test_knn_scores_the_split_it_is_asked_for():
    features, targets = blobs(noise=0.05)
    labels, shuffled = labels_of(targets), targets.copy()
    shuffled[labels.validation] = (targets[labels.validation] + 1) % 4
    labels = labels_of(shuffled)
    assert knn_accuracy(features, labels, Evaluation()) == 1
    assert knn_accuracy(features, labels, Evaluation(), on="validation") == 0


def test_knn_of_no_queries_is_not_a_number():
    features, targets = blobs()
    assert np.isnan(knn_accuracy(features, labels_of(targets, validation=0.0), Evaluation(), on="validation"))


def test_knn_survives_features_of_zero_and_a_tiny_temperature():
    features, targets = blobs(noise=0.05)
    features[0] = 0
    assert knn_accuracy(features, labels_of(targets), Evaluation(knn_temperature=0.005)) > 0.98


@pytest.mark.parametrize("k", [1, 3, 10])
def test_a_draw_has_so_many_labels_of_each_class(k):
    targets = blobs()[1]
    labels = labels_of(targets)
    draws = [draw_labels(labels, k, np.random.default_rng(seed)) for seed in range(10)]
    for rows in draws:
        assert len(set(rows)) == 4 * k and set(rows) <= set(labels.train)
        assert np.bincount(targets[rows]).tolist() == [k] * 4
    assert len({tuple(sorted(rows)) for rows in draws}) > 1


def test_a_draw_of_more_labels_than_a_class_has_takes_them_all():
    targets = np.array([0, 0, 1, 1, 1, 1, 1, 2])
    rows = draw_labels(labels_of(targets, train=1), 3, np.random.default_rng(0))
    assert np.bincount(targets[rows]).tolist() == [2, 3, 1]


@pytest.mark.parametrize("share, rows", [(0.1, 12), (0.5, 60), (1.0, 120)])
def test_a_share_of_the_labels_is_that_share(share, rows):
    targets = blobs()[1]
    drawn = draw_labels(labels_of(targets), share, np.random.default_rng(0))
    assert len(set(drawn)) == rows


def grouped(targets, groups):
    """Rows to train on, each in its group."""
    return Labels.of(pd.DataFrame({"target": targets, "split": "train", "group": groups}))


@pytest.mark.parametrize("setting", [1, 5, 0.1, 0.001])
def test_with_one_row_a_group_draws_are_as_without_groups(setting):
    targets = blobs()[1]
    with_groups, without = grouped(targets, [f"g{row}" for row in range(len(targets))]), labels_of(targets, train=1)
    one, other = (draw_labels(each, setting, np.random.default_rng(0)) for each in (with_groups, without))
    assert with_groups.groups is None and np.array_equal(one, other)


def test_a_draw_takes_one_of_a_group_as_long_as_there_are_others():
    labels = grouped(np.repeat([0, 1], 40), np.repeat(np.arange(16), 5))  # eight groups of five in each class
    for seed in range(20):
        for setting, most in ((4, 1), (8, 1), (12, 2), (0.2, 1), (0.4, 2)):
            rows = draw_labels(labels, setting, np.random.default_rng(seed))
            assert np.bincount(labels.groups[rows]).max() == most and len(set(rows)) == len(rows)


def test_a_share_has_two_classes_at_least():
    targets = blobs()[1]
    for seed in range(20):
        drawn = draw_labels(labels_of(targets), 0.001, np.random.default_rng(seed))
        assert len(np.unique(targets[drawn])) >= 2


def test_few_labels_are_named_by_their_number_and_by_their_share():
    features, targets = blobs()
    config = Evaluation(shots=(1, 5), fractions=(0.01, 0.125), draws=2)
    few = few_label_accuracy(features, labels_of(targets), config)
    assert list(few) == ["1", "5", "1%", "12.5%"]
    assert all(set(each) == {"mean", "std"} and 0 <= each["mean"] <= 1 for each in few.values())


def test_few_labels_are_drawn_as_the_seed_says():
    features, targets = blobs()
    first, again, other = (
        few_label_accuracy(features, labels_of(targets), Evaluation(draws=3, seed=seed)) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_mean_and_std_are_over_the_draws():
    features, targets = blobs()
    one, two = (
        few_label_accuracy(features, labels_of(targets), Evaluation(shots=(1,), fractions=(), draws=draws))["1"]
        for draws in (1, 2)
    )
    second = 2 * two["mean"] - one["mean"]
    assert one["std"] == 0
    assert two["std"] == pytest.approx(abs(one["mean"] - second) / 2**0.5) and two["std"] > 0


def test_more_labels_are_better():
    features, targets = blobs(n=600)
    few = few_label_accuracy(features, labels_of(targets), Evaluation(shots=(1, 10, 50), fractions=(), draws=5))
    assert few["1"]["mean"] < few["10"]["mean"] < few["50"]["mean"]


def test_unlabelled_images_are_never_used():
    features, targets = blobs()
    targets, spoiled = np.where(np.arange(240) % 3 == 0, -1, targets), features.copy()
    spoiled[targets < 0] = 1e4
    (clean, probe), (other, same) = (
        measure(each, labels_of(targets), Evaluation(draws=2)) for each in (features, spoiled)
    )
    assert clean == other and np.array_equal(probe.weight, same.weight)


def test_a_read_only_memory_map_is_measured_without_a_warning(tmp_path):
    features, targets = blobs()
    np.save(tmp_path / "features.npy", features)
    mapped, config = np.load(tmp_path / "features.npy", mmap_mode="r"), Evaluation(draws=2)
    assert measure(mapped, labels_of(targets), config)[0] == measure(features, labels_of(targets), config)[0]


def test_measuring_leaves_labels_and_features_as_they_were():
    features, targets = blobs()
    before = features.copy(), targets.copy()
    measure(features, labels_of(targets), Evaluation(draws=2))
    assert np.array_equal(features, before[0]) and np.array_equal(targets, before[1])


def test_measure_gives_the_accuracies_of_its_parts():
    features, targets = blobs()
    labels, config = labels_of(targets), Evaluation(draws=2)
    metrics, probe = measure(features, labels, config)
    assert metrics == {
        "regularisation": probe.regularisation,
        "linear_probe_accuracy": accuracy(probe, features, targets, labels.test),
        "knn_accuracy": knn_accuracy(features, labels, config),
        "few_label": few_label_accuracy(features, labels, config),
    }


@pytest.mark.parametrize(
    "targets, suffice",
    [([0, 1, 0, 1], True), ([0, 0, 0, 1], False), ([0, 1, -1, -1], False), ([-1] * 4, False)],
    ids=["two classes", "one class", "nothing to test on", "no labels"],
)
def test_labels_suffice_where_there_are_two_classes_and_something_to_test_on(targets, suffice):
    manifest = pd.DataFrame({"target": targets, "split": ["train", "train", "test", "test"]})
    assert Labels.of(manifest).suffice() is suffice
    assert (why_untested(manifest.assign(label="cat")) == "") is suffice


@pytest.mark.parametrize(
    "targets, reason",
    [
        ([-1] * 4, "there are no labels to test with"),
        ([0, 0, 0, -1], "all labelled clips are of one class, 'cat': there is nothing to tell apart"),
        ([0, 1, -1, -1], "no test clips have a label"),
        ([0, 0, 0, 1], "the labelled training clips are of fewer than two classes"),
    ],
)
def test_why_nothing_can_be_tested_is_said(targets, reason):
    manifest = pd.DataFrame({"target": targets, "split": ["train", "train", "test", "test"], "label": "cat"})
    assert why_untested(manifest, "clips") == reason


def test_labels_know_the_labelled_rows_of_each_split():
    manifest = pd.DataFrame({"target": [3, -1, 0, 1, -1], "split": ["train", "train", "test", "validation", "test"]})
    labels = Labels.of(manifest.set_index(pd.Index([9, 8, 7, 6, 5])))
    assert labels.targets.tolist() == [3, -1, 0, 1, -1]
    assert (labels.train.tolist(), labels.validation.tolist(), labels.test.tolist()) == ([0], [3], [2])


def test_answers_in_groups_count_as_fewer_and_those_of_one_row_each_as_before():
    features, targets = blobs(noise=2.0)
    split = labels_of(targets)
    manifest = pd.DataFrame({"target": targets, "split": "train", "group": np.arange(len(targets)) // 5})
    manifest.loc[split.validation, "split"], manifest.loc[split.test, "split"] = "validation", "test"
    config = Evaluation(draws=2, shots=(1,), fractions=(0.1,))
    alone = measure(features, Labels.of(manifest.drop(columns="group")), config)[0]
    assert measure(features, Labels.of(manifest.assign(group=np.arange(len(targets)))), config)[0] == alone
    numbers = measure(features, Labels.of(manifest), config)[0]
    assert 0 < numbers[EFFECTIVE] <= len(split.test) and 0 < numbers["few_label"]["1"][EFFECTIVE] <= len(split.test)
    assert numbers["linear_probe_accuracy"] == alone["linear_probe_accuracy"]


def test_the_answers_of_neighbours_have_an_effective_count_of_their_own():
    features, targets = blobs(noise=2.0)
    labels = labels_of(targets)
    right, groups = knn_right(features, labels, Evaluation()), np.arange(len(targets))
    groups[labels.test[np.argsort(right)]] = np.arange(len(right)) // 5  # they are right about all of a group, or none
    labels, groups = replace(labels, groups=groups), groups[labels.test]
    metrics = measure(features, labels, Evaluation(draws=1, shots=(1,), fractions=()))[0]
    assert metrics[KNN_EFFECTIVE] == effective_count(right, groups) < metrics[EFFECTIVE]
    assert metrics["knn_accuracy"] == right.mean()


def test_a_probe_is_saved_to_the_same_bytes_each_time(tmp_path):
    probe = LinearProbe(np.ones((2, 3), np.float32), np.zeros(2, np.float32), np.arange(2), regularisation=0.1)
    files = [tmp_path / f"{i}.safetensors" for i in range(20)]
    for file in files:
        probe.save(file)
    assert len({file.read_bytes() for file in files}) == 1
    assert LinearProbe.load(files[0]).regularisation == 0.1
