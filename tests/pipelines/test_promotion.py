"""The gate, on a registry in SQLite with real encoders in it."""

import hashlib
import json
import shutil
from functools import cache
from typing import NamedTuple

import mlflow
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from pipelines.registry import versions as registry
from pipelines.registry.promotion import (
    ATTEMPTS,
    Decision,
    _beats_baselines,
    _compare,
    _drops,
    count_comparisons,
    judge,
    run_gate,
    sample_images,
)
from pipelines.registry.provenance import MANIFEST, METRICS
from unlabeled.config import Evaluation, Registration
from unlabeled.evaluation.significance import chance_of_gain, fewest_wins, level_left
from unlabeled.evaluation.verdict import Worth

NAME = "unlabeled-digits"
PROTOCOL = Evaluation(draws=2, shots=(1, 5), fractions=(0.1,), regularisation=(0.01, 0.1))
"""That of the trained project."""
BETTER = Worth("better than every baseline")
AS_SURE = Registration(level=0.9, max_class_drop=1.0)
"""A gate that a better guess passes."""


@pytest.fixture
def gate(trained):
    """A function from changed answers, worth and tags to a decision, against the champion of the trained project."""
    mlflow.set_tracking_uri(f"sqlite:///{trained.path / 'mlflow.db'}")
    images = np.load(trained.path / "data/02_intermediate/images.npy")
    manifest = pd.read_parquet(trained.path / "data/02_intermediate/manifest.parquet")
    classes = trained.json("data/02_intermediate/summary.json")["classes"]
    measured = trained.json("data/08_reporting/byol/metrics.json")

    def judged(answers=None, name=NAME, config=None, tags=None, worth=BETTER, before=0):
        given = {"data_digest": measured["data_digest"], "protocol": PROTOCOL.digest()} | (tags or {})
        compared = (images, manifest, classes, given, PROTOCOL, config or Registration())
        answers = judged.answers if answers is None else answers
        return judge(registry.champion(mlflow.MlflowClient(), name), worth, before, answers, *compared)

    judged.answers = pd.read_parquet(trained.path / "data/08_reporting/byol/predictions.parquet")
    judged.score, judged.digest = measured["linear_probe_accuracy"], measured["data_digest"]
    return judged


def answers_of(right, targets=None):
    """Answers that are right so often."""
    targets = np.zeros(len(right), int) if targets is None else targets
    contents = [f"{i:06x}" for i in range(len(right))]
    said = np.where(right, targets, targets + 1)
    return pd.DataFrame({"row": range(len(right)), "sha256": contents, "target": targets, "predicted": said})


def mended(answers, count=None):
    """Answers of which the first `count` wrong ones (all, where not given) are right."""
    wrong = np.flatnonzero(answers.target != answers.predicted)[:count]
    return answers.assign(predicted=answers.predicted.where(~answers.index.isin(answers.index[wrong]), answers.target))


def spoiled(answers, target):
    """Answers that are wrong about every image of a class."""
    return answers.assign(predicted=answers.predicted.where(answers.target != target, (target + 1) % 10))


def test_the_first_is_the_champion(gate):
    assert gate(name="unlabeled-nothing-yet")[:2] == (True, "there was no champion")


def test_a_tie_keeps_the_champion(gate):
    promoted, reason, numbers, _ = gate()
    assert not promoted and f"{gate.score:.4f} against {gate.score:.4f} of version 1" in reason
    assert numbers["gate.difference"] == 0 and numbers["gate.p_value"] == 1 and numbers["gate.worst_drop"] == 0


def test_who_is_surely_better_wins(gate):
    promoted, reason, numbers, _ = gate(mended(gate.answers))
    assert promoted and reason.startswith(f"linear probe 1.0000 against {gate.score:.4f} of version 1: +")
    assert numbers["gate.p_value"] < 0.05 and numbers["gate.low"] > 0


def test_who_may_be_better_by_chance_does_not(gate):
    promoted, reason, numbers, _ = gate(mended(gate.answers, 5))
    assert not promoted and numbers["gate.p_value"] == pytest.approx(0.0625)
    least = (
        f"which is not surely better: that takes at least 6 more right answers (+{600 / len(gate.answers):.1f} points"
    )
    assert f"{least}; registration.level=0.05)" in reason
    assert gate(mended(gate.answers, 5), config=AS_SURE).promoted


def test_the_more_challengers_the_test_images_have_judged_the_surer_one_has_to_be(gate):
    assert gate(mended(gate.answers, 6)).promoted
    promoted, reason, numbers, _ = gate(mended(gate.answers, 6), before=3)
    assert not promoted and numbers["gate.level"] == pytest.approx(0.005)
    assert "takes at least 9 more right answers" in reason
    assert "registration.level=0.05, of which 0.005 is left for challenger 4 on these test images)" in reason


def test_where_the_test_images_cannot_tell_the_reason_says_so():
    champion = answers_of(np.arange(370) >= 2)
    promoted, reason, *_ = _compare(answers_of(np.ones(370, bool)), champion, ["a"], "version 1", "", 0, Registration())
    assert not promoted and reason.endswith(
        "p = 0.5; these 370 test images cannot tell, for version 1 is wrong about 2 of them, and to be sure takes at "
        "least 6 more right answers (+1.6 points; registration.level=0.05)"
    )


def test_without_labels_people_decide(gate):
    promoted, reason, *_ = gate(gate.answers.iloc[:0], config=AS_SURE)
    assert not promoted and reason.startswith("without labels it cannot be compared with version 1: kedro promote")


def test_who_is_worse_does_not_even_where_nothing_has_to_be_sure(gate):
    assert not gate(spoiled(gate.answers, 3), config=AS_SURE).promoted


def worse_on_a_class(lost):
    """Answers of a champion and of a challenger that is better on the whole, and worse about `lost` of the 40 of a."""
    targets = np.repeat([0, 1], [40, 160])
    old, new = np.ones(200, bool), np.ones(200, bool)
    old[40:100], new[:lost] = False, False
    return answers_of(new, targets), answers_of(old, targets), ["a", "b"], "version 1", "", 0


def test_who_is_better_but_surely_worse_on_a_class_does_not():
    promoted, reason, numbers = _compare(*worse_on_a_class(12), Registration())[:3]
    assert numbers["gate.difference"] > 0 and numbers["gate.worst_class"] == "a" and not promoted
    assert reason.endswith("; but a is told 30.0 points worse (p = 0.00024; registration.max_class_drop=0.05)")
    assert _compare(*worse_on_a_class(12), Registration(max_class_drop=0.3)).promoted


def test_a_drop_that_may_be_chance_blocks_nobody():
    promoted, _, numbers, _ = _compare(*worse_on_a_class(4), Registration())
    assert promoted and numbers["gate.worst_drop"] == 0.1


def test_a_class_does_not_protect_a_champion_that_is_no_better_than_its_baselines():
    """It takes every fourth picture for a shoe, and so it is right about all shoes."""
    classes, targets = ["pants", "shirt", "shoes", "skirt"], np.repeat(np.arange(4), 40)
    old, new = (targets == 2) | (np.arange(160) % 20 == 0), np.arange(160) % 2 == 0
    compared = answers_of(new, targets), answers_of(old, targets), classes, "version 1", "", 0, Registration()
    kept, taken = (_compare(*compared, protected) for protected in (True, False))
    assert not kept.promoted and "but shoes is told 50.0 points worse" in kept.reason
    assert taken.promoted and taken.reason.endswith(
        "shoes is told 50.0 points worse (p = 9.5e-07; registration.max_class_drop=0.05), which does not count, for "
        "version 1 itself is not clearly better than its baselines"
    )


def test_whether_a_champion_beats_its_baselines_is_read_from_its_record(gate, other_champion):
    name, folder = other_champion
    client, file = mlflow.MlflowClient(), folder.parent / "record" / METRICS
    champion, metrics = registry.champion(client, name), json.loads(file.read_text())
    for accuracy, beats in ((0.0, True), (1.0, False)):
        for each in metrics["baselines"].values():
            each["linear_probe_accuracy"] = accuracy
            each["few_label"] = {key: few | {"mean": accuracy, "std": 0.0} for key, few in each["few_label"].items()}
        file.write_text(json.dumps(metrics))
        assert _beats_baselines(champion) is beats
    file.unlink()
    assert _beats_baselines(champion)  # by an earlier release


def test_the_champions_encoder_with_other_labels_is_for_people_to_decide(gate, trained):
    weights = mlflow.MlflowClient().get_model_version(NAME, "1").tags["weights"]
    promoted, reason, numbers, drift = gate(mended(gate.answers), tags={"data_digest": "another", "weights": weights})
    assert not promoted and not numbers and drift["relabelled"] == []
    assert reason == (
        "its encoder is that of version 1, and only its measurement on today's data is new: kedro promote makes it the "
        "champion"
    )


def test_a_model_of_an_earlier_name_is_told_where_todays_has_no_champion(gate):
    client = mlflow.MlflowClient()
    assert registry.left_behind(client, "unlabeled-clothing", "digits").endswith(
        "has a champion (version 1), and unlabeled-clothing has none: set registration.model_name=unlabeled-digits to "
        "go on with it"
    )
    assert registry.left_behind(client, NAME, "digits") == registry.left_behind(client, "unlabeled-a", "text") == ""
    assert registry.left_behind(client, NAME, "image_folder") == ""


def test_the_first_may_be_let_in_without_beating_the_baselines_and_that_is_said(gate):
    worth = Worth("not clearly better than the baselines with any number of labels", better=False)
    config = Registration(must_beat_baselines=False)
    assert gate(name="unlabeled-nothing-yet", worth=worth, config=config)[:2] == (
        True,
        "there was no champion, and registration.must_beat_baselines=false asks for nothing more",
    )


def ease(accuracy):
    """What an encoder of this accuracy adds to the logits of images whose hardness has a standard deviation of 2."""
    hardness = 2 * norm.ppf((np.arange(400) + 0.5) / 400)
    return brentq(lambda logit: (1 / (1 + np.exp(hardness - logit))).mean() - accuracy, -15, 15)


def right_about(random, images, accuracies, trials=1):
    """Whether encoders are right about images, each as hard for all of them: (trials, encoders, images)."""
    hardness = random.normal(0, 2, (trials, 1, images))
    eases = np.array([*map(ease, accuracies)])[:, None]
    return random.random((trials, len(eases), images)) < 1 / (1 + np.exp(hardness - eases))


def test_of_many_classes_one_that_is_truly_better_is_promoted():
    targets, classes, promoted = np.arange(10_000) % 100, [*map(str, range(100))], 0
    for old, new in right_about(np.random.default_rng(0), 10_000, (0.7, 0.75), trials=20):
        compared = answers_of(new, targets), answers_of(old, targets)
        promoted += _compare(*compared, classes, "version 1", "", 0, Registration()).promoted
    assert promoted >= 18


@pytest.mark.parametrize("change, least, most", [(0.0, 0, 10), (-0.3, 190, 200)])
def test_a_class_that_is_truly_worse_blocks_and_no_other_does(change, least, most):
    random, targets = np.random.default_rng(1), np.repeat(np.arange(10), 100)
    blocked, changed = 0, right_about(random, 100, (0.8, 0.8 + change), trials=200)
    for both, (old, new) in zip(right_about(random, 1000, (0.8, 0.8), trials=200), changed, strict=True):
        both[:, :100] = old, new
        alone = np.arange(len(targets))
        drops = _drops(both[1], both[0], targets, alone, [*map(str, range(10))], Registration())
        blocked += any(drop.blocks for drop in drops)
    assert least <= blocked <= most


@cache
def chance_of(wins, losses):
    return 2 * chance_of_gain(np.repeat([1, -1], [wins, losses]))


@pytest.mark.parametrize("images, accuracy", [(370, 0.97), (370, 0.9), (2000, 0.6)])
def test_of_ten_equal_challengers_hardly_ever_one_takes_the_place(images, accuracy):
    right = right_about(np.random.default_rng(2), images, [accuracy] * 11, trials=400)
    wins, losses = ((right[:, 1:] & ~right[:, :1]).sum(2), (~right[:, 1:] & right[:, :1]).sum(2))
    levels = [level_left(0.05, judged) for judged in range(10)]
    promoted = [
        any(w > lost and chance_of(w, lost) < level for w, lost, level in zip(*each, levels, strict=True))
        for each in zip(wins.tolist(), losses.tolist(), strict=True)
    ]
    assert np.mean(promoted) <= 0.05


class Version(NamedTuple):
    """What the gate reads of a version in the registry."""

    tags: dict[str, str]


def test_versions_that_the_same_test_images_have_judged_are_counted():
    def version(first, **tags):
        contents = pd.DataFrame({"sha256": [hashlib.sha256(b"%d" % i).hexdigest() for i in range(first, 500)]})
        return Version({"test_sample": sample_images(contents)} | {key.replace("_", ".", 1): tags[key] for key in tags})

    judged = {"gate_p_value": "0.3"}
    mine = version(0).tags["test_sample"]
    earlier = [version(0, **judged), version(0), version(5, **judged), version(450, **judged)]
    assert count_comparisons(earlier, mine) == 2
    assert count_comparisons([Version({})], mine) == count_comparisons([version(0, **judged)], "") == 0


@pytest.mark.parametrize("name", [NAME, "unlabeled-nothing-yet"])
def test_who_does_not_beat_the_baselines_is_not_promoted_whether_there_is_a_champion_or_not(gate, name):
    worth = Worth("not clearly better than the baselines with any number of labels", better=False)
    promoted, reason, *_ = gate(mended(gate.answers), name=name, worth=worth)
    assert not promoted and reason.endswith("better than every baseline (registration.must_beat_baselines)")
    assert gate(mended(gate.answers), name=name, worth=worth, config=Registration(must_beat_baselines=False)).promoted


@pytest.mark.parametrize("name", [NAME, "unlabeled-nothing-yet"])
def test_what_tells_nothing_apart_is_never_promoted(gate, name):
    worth = Worth("its embedding has collapsed", alive=False)
    assert not gate(mended(gate.answers), name=name, worth=worth, config=AS_SURE).promoted


def test_without_labels_the_champion_stays(gate):
    promoted, reason, *_ = gate(gate.answers.iloc[:0])
    assert not promoted and "without labels" in reason


@pytest.mark.parametrize("tags", [{"data_digest": "another"}, {"protocol": "another"}])
def test_on_other_data_or_by_another_protocol_the_champion_is_measured_again(gate, tags):
    promoted, reason, *_ = gate(mended(gate.answers), tags=tags)
    assert promoted and "of version 1, measured again on today's data and protocol" in reason
    assert f"against {gate.score:.4f}" in reason  # the data are the same in truth, and so is the number


@pytest.fixture
def other_champion(gate, tmp_path, request):
    """A function that gives a copy of the champion's files, in a folder that may be changed, a registered model."""
    client, name = mlflow.MlflowClient(), f"copy-{request.node.name}"
    files = mlflow.artifacts.download_artifacts(f"models:/{NAME}/1")
    shutil.copytree(files, tmp_path / "copy")
    client.create_registered_model(name)
    client.create_model_version(name, str(tmp_path / "copy"), tags={"data_digest": "another"})
    client.set_registered_model_alias(name, "champion", "1")
    return name, tmp_path / "copy/artifacts/model"


def test_a_damaged_champion_stays(gate, other_champion):
    name, folder = other_champion
    weights = folder / "encoder.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    promoted, reason, *_ = gate(mended(gate.answers), name=name)
    assert not promoted and "version 1 stays, for it could not be measured" in reason and "encoder" in reason


def test_a_champion_whose_store_is_away_stays(gate, other_champion):
    name, folder = other_champion
    client = mlflow.MlflowClient()
    away = client.create_model_version(name, "http://127.0.0.1:9/files", tags={"data_digest": "another"})
    client.set_registered_model_alias(name, "champion", away.version)
    promoted, reason, *_ = gate(mended(gate.answers), name=name)
    assert not promoted and "version 2 stays" in reason and "cannot be read now" in reason


@pytest.mark.parametrize("on_record", [False, True])
def test_a_champion_whose_files_are_gone_does_not(gate, other_champion, on_record):
    name, folder = other_champion
    if on_record:  # its answers to these very test images are still there
        for key, value in {"data_digest": gate.digest, "protocol": PROTOCOL.digest()}.items():
            mlflow.MlflowClient().set_model_version_tag(name, "1", key, value)
    shutil.rmtree(folder)
    promoted, reason, *_ = gate(gate.answers, name=name)
    assert promoted and reason == f"the files of {name} version 1 no longer exist"


def test_a_champion_of_images_with_other_channels_does_not(gate, other_champion):
    from unlabeled.images.encoder import ImageEncoder, Normalisation

    name, folder = other_champion
    ImageEncoder("small_resnet", 3, 8, Normalisation((0.5,) * 3, (0.5,) * 3)).save(folder / "encoder.safetensors")
    promoted, reason, *_ = gate(gate.answers, name=name)
    assert promoted and reason == "version 1 is of images with 3 channels, and today's have 1"


@pytest.fixture
def learned_by_champion(gate, other_champion):
    """Says of some of today's test images that the champion, whose name it returns, was trained on them."""
    name, folder = other_champion
    file = folder.parent / "record" / MANIFEST

    def learned(count, key="sha256"):
        manifest = pd.read_parquet(file)
        rows = gate.answers.row.to_numpy()[:count]
        elsewhere = {"sha256": "another", "checksum": 1, "group": "another"}
        changed = manifest.iloc[rows].assign(split="train", **{k: v for k, v in elsewhere.items() if k != key})
        pd.concat([manifest, changed]).to_parquet(file)
        return name

    return learned


@pytest.mark.parametrize("key", ["sha256", "checksum", "group"])
def test_a_champion_is_not_measured_again_on_what_it_was_trained_on(gate, learned_by_champion, key):
    _, reason, numbers, _ = gate(mended(gate.answers), name=learned_by_champion(70, key))
    assert f"without the 70 of {len(gate.answers)} test images that it was trained on" in reason
    assert numbers["gate.smallest_gain"] == fewest_wins(Registration().level) / (len(gate.answers) - 70)


def test_a_champion_that_was_trained_on_most_test_images_cannot_be_compared(gate, learned_by_champion):
    count = len(gate.answers)
    promoted, reason, *_ = gate(mended(gate.answers), name=learned_by_champion(count - 3))
    assert not promoted and "it cannot be compared with version 1, measured again" in reason
    assert f"without the {count - 3} of {count} test images that it was trained on: the 3 left are too few" in reason


def test_answers_of_a_group_are_one_observation():
    old, new = np.ones(100, bool), np.ones(100, bool)
    old[:20] = False
    alone, together = (answers_of(new).assign(group=np.arange(100) // size) for size in (1, 10))
    compared = answers_of(old), ["a"], "version 1", "", 0, Registration()
    assert _compare(alone, *compared).promoted
    assert _compare(answers_of(new), *compared)[:2] == _compare(alone, *compared)[:2]
    promoted, reason, *_ = _compare(together, *compared)
    assert (
        not promoted and "these 100 test images in 10 groups cannot tell, for version 1 is wrong in 2 of them" in reason
    )


def gate_of(name, meanwhile):
    """The decisions on version 3 of a new model, as they were recorded; `meanwhile` runs after the n-th decision."""
    client, noted, against = mlflow.MlflowClient(), [], []
    client.create_registered_model(name)
    for _ in range(6):
        client.create_model_version(name, "nowhere")

    def judged(champion):
        against.append(champion and str(champion.version))
        meanwhile(client, len(against))
        return Decision(True, f"better than {against[-1]}")

    run_gate(client, name, "3", judged, noted.append)
    return against, noted, str(registry.champion(client, name).version)


def test_a_champion_that_another_machine_sets_meanwhile_is_compared_with_as_well(gate):
    name = "set-meanwhile"
    against, noted, champion = gate_of(name, lambda client, n: n == 1 and registry.set_champion(client, name, "2"))
    assert against == [None, "2"] and champion == "3" and noted[-1].reason == "better than 2"
    assert registry.champion_history(mlflow.MlflowClient(), name) == ["2", "3"]


def test_where_the_champion_never_stays_the_same_the_challenger_gives_up(gate):
    name = "set-all-the-time"
    against, noted, champion = gate_of(name, lambda client, n: registry.set_champion(client, name, str(3 + n)))
    assert len(against) == ATTEMPTS and champion == str(3 + ATTEMPTS)
    assert not noted[-1].promoted and "others became champion each time" in noted[-1].reason


class Meanwhile(mlflow.MlflowClient):
    """A client before or after whose first champion another machine sets its own."""

    def __init__(self, other, before):
        super().__init__()
        self._other, self._before = other, before

    def set_registered_model_alias(self, name, alias, version):
        other, self._other = self._other, None
        if other and self._before:
            registry.set_champion(mlflow.MlflowClient(), name, other)
        super().set_registered_model_alias(name, alias, version)
        if other and not self._before:
            mlflow.MlflowClient().set_registered_model_alias(name, alias, other)


@pytest.mark.parametrize("before", [True, False], ids=["overlooked", "overtaken"])
@pytest.mark.parametrize("better", [True, False])
def test_of_two_champions_set_at_once_one_is_compared_again_and_the_history_has_both(gate, before, better):
    client, name, against = mlflow.MlflowClient(), f"at-once-{before}-{better}", []
    client.create_registered_model(name)
    for _ in range(3):
        client.create_model_version(name, "nowhere")
    registry.set_champion(client, name, "1")

    def judged(champion):
        against.append(str(champion.version))
        return Decision(against[-1] == "1" or better, f"against {against[-1]}")

    decision = run_gate(Meanwhile("2", before), name, "3", judged, lambda decision: None)
    assert against == ["1", "2"] and decision == Decision(better, "against 2")
    assert str(registry.champion(client, name).version) == ("3" if better else "2")
    history = ["1", "2"] if before else ["1", "3", "2"]  # for a moment, where it was overtaken
    assert registry.champion_history(client, name) == ([*history, "3"] if better else history)


def test_the_protocol_is_the_same_only_where_all_of_it_is():
    assert Evaluation().digest() == Evaluation().digest()
    assert Evaluation().digest() != Evaluation(knn_k=21).digest()
