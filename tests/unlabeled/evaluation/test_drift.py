import numpy as np
import pandas as pd
import pytest

from unlabeled.evaluation.drift import embedding_distance, pixel_statistics, sentence_of, summarise


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
    assert "embedding" not in summary and sentence_of(summary) == "3 new, 0 gone: too few to say how they differ"


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
    assert summarise(now[:355], now, rng().normal(size=(400, 4))).keys() == {"new", "gone"}
