import json
import logging

import numpy as np
import pandas as pd
import pytest
import torch

from unlabeled.config import Evaluation
from unlabeled.evaluation import health
from unlabeled.evaluation.probe import Labels, measure
from unlabeled.evaluation.protocol import baselines_of, pixels_of, predict
from unlabeled.evaluation.verdict import BASELINE_NAMES
from unlabeled.images.encoder import ImageEncoder, Normalisation
from unlabeled.images.evaluate import evaluate
from unlabeled.nn.small_networks import SmallResNet

CONFIG = Evaluation(shots=(1, 5), fractions=(0.1,), draws=2, regularisation=(0.1, 1.0), max_iterations=40, seed=3)
QUICK = CONFIG.model_copy(update={"shots": (1,), "fractions": (), "draws": 1, "regularisation": (1.0,)})
PROTOCOL = {"linear_probe_accuracy", "regularisation", "knn_accuracy", "few_label"}


def encoder_of(seed=0, size=8, channels=1):
    torch.manual_seed(seed)
    return ImageEncoder("small_resnet", channels, size, Normalisation((0.3,) * channels, (0.4,) * channels))


def manifest_of(targets):
    n = len(targets)
    split = np.select([np.arange(n) < 0.6 * n, np.arange(n) < 0.75 * n], ["train", "validation"], "test")
    return pd.DataFrame({"target": targets, "split": split, "sha256": [f"{7 * i % n:03x}" for i in range(n)]})


@pytest.fixture(scope="module")
def data(digits):
    return digits[0][:300], manifest_of(digits[1][:300])


@pytest.fixture(scope="module")
def evaluated(data):
    """Metrics, features and probe of a network that has learned nothing."""
    return evaluate(encoder_of(), *data, CONFIG)


def test_the_metrics_have_the_keys_that_others_read(evaluated):
    metrics = evaluated[0]
    assert PROTOCOL | {"baselines", "embedding_std", "rankme", "uniformity"} <= metrics.keys()
    assert metrics["baselines"].keys() == {"raw_input", "random_encoder", "pca"}
    assert all(numbers.keys() == PROTOCOL for numbers in metrics["baselines"].values())
    assert metrics["few_label"].keys() == {"1", "5", "10%"}
    assert metrics["few_label"]["1"].keys() == {"mean", "std"}


def test_the_metrics_are_plain_json(evaluated):
    assert json.loads(json.dumps(evaluated[0], allow_nan=False)) == evaluated[0]


def test_every_accuracy_is_far_above_chance_on_digits(evaluated):
    metrics = evaluated[0]
    for numbers in (metrics, *metrics["baselines"].values()):
        assert 0.5 < numbers["linear_probe_accuracy"] <= 1 and 0.5 < numbers["knn_accuracy"] <= 1
        assert 0.2 < numbers["few_label"]["1"]["mean"] < numbers["few_label"]["5"]["mean"]


def test_the_features_are_the_encoders_of_every_image(evaluated, data):
    features = evaluated[1]
    assert features.shape == (300, encoder_of().feature_dim) and features.dtype == np.float32
    assert np.array_equal(features, encoder_of().embed(data[0]))


def test_the_probe_is_the_one_that_was_scored_on_test(evaluated, data):
    metrics, features, probe = evaluated
    test = (data[1].split == "test").to_numpy()
    right = probe.predict(features[test]) == data[1].target[test]
    assert metrics["linear_probe_accuracy"] == pytest.approx(right.mean())


def test_the_numbers_are_those_of_the_protocol(evaluated, data):
    numbers, _ = measure(evaluated[1], Labels.of(data[1]), CONFIG)
    assert {key: evaluated[0][key] for key in PROTOCOL} == numbers


def test_raw_input_is_the_pixels(evaluated, data):
    pixels = data[0].reshape(300, -1).astype(np.float32) / 255
    assert evaluated[0]["baselines"]["raw_input"] == measure(pixels, Labels.of(data[1]), CONFIG)[0]


def test_the_random_encoder_is_the_same_network_before_training(data):
    metrics, *_ = evaluate(encoder_of(CONFIG.seed), *data, CONFIG)
    assert metrics["baselines"]["random_encoder"] == {key: metrics[key] for key in PROTOCOL}


def test_the_random_encoder_has_the_width_of_the_encoder(data):
    encoder, network = encoder_of(), SmallResNet(1, 8)
    network[0].weight.data.zero_()
    encoder.network = network
    metrics, *_ = evaluate(encoder, *data, CONFIG)
    assert metrics["linear_probe_accuracy"] < 0.3 < metrics["baselines"]["random_encoder"]["linear_probe_accuracy"]


def test_pca_may_be_asked_for_more_dimensions_than_there_are(data):
    config = CONFIG.model_copy(update={"pca_dims": 1000})
    few = np.arange(0, 300, 6)
    metrics, *_ = evaluate(encoder_of(), data[0][few], data[1].iloc[few].reset_index(drop=True), config)
    assert 0.1 < metrics["baselines"]["pca"]["linear_probe_accuracy"] <= 1


def test_pixels_are_made_once_and_only_where_they_are_asked_for(data):
    images, manifest = data
    made = []
    baselines = baselines_of(encoder_of(), images, lambda: made.append(1) or pixels_of(images), manifest, CONFIG)
    assert not made
    assert baselines["pca"]().shape[1] <= baselines["raw_input"]().shape[1] and made == [1]


def test_pca_is_worth_the_pixels_with_few_labels(evaluated):
    raw, pca = (evaluated[0]["baselines"][name]["few_label"]["1"]["mean"] for name in ("raw_input", "pca"))
    assert pca > raw - 0.03


def test_baselines_are_measured_once_for_all_encoders(evaluated, data, tmp_path):
    first, *_ = evaluate(encoder_of(), *data, CONFIG, tmp_path)
    assert first == evaluated[0] and len(list(tmp_path.iterdir())) == 3
    for file in tmp_path.iterdir():
        file.write_text(json.dumps({**json.loads(file.read_text()), "knn_accuracy": 0.123}))
    other, *_ = evaluate(encoder_of(seed=1), *data, CONFIG, tmp_path)
    assert [each["knn_accuracy"] for each in other["baselines"].values()] == [0.123] * 3
    assert other["knn_accuracy"] != 0.123


@pytest.mark.parametrize(
    "changed",
    [
        lambda images, manifest, config: (images[::-1].copy(), manifest, config),
        lambda images, manifest, config: (images, manifest.assign(target=manifest.target[::-1].to_numpy()), config),
        lambda images, manifest, config: (images, manifest.assign(split=manifest.split[::-1].to_numpy()), config),
        lambda images, manifest, config: (images, manifest, config.model_copy(update={"knn_k": 3})),
    ],
)
def test_baselines_of_other_data_or_protocol_are_measured_anew(data, tmp_path, changed):
    evaluate(encoder_of(), *data, QUICK, tmp_path)
    images, manifest, config = changed(*data, QUICK)
    metrics, *_ = evaluate(encoder_of(), images, manifest, config, tmp_path)
    assert metrics == evaluate(encoder_of(), images, manifest, config)[0]


def test_damaged_numbers_of_baselines_are_measured_anew(evaluated, data, tmp_path):
    evaluate(encoder_of(), *data, CONFIG, tmp_path)
    for file in tmp_path.iterdir():
        file.write_text(file.read_text()[:-5])
    assert evaluate(encoder_of(), *data, CONFIG, tmp_path)[0] == evaluated[0]


def test_health_is_that_of_the_train_split(evaluated, data):
    metrics, features, _ = evaluated
    train = torch.from_numpy(features[data[1].split == "train"])
    assert metrics["embedding_std"] == health.embedding_std(train)
    assert metrics["rankme"] == health.rankme(train)
    assert metrics["uniformity"] == health.uniformity(train)


def test_evaluation_leaves_the_random_state_as_it_was(data):
    encoder = encoder_of()
    torchs, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()
    evaluate(encoder, *data, CONFIG)
    assert torch.equal(torch.get_rng_state(), torchs) and np.array_equal(np.random.get_state()[1], numpys)


def test_without_labels_the_accuracies_are_left_out_in_one_sentence(data, caplog):
    with caplog.at_level(logging.INFO):
        metrics, features, probe = evaluate(encoder_of(), data[0], data[1].assign(target=-1), CONFIG)
    assert metrics["linear_probe_accuracy"] is metrics["knn_accuracy"] is probe is None
    assert metrics["few_label"] == metrics["baselines"] == {}
    assert metrics["embedding_std"] > 0 and features.shape[0] == 300
    assert len(caplog.records) == 1 and "kept all the same: there are no labels to test with" in caplog.text


def test_labels_of_some_images_will_do(evaluated, data):
    some = data[1].assign(target=np.where(np.arange(300) % 2 == 0, -1, data[1].target))
    metrics, _, probe = evaluate(encoder_of(), data[0], some, CONFIG)
    assert 0.4 < metrics["linear_probe_accuracy"] <= 1 and len(probe.classes) == 10


def test_two_classes_are_enough(data):
    metrics, _, probe = evaluate(encoder_of(), data[0], data[1].assign(target=data[1].target % 2), CONFIG)
    assert metrics["linear_probe_accuracy"] > 0.7 and probe.classes.tolist() == [0, 1]


def test_a_validation_split_is_not_needed(data):
    without = data[1].assign(split=data[1].split.replace("validation", "train"))
    metrics, _, probe = evaluate(encoder_of(), data[0], without, CONFIG)
    assert metrics["linear_probe_accuracy"] > 0.5 and probe.regularisation in CONFIG.regularisation


def test_every_kind_of_features_is_told_of_in_one_line(data, caplog):
    with caplog.at_level(logging.INFO):
        metrics, *_ = evaluate(encoder_of(), *data, CONFIG)
    numbers = {"encoder": metrics, **metrics["baselines"]}
    told = [f"{BASELINE_NAMES.get(name, name)} {each['few_label']['1']['mean']:.1%}" for name, each in numbers.items()]
    assert caplog.records[-1].getMessage() == f"one label a class: {', '.join(told)}"


@pytest.mark.parametrize("grid, told", [((0.1, 1.0), True), ((0.1,), False)])
def test_an_end_of_the_grid_is_told_where_it_was_chosen(data, caplog, grid, told):
    with caplog.at_level(logging.INFO):
        metrics, *_ = evaluate(encoder_of(), *data, CONFIG.model_copy(update={"regularisation": grid}))
    assert metrics["regularisation"] in grid
    assert ("an end of evaluation.regularisation was best for encoder, raw pixels" in caplog.text) is told


def test_without_few_labels_there_is_nothing_to_tell(data, caplog):
    with caplog.at_level(logging.INFO):
        silent = {"shots": (), "fractions": (), "regularisation": (1.0,)}
        evaluate(encoder_of(), *data, CONFIG.model_copy(update=silent))
    assert caplog.records == []


@pytest.fixture(scope="module")
def predictions(evaluated, data):
    return predict(evaluated[2], evaluated[1], data[1])


def test_the_predictions_are_the_probes_of_every_test_image(evaluated, data, predictions):
    _, features, probe = evaluated
    test = np.flatnonzero(data[1].split == "test")
    assert list(predictions) == ["row", "sha256", "target", "predicted", "confidence"]
    assert predictions.row.tolist() == test.tolist()
    assert predictions.target.tolist() == data[1].target[test].tolist()
    assert predictions.sha256.tolist() == data[1].sha256[test].tolist()
    assert predictions.predicted.tolist() == probe.predict(features[test]).tolist()


def test_the_predictions_give_the_accuracy_that_was_measured(evaluated, predictions):
    right = (predictions.target == predictions.predicted).mean()
    assert right == pytest.approx(evaluated[0]["linear_probe_accuracy"])


def test_the_confidence_is_the_probability_of_what_was_predicted(evaluated, predictions):
    probabilities = evaluated[2].probabilities(evaluated[1][predictions.row])
    place = np.searchsorted(evaluated[2].classes, predictions.predicted)
    assert np.array_equal(predictions.confidence, probabilities[np.arange(len(place)), place])
    assert predictions.confidence.between(0.1, 1).all()


def test_predictions_name_classes_by_their_target(data):
    odd = data[1].assign(target=3 + 4 * (data[1].target % 2))  # 3 and 7
    _, features, probe = evaluate(encoder_of(), data[0], odd, CONFIG)
    assert set(predict(probe, features, odd).predicted) == {3, 7}


def test_unlabelled_test_images_are_not_predicted(evaluated, data):
    some = data[1].assign(target=np.where(np.arange(300) % 2 == 0, -1, data[1].target))
    assert (predict(evaluated[2], evaluated[1], some).row % 2 == 1).all()


def test_predictions_survive_parquet_with_and_without_a_probe(evaluated, data, predictions, tmp_path):
    none = predict(None, evaluated[1], data[1])
    assert list(none) == list(predictions) and len(none) == 0
    for each in (predictions, none):
        each.to_parquet(tmp_path / "predictions.parquet")
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "predictions.parquet"), each)


@pytest.mark.parametrize("channels, size", [(3, 70), (4, 33), (1, 96)])
def test_large_images_of_any_channels_are_evaluated(channels, size):
    random = np.random.default_rng(0)
    targets = np.arange(40) % 2
    images = random.integers(0, 128, (40, channels, size, size), dtype=np.uint8) + 100 * targets[:, None, None, None]
    metrics, *_ = evaluate(encoder_of(0, size, channels), images.astype(np.uint8), manifest_of(targets), CONFIG)
    assert metrics["baselines"]["raw_input"]["linear_probe_accuracy"] == 1


def test_a_read_only_memory_map_gives_the_same_numbers_without_a_warning(evaluated, data, tmp_path):
    np.save(tmp_path / "images.npy", data[0])
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert evaluate(encoder_of(), mapped, data[1], CONFIG)[0] == evaluated[0]
