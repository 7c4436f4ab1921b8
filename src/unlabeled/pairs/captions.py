"""Captions as tokens, stored one after another without gaps and batched by length, so that none is padded."""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from unlabeled.text.packing import MAX_SMALL_VOCABULARY

logger = logging.getLogger(__name__)


class Captions(NamedTuple):
    """Packed captions: caption i is `tokens[starts[i]:starts[i + 1]]`; tokens are uint16 or int32 (L,), starts int64 (N
    + 1,)."""

    tokens: np.ndarray
    starts: np.ndarray


class Group(NamedTuple):
    """Captions of equal length: their positions in the batch, int64 (n,), and their tokens, int64 (n, L)."""

    places: Tensor
    tokens: Tensor


def cutting(tokenizer: Tokenizer, longest: int) -> Tokenizer:
    """A copy of the tokenizer that truncates texts to `longest` tokens, including the special tokens around a text."""
    copied = Tokenizer.from_str(tokenizer.to_str())
    copied.enable_truncation(longest)
    return copied


def pack_captions(texts: Sequence[str], tokenizer: Tokenizer) -> Captions:
    """Packs all captions, each with the special tokens around a text, as the tokenizer truncates them."""
    encodings = tokenizer.encode_batch(list(texts))
    if cut := sum(bool(encoding.overflowing) for encoding in encodings):
        logger.warning(
            "%.0f%% of the captions are longer than augmentation.caption_length, and are cut: raise it, or raise "
            "ingestion.vocabulary, so that words are fewer tokens",
            100 * cut / len(encodings),
        )
    rows = [encoding.ids for encoding in encodings]
    dtype = np.uint16 if tokenizer.get_vocab_size() <= MAX_SMALL_VOCABULARY else np.int32
    starts = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return Captions(np.concatenate([np.array(row, dtype) for row in rows]), starts)


def grouped(captions: Captions, rows: np.ndarray, device: torch.device) -> tuple[Group, ...]:
    """The captions of some rows (B,) in groups of equal length, the shortest first."""
    starts, lengths = captions.starts[rows], np.diff(captions.starts)[rows]
    groups = []
    for length in np.unique(lengths):
        places = np.flatnonzero(lengths == length)
        tokens = captions.tokens[starts[places, None] + np.arange(length)].astype(np.int64)
        groups.append(Group(torch.from_numpy(places).to(device), torch.from_numpy(tokens).to(device)))
    return tuple(groups)


def features_of(network: Callable[[Tensor], Tensor], groups: Sequence[Group]) -> Tensor:
    """A network's features of the captions of a batch, (B, D), in the order of the batch."""
    features = torch.cat([network(group.tokens) for group in groups])
    return features[torch.cat([group.places for group in groups]).argsort()]
