import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from unlabeled.pairs.captions import features_of, grouped, pack_captions
from unlabeled.pairs.config import PairsIngestion
from unlabeled.text.tokens import train_tokenizer

TEXTS = ["a red fish", "fish", "two fish and a bird", "a bird", "red"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, PairsIngestion(vocabulary=36))


def test_every_caption_comes_back_and_none_is_padded(tokenizer):
    captions = pack_captions(TEXTS, tokenizer, longest=16)
    found = [captions.tokens[a:b].tolist() for a, b in zip(captions.starts, captions.starts[1:], strict=False)]
    assert found == [tokenizer.encode(text).ids for text in TEXTS]
    assert captions.tokens.dtype == np.uint16 and captions.starts[-1] == len(captions.tokens)


def test_a_long_caption_is_cut(tokenizer):
    captions = pack_captions(TEXTS, tokenizer, longest=4)
    assert np.diff(captions.starts).max() == 4


def test_groups_hold_each_caption_of_the_batch_once(tokenizer):
    captions, rows = pack_captions(TEXTS, tokenizer, 16), np.array([4, 2, 0, 2])
    groups = grouped(captions, rows, torch.device("cpu"))
    found = {int(place): row.tolist() for places, tokens in groups for place, row in zip(places, tokens, strict=True)}
    assert found == {i: tokenizer.encode(TEXTS[row]).ids for i, row in enumerate(rows)}


def test_features_come_in_the_order_of_the_batch(tokenizer):
    captions, rows = pack_captions(TEXTS, tokenizer, 16), np.array([4, 2, 0, 1, 3])
    features = features_of(
        lambda tokens: tokens.float().sum(1, keepdim=True), grouped(captions, rows, torch.device("cpu"))
    )
    assert features[:, 0].tolist() == [sum(tokenizer.encode(TEXTS[row]).ids) for row in rows]
