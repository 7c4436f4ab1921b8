import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from unlabeled.pairs.captions import cutting, features_of, grouped, pack_captions
from unlabeled.pairs.config import PairsIngestion
from unlabeled.text.tokens import SEP, SPECIAL, train_tokenizer

TEXTS = ["a red fish", "fish", "two fish and a bird", "a bird", "red"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, PairsIngestion(vocabulary=36))


def test_every_caption_comes_back_and_none_is_padded(tokenizer):
    captions = pack_captions(TEXTS, tokenizer)
    found = [captions.tokens[a:b].tolist() for a, b in zip(captions.starts, captions.starts[1:], strict=False)]
    assert found == [tokenizer.encode(text).ids for text in TEXTS]
    assert captions.tokens.dtype == np.uint16 and captions.starts[-1] == len(captions.tokens)


def test_a_long_caption_is_cut_and_that_is_told(tokenizer, caplog):
    captions = pack_captions(TEXTS, cutting(tokenizer, 4))
    lengths = np.diff(captions.starts)
    assert lengths.max() == 4 and "% of the captions are longer than augmentation.caption_length" in caplog.text
    ends = captions.tokens[captions.starts[1:] - 1]
    assert (ends == SPECIAL.index(SEP)).all()  # what surrounds a text stays
    assert "truncation" in cutting(tokenizer, 4).to_str() and tokenizer.encode(TEXTS[2]).overflowing == []


def test_groups_hold_each_caption_of_the_batch_once(tokenizer):
    captions, rows = pack_captions(TEXTS, tokenizer), np.array([4, 2, 0, 2])
    groups = grouped(captions, rows, torch.device("cpu"))
    found = {int(place): row.tolist() for places, tokens in groups for place, row in zip(places, tokens, strict=True)}
    assert found == {i: tokenizer.encode(TEXTS[row]).ids for i, row in enumerate(rows)}


def test_features_come_in_the_order_of_the_batch(tokenizer):
    captions, rows = pack_captions(TEXTS, tokenizer), np.array([4, 2, 0, 1, 3])
    features = features_of(
        lambda tokens: tokens.float().sum(1, keepdim=True), grouped(captions, rows, torch.device("cpu"))
    )
    assert features[:, 0].tolist() == [sum(tokenizer.encode(TEXTS[row]).ids) for row in rows]
