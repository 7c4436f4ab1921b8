import numpy as np
import pandas as pd
import pytest

from unlabeled.evaluation.drift import (
    changes_between,
    counts_in_words,
    embedding_distance,
    pixel_statistics,
    sentence_of,
    summarise,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def slow_energy(first, second):
    """Székely & Rizzo's E-coefficient, pair by pair."""
    across = np.mean([np.linalg.norm(a - b) for a in first for b in second])
    within = [np.mean([np.linalg.norm(a - b) for a in each for b in each]) for each in (first, second)]
    return (2 * across - sum(within)) / (2 * across)


def manifest(count, start=0, label="cat", size=30):
    return pd.DataFrame(
        {
            "sha256": [f"{i:064x}" for i in range(start, start + count)],
            "label": label,
            "width": size,
            "height": size,
        }
    )


def test_the_coefficient_is_that_of_a_slow_loop():
    first, second = rng(0).normal(size=(30, 5)), rng(1).normal(0.4, 1, (20, 5))
    assert embedding_distance(first, second, rng())["distance"] == pytest.approx(slow_energy(first, second), abs=1e-9)


@pytest.mark.parametrize("shift, differ", [(0.0, False), (1.0, True)])
def test_a_shifted_sample_differs_and_another_of_the_same_kind_does_not(shift, differ):
    p_values = [
        embedding_distance(rng(s).normal(size=(80, 8)), rng(100 + s).normal(shift, 1, (40, 8)), rng())["p_value"]
        for s in range(5)
    ]
    assert (max(p_values) <= 0.01) if differ else (np.median(p_values) > 0.05)


def test_p_values_are_uniform_where_nothing_differs():
    p_values = [
        embedding_distance(rng(s).normal(size=(20, 3)), rng(500 + s).normal(size=(15, 3)), rng(s))["p_value"]
        for s in range(100)
    ]
    assert np.mean(np.array(p_values) <= 0.2) == pytest.approx(0.2, abs=0.12)


def test_new_and_gone_images_are_counted_by_content():
    summary = summarise(manifest(50), manifest(60, start=5), rng().normal(size=(60, 4)))
    assert (summary["new"], summary["gone"]) == (15, 5)


def in_folders(labels, contents=None):
    """A manifest of images in a folder a class, one for each label."""
    numbers = range(len(labels))
    contents = contents or [f"content {number}" for number in numbers]
    paths = [f"{label}/{number}.png" for number, label in enumerate(labels)]
    return pd.DataFrame({"path": paths, "sha256": contents, "label": labels})


def test_labels_that_have_moved_are_told_with_the_classes_from_and_to():
    before, now = in_folders(["skirt"] * 32), in_folders(["dress"] * 12 + ["pants"] * 8 + ["skirt"] * 12)
    changes = changes_between(before, now)
    assert changes == {"new": 0, "gone": 0, "changed": 0, "relabelled": [["skirt", "dress", 12], ["skirt", "pants", 8]]}
    told = "0 new, 0 gone, 0 changed, 20 relabelled (skirt → dress: 12, skirt → pants: 8)"
    assert counts_in_words(changes) == sentence_of(summarise(before, now, np.zeros((32, 2)))) == told


@pytest.mark.parametrize("old, new", [("cat", None), (None, "cat")])
def test_a_label_that_came_or_went_is_told_as_one_that_moved(old, new):
    (move,) = changes_between(in_folders([old, "dog"]), in_folders([new, "dog"]))["relabelled"]
    assert move == [old or "no label", new or "no label", 1]


def test_other_content_under_the_same_path_has_changed_and_is_neither_new_nor_gone():
    before, now = in_folders(["cat"] * 3, ["a", "b", "c"]), in_folders(["cat"] * 4, ["a", "x", "c", "d"])
    assert counts_in_words(changes_between(before, now)) == "1 new, 0 gone, 1 changed, 0 relabelled"


def test_a_copy_in_another_class_that_goes_relabels_nothing():
    before, now = in_folders(["cat", "dog"], ["a", "a"]), in_folders(["cat"], ["a"])
    assert changes_between(before, now)["relabelled"] == changes_between(now, before)["relabelled"] == []


def test_an_effect_is_told_with_the_level_that_it_is_measured_by():
    counts = {"new": 40, "gone": 0, "changed": 0, "relabelled": []}
    measured = {"embedding": {"distance": 0.02, "p_value": 0.041}, "classes": {"distance": 0.3, "p_value": 0.001}}
    assert sentence_of(counts | measured).endswith(
        "the new ones are alike in embedding (distance 0.02, p = 0.041 > 0.01), "
        "different in class balance (distance 0.30, p = 0.001 ≤ 0.01)"
    )


def test_of_images_like_the_old_ones_nothing_is_said_to_differ():
    now = pd.concat([manifest(200), manifest(40, start=200)], ignore_index=True)
    now["label"] = rng().choice(["cat", "dog"], len(now))
    summary = summarise(manifest(200), now, rng(3).normal(size=(240, 8)).astype(np.float32))
    assert "different" not in sentence_of(summary)


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"label": "dog"}, "different in class balance"),
        ({"size": 90}, "different in size"),
        ({"shift": 2.0}, "different in embedding"),
    ],
)
def test_what_differs_is_named_and_nothing_else(changed, words):
    shift = changed.pop("shift", 0.0)
    old, new = manifest(150), manifest(60, start=150, **changed)
    features = rng(4).normal(size=(210, 6))
    features[150:] += shift
    sentence = sentence_of(summarise(old, pd.concat([old, new], ignore_index=True), features))
    assert words in sentence and sentence.count("different") == 1
    assert sentence.startswith("60 new, 0 gone")


@pytest.mark.parametrize("labelled, told", [(0, False), (9, False), (10, True)])
def test_newcomers_without_labels_say_nothing_of_class_balance(labelled, told):
    now = manifest(200)
    now["label"] = rng(2).choice(["cat", "dog"], 200).astype(object)
    now.loc[100 + labelled :, "label"] = None
    summary = summarise(manifest(100), now, rng(3).normal(size=(200, 4)))
    assert ("classes" in summary) is told and "different" not in sentence_of(summary)


@pytest.mark.parametrize(
    "change, differ",
    [
        (lambda images: images, False),
        (lambda images: 0.8 * images, True),
        (lambda images: images + rng(5).normal(0, 20, images.shape), True),
        (lambda images: images[..., ::-1], False),
    ],
    ids=["none", "darker", "noise", "mirrored"],
)
def test_what_an_encoder_ignores_shows_in_the_pixels(digits, change, differ):
    images = digits[0][rng(0).permutation(600)]  # one after another they are of one writer after another
    images[500:] = np.clip(change(images[500:].astype(np.float32)), 0, 255)
    summary = summarise(manifest(500), manifest(600), rng(3).normal(size=(600, 4)), images)
    assert ("different in pixels" in sentence_of(summary)) is differ


def test_pixel_statistics_are_their_definitions():
    images = rng().integers(0, 256, (3, 2, 5, 4), dtype=np.uint8)
    brightness, contrast, sharpness = pixel_statistics(images)[1]
    image = images[1].astype(float)
    down, right = np.abs(image[:, 1:] - image[:, :-1]).mean(), np.abs(image[:, :, 1:] - image[:, :, :-1]).mean()
    assert (brightness, contrast) == (pytest.approx(image.mean()), pytest.approx(image.std()))
    assert sharpness == pytest.approx((down + right) / 2)


def test_a_few_new_images_say_nothing():
    now = pd.concat([manifest(50), manifest(3, start=50, size=90)], ignore_index=True)
    summary = summarise(manifest(50), now, rng().normal(size=(53, 4)))
    assert "embedding" not in summary and sentence_of(summary) == (
        "3 new, 0 gone, 0 changed, 0 relabelled: too few to say how they differ"
    )


def test_the_summary_follows_from_its_seed():
    now, features = manifest(60), rng().normal(size=(60, 4))
    assert summarise(manifest(40), now, features) == summarise(manifest(40), now, features)


def test_new_documents_like_the_old_ones_do_not_differ_for_having_several_passages():
    false = {"row": 0, "document": 0}
    for seed in range(20):
        documents = np.repeat(np.arange(80), 5)
        features = (2 * rng(seed).normal(size=(80, 8))[documents] + rng(100 + seed).normal(size=(400, 8))).astype("f4")
        now = manifest(400).assign(label=None)
        for unit, group in {"row": np.arange(400), "document": documents}.items():
            summary = summarise(now[:320], now.assign(group=group), features, seed=seed)
            assert (summary["new"], summary["gone"]) == (80, 0)
            false[unit] += summary["embedding"]["p_value"] <= 0.01
    assert false["document"] <= 2 < 5 <= false["row"]


def test_fewer_new_groups_than_can_be_compared_are_only_counted():
    now = manifest(400).assign(group=np.repeat(np.arange(80), 5))
    assert summarise(now[:355], now, rng().normal(size=(400, 4))).keys() == {
        "new",
        "gone",
        "changed",
        "relabelled",
    }
