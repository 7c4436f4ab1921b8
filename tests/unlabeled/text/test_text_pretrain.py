"""The loop on sequences of tokens."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from unlabeled.errors import ConfigError, TrainingError
from unlabeled.text.config import Packing, TextIngestion, TextPretraining
from unlabeled.text.ingest import ingest, texts_of
from unlabeled.text.packing import pack
from unlabeled.text.pretrain import check, pretrain_encoder

RECIPE = Packing(sequence_length=16)
CONFIG = TextPretraining(epochs=2, batch_size=8, checkpoint_seconds=0, min_embedding_std=0, method={"dropout": 0.1})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Manifest, tokenizer, summary and sequences of a few invented documents."""
    folder, rng = tmp_path_factory.mktemp("texts"), np.random.default_rng(0)
    for number in range(12):
        words = rng.choice(
            ["sea", "sky", "stone", "river", "lantern", "rain", "moss", "mountain", "thunder", "meadow"], 60
        )
        (folder / f"{number}.txt").write_text(" ".join(words))
    made = ingest(TextIngestion(source="text", path=str(folder), vocabulary=300, passage=100))
    tokenizer = Tokenizer.from_str(made.tokenizer)
    return pack(texts_of(made.manifest, "train"), tokenizer, 16), made.manifest, tokenizer, made.summary


class StopError(Exception):
    pass


@pytest.mark.parametrize("method", ["gpt", "bert"])
def test_a_training_that_goes_on_ends_in_the_same_weights(corpus, tmp_path, method):
    whole, history = pretrain_encoder(method, *corpus, CONFIG, RECIPE)

    def stop(metrics, step):
        raise StopError

    with pytest.raises(StopError):  # at the end of the first epoch
        pretrain_encoder(method, *corpus, CONFIG, RECIPE, resume=tmp_path / "resume.safetensors", report=stop)
    again, rows = pretrain_encoder(method, *corpus, CONFIG, RECIPE, resume=tmp_path / "resume.safetensors")
    state = again.network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.network.state_dict().items())
    assert [row["loss"] for row in rows] == [row["loss"] for row in history]


def test_labels_decide_nothing(corpus):
    rows, manifest, *others = corpus
    labelled = manifest.assign(target=np.arange(len(manifest)) % 2)
    first, _ = pretrain_encoder("gpt", rows, manifest, *others, CONFIG, RECIPE)
    second, _ = pretrain_encoder("gpt", rows, labelled, *others, CONFIG, RECIPE)
    assert torch.equal(first.network.embedding.weight, second.network.embedding.weight)


def test_more_sequences_a_batch_than_there_are_is_refused(corpus):
    with pytest.raises(TrainingError, match="pretraining.batch_size: received 5000, but the documents make fewer"):
        pretrain_encoder("gpt", *corpus, CONFIG.model_copy(update={"batch_size": 5000}), RECIPE)


@pytest.mark.parametrize(
    "constants, message",
    [
        ({"dropout": 2.0}, "pretraining.method.dropout: received 2.0, expected 0 to 0.9"),
        ({"mask": 0.1}, "pretraining.method.mask is not a constant of bert: choose from mask_share"),
        ({"mask_share": "much"}, "pretraining.method.mask_share: received 'much', expected a valid number"),
    ],
)
def test_constants_are_checked_before_any_work(constants, message):
    with pytest.raises(ConfigError, match=message):
        check("bert", TextPretraining(method=constants), RECIPE)
