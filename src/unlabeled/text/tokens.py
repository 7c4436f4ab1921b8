"""Tokenizers of the library `tokenizers`, trained on a corpus; WordPiece as BERT has it, bytes as GPT-2 has them."""

from collections.abc import Iterable

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor

from unlabeled.errors import ConfigError
from unlabeled.text.config import TextIngestion

PAD, UNKNOWN, CLS, SEP, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""The first tokens of every vocabulary, in this order: their numbers are 0 to 4."""


MOST = 4096
"""Tokens that are learned where nobody said how many."""


def train_tokenizer(texts: Iterable[str], config: TextIngestion) -> Tokenizer:
    """A tokenizer of so many tokens. Raises ConfigError where the texts do not have that many."""
    tokenizer, trainer = KINDS[config.tokenizer](config.vocabulary or MOST)
    tokenizer.train_from_iterator(texts, trainer)
    size = tokenizer.get_vocab_size()
    if config.vocabulary and size > config.vocabulary:
        raise ConfigError(
            f"ingestion.vocabulary: received {config.vocabulary}, expected {size} or more: so many are needed for the "
            f"single characters"
        )
    if config.vocabulary and size < config.vocabulary:
        raise ConfigError(
            f"ingestion.vocabulary: received {config.vocabulary}, expected no more than {size}, "
            f"which is all that the training texts have; lower it, or add texts"
        )
    return tokenizer


def encode(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """The numbers of a text's tokens, int64, without special ones."""
    return np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int64)


def pair_of(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """`[CLS] first [SEP] second [SEP]` of two (B, L), as (B, 2L + 3), and which places are of the second: bool."""
    cls, sep = (torch.full_like(first[:, :1], SPECIAL.index(token)) for token in (CLS, SEP))
    tokens = torch.cat([cls, first, sep, second, sep], 1)
    return tokens, torch.arange(tokens.shape[1], device=tokens.device) >= first.shape[1] + 2


def _wordpiece(vocabulary: int) -> tuple[Tokenizer, trainers.Trainer]:
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = _surround(f"{CLS} $A {SEP}")
    return tokenizer, trainers.WordPieceTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), show_progress=False
    )


def _bpe(vocabulary: int) -> tuple[Tokenizer, trainers.Trainer]:
    """Of bytes: every text has an encoding, and comes back from it to the byte."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = _surround(f"{SEP} $A")
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return tokenizer, trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )


def _surround(template: str) -> processors.TemplateProcessing:
    """What stands around a text that is embedded."""
    numbers = [(token, SPECIAL.index(token)) for token in SPECIAL if token in template]
    return processors.TemplateProcessing(single=template, special_tokens=numbers)


KINDS = {"wordpiece": _wordpiece, "bpe": _bpe}
