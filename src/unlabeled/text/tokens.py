"""Tokenizers of the library `tokenizers`, trained on a corpus: WordPiece as in BERT, and byte-level BPE as in GPT-2."""

import logging
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor

from unlabeled.errors import ConfigError

logger = logging.getLogger(__name__)

PAD, UNKNOWN, CLS, SEP, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""The first tokens of every vocabulary, in this order: their numbers are 0 to 4."""


MAX_WORD_LENGTH = 100
"""Largest length of a word that is learned and encoded as one, in characters (for BPE in bytes), as in WordPiece: the
time grows with the square of a word's length."""
MAX_VOCABULARY = 4096
"""Largest number of learned tokens where none is configured."""


class Vocabulary(Protocol):
    """The parameters of an ingestion that a tokenizer needs."""

    @property
    def tokenizer(self) -> str: ...

    @property
    def vocabulary(self) -> int | None: ...

    @property
    def model_fields_set(self) -> set[str]:
        """Names of the parameters that were chosen: other values are defaults."""
        ...


def train_tokenizer(texts: Iterable[str], config: Vocabulary) -> Tokenizer:
    """The tokenizer learned from these texts; equal texts give equal tokenizers.

    Raises:
        ConfigError: A vocabulary that was chosen is larger than the texts allow, or smaller than their number of
            characters.
    """
    tokenizer = KINDS[config.tokenizer](list(texts), config.vocabulary or MAX_VOCABULARY)
    size = tokenizer.get_vocab_size()
    if config.vocabulary and size != config.vocabulary and "vocabulary" not in config.model_fields_set:
        logger.warning(
            "ingestion.vocabulary is adapted to the training texts: %d in place of %d", size, config.vocabulary
        )
        return tokenizer
    if config.vocabulary and size > config.vocabulary:
        raise ConfigError(
            f"ingestion.vocabulary: received {config.vocabulary}, expected {size} or more: so many are needed for the "
            f"single characters"
        )
    if config.vocabulary and size < config.vocabulary:
        raise ConfigError(
            f"ingestion.vocabulary: received {config.vocabulary}, expected no more than {size}, which is all that the "
            f"training texts have; lower it, or add texts"
        )
    return tokenizer


def encode(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """Numbers of a text's tokens, int64, without special tokens."""
    return np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int64)


def pair_of(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs `[CLS] first [SEP] second [SEP]` of two (B, L), as (B, 2L + 3), and whether each position is of the second:
    bool."""
    cls, sep = (torch.full_like(first[:, :1], SPECIAL.index(token)) for token in (CLS, SEP))
    tokens = torch.cat([cls, first, sep, second, sep], 1)
    return tokens, torch.arange(tokens.shape[1], device=tokens.device) >= first.shape[1] + 2


def _wordpiece(texts: list[str], vocabulary: int) -> Tokenizer:
    tokenizer = _empty_wordpiece({})
    # The library numbers characters within words in the order of a hash table, which differs between processes.
    continuing = sorted(
        {f"##{character}" for text in texts for word in _words(tokenizer, text) for character in word[1:]}
    )
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary, special_tokens=[*SPECIAL, *continuing], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    trained = _empty_wordpiece(tokenizer.get_vocab())  # here those characters are not special
    trained.add_special_tokens(list(SPECIAL))
    return trained


def _empty_wordpiece(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = _in_pieces(pre_tokenizers.BertPreTokenizer())
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = _surround(f"{CLS} $A {SEP}")
    return tokenizer


def _words(tokenizer: Tokenizer, text: str) -> Iterator[str]:
    return (word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)))


def _bpe(texts: list[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE: every text can be encoded, and decoding returns it exactly."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _in_pieces(pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = _surround(f"{SEP} $A")
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _in_pieces(words: pre_tokenizers.PreTokenizer) -> pre_tokenizers.PreTokenizer:
    """Splits words that are too long: text without blanks would take minutes a megabyte."""
    return pre_tokenizers.Sequence([words, pre_tokenizers.FixedLength(MAX_WORD_LENGTH)])


def _surround(template: str) -> processors.TemplateProcessing:
    """Template of special tokens around a text that is embedded."""
    numbers = [(token, SPECIAL.index(token)) for token in SPECIAL if token in template]
    return processors.TemplateProcessing(single=template, special_tokens=numbers)


KINDS = {"wordpiece": _wordpiece, "bpe": _bpe}
