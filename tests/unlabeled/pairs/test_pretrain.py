"""The loop on images and their captions, and what is measured of it."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from unlabeled.encoders import read_encoder
from unlabeled.errors import ConfigError, DataError, TrainingError
from unlabeled.pairs.captions import cutting, pack_captions
from unlabeled.pairs.config import PairAugmentation, PairEvaluation, PairPretraining, PairsIngestion
from unlabeled.pairs.evaluate import evaluate
from unlabeled.pairs.ingest import ingest
from unlabeled.pairs.pretrain import check, pretrain_encoder

RECIPE = PairAugmentation(views="fresh", crop_scale=(1, 1), flip=0, jitter=0, gray=0, caption_length=12)
CONFIG = PairPretraining(epochs=8, batch_size=32, checkpoint_seconds=0, warmup_epochs=0, learning_rate=2e-3, seed=1)
BRIEF = CONFIG.model_copy(update={"epochs": 2})


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    made = ingest(PairsIngestion(fraction=0.15, vocabulary=55), tmp_path_factory.mktemp("digits"))
    tokenizer = Tokenizer.from_str(made.tokenizer)
    captions = pack_captions(made.manifest.text, cutting(tokenizer, 12))
    return made.images, None, captions, made.manifest, tokenizer, made.summary


@pytest.fixture(scope="module")
def trained(digits):
    return pretrain_encoder("clip", *digits, CONFIG, RECIPE)


@pytest.fixture(scope="module")
def briefly_trained(digits):
    return pretrain_encoder("clip", *digits, BRIEF, RECIPE)


class StopError(Exception):
    pass


def same(first, second):
    state = second.network.state_dict()
    return all(torch.equal(value, state[name]) for name, value in first.network.state_dict().items())


def test_a_training_that_goes_on_ends_in_the_same_weights(digits, briefly_trained, tmp_path):
    def stop(metrics, step):
        raise StopError

    with pytest.raises(StopError):  # at the end of the first epoch
        pretrain_encoder("clip", *digits, BRIEF, RECIPE, resume=tmp_path / "resume.safetensors", report=stop)
    again, rows = pretrain_encoder("clip", *digits, BRIEF, RECIPE, resume=tmp_path / "resume.safetensors")
    expected, history = briefly_trained
    assert same(again, expected) and [row["loss"] for row in rows] == [row["loss"] for row in history]


def test_labels_decide_nothing(digits, briefly_trained):
    images, views, captions, manifest, *others = digits
    other = manifest.assign(target=-1)
    encoder, _ = pretrain_encoder("clip", images, views, captions, other, *others, BRIEF, RECIPE)
    assert same(encoder, briefly_trained[0])


def test_it_is_kept_and_read_with_both_towers(digits, trained, tmp_path):
    images, *_, manifest, _, _ = digits
    trained[0].save(tmp_path / "encoder.safetensors")
    read = read_encoder(tmp_path / "encoder.safetensors")
    assert np.array_equal(read.embed(images[:5]), trained[0].embed(images[:5]))
    texts = manifest.text.tolist()[:5]
    assert np.array_equal(read.shared("second", texts), trained[0].shared("second", texts))
    assert np.allclose(np.linalg.norm(read.shared("first", images[:5]), axis=1), 1, atol=1e-5)


def test_a_long_text_is_embedded_as_it_was_trained(trained):
    long = "a bold seven leaning right " * 3
    tokens = trained[0].second.tokenizer.encode(long).ids
    assert len(tokens) == 12
    with torch.no_grad():
        expected = trained[0].network.second.eval()(torch.tensor([tokens]))
    np.testing.assert_allclose(trained[0].second.embed([long]), expected, atol=1e-6)


def test_what_is_of_another_kind_is_refused(digits, trained):
    with pytest.raises(DataError, match="received a int as text 0"):
        trained[0].shared("second", [3])
    assert trained[0].misfit(["a text"]) == "is of images, and today's data are none"


def test_a_trained_pair_finds_more_than_chance(digits, trained):
    images, _, _, manifest, _, summary = digits
    found = evaluate(trained[0], images, manifest, summary["classes"], PairEvaluation(draws=2, prompts=("a {}",)))
    retrieval = found.metrics["retrieval"]
    for direction in ("text_to_image", "image_to_text"):
        assert retrieval[direction]["recall_at_10"] > 1.5 * retrieval["baselines"]["chance"][direction]["recall_at_10"]
        assert 0 < retrieval["baselines"]["bag_of_words"][direction]["recall_at_10"] <= 1
    assert 0.1 < found.metrics["zero_shot_accuracy"] <= 1
    assert (manifest.split.iloc[np.ravel(found.shown["image_to_text"])] == "test").all()


def test_the_monitor_tells_how_well_captions_find_images(trained):
    last = trained[1][-1]
    assert 0 <= last["validation_recall_at_10"] <= 1 and last["temperature"] > 0 and last["caption_embedding_std"] > 0


def test_without_a_test_split_nothing_is_searched(digits, trained):
    images, _, _, manifest, _, summary = digits
    all_train = manifest.assign(split="train")
    found = evaluate(trained[0], images, all_train, summary["classes"], PairEvaluation(draws=2))
    assert found.metrics["retrieval"] == {} and found.metrics["zero_shot_accuracy"] is None


def test_more_pairs_a_batch_than_there_are_is_refused(digits):
    config = CONFIG.model_copy(update={"batch_size": 5000})
    with pytest.raises(
        TrainingError, match=r"pretraining.batch_size: received 5000, but there are \d+ pairs to train on"
    ):
        pretrain_encoder("clip", *digits, config, RECIPE)


def test_a_prompt_without_a_place_for_the_class_is_refused():
    with pytest.raises(ConfigError, match=r"prompts=\['a photo'\], expected {} in each, where the class stands"):
        PairEvaluation.model_validate({"prompts": ["a photo"]})


@pytest.mark.parametrize(
    "constants, message",
    [
        ({"temperature": 0.0}, "pretraining.method.temperature: received 0.0, expected a number above 0"),
        ({"heat": 1}, "pretraining.method.heat is not a constant of clip: choose from temperature"),
    ],
)
def test_a_wrong_constant_is_told_before_there_are_pairs(constants, message):
    with pytest.raises(ConfigError, match=message):
        check("clip", CONFIG.model_copy(update={"method": constants}), RECIPE)
