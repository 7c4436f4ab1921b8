"""Packing of documents into one stream of tokens in rows of equal length, and the batches that training draws from
it."""

from collections.abc import Iterable

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from unlabeled.text.tokens import PAD, SEP, encode
from unlabeled.training.batches import step_seed

MAX_SMALL_VOCABULARY = 2**16
"""Largest vocabulary whose tokens fit into two bytes each."""


def pack(texts: Iterable[str], tokenizer: Tokenizer, length: int) -> np.ndarray:
    """Packs all tokens of all texts, each text after a [SEP]; only the last row is padded, with [PAD].

    Returns:
        Rows of shape (M, length): uint16, or int32 for a large vocabulary.
    """
    sep, pad = tokenizer.token_to_id(SEP), tokenizer.token_to_id(PAD)
    stream = np.concatenate([part for text in texts for part in ([sep], encode(tokenizer, text))] or [[]])
    padding = -len(stream) % length
    dtype = np.uint16 if tokenizer.get_vocab_size() <= MAX_SMALL_VOCABULARY else np.int32
    return np.concatenate([stream, np.full(padding, pad)]).astype(dtype).reshape(-1, length)


def padding_of(rows: np.ndarray) -> float:
    """Fraction of the packed tokens that are [PAD], whose number is 0."""
    return float((np.asarray(rows[-1:]) == 0).sum() / rows.size)


class Sequences:
    """Batches of windows of the stream; batch `step` is a pure function of (seed, step).

    The windows of an epoch are adjacent, and each epoch starts at another offset, so that no two epochs are cut alike.

    Args:
        rows: Packed rows, as `pack` returns them.
        length: Tokens of a window that a method predicts from (L).
        pairs: Whether each window comes with a second one, which in half of the cases is the next one.
        batch_size: Windows of a batch (B); the last, incomplete batch of an epoch is left out.
    """

    unit = "sequences"

    def __init__(self, rows: np.ndarray, length: int, *, pairs: bool, batch_size: int, seed: int, device: torch.device):
        self.length, self.pairs, self.batch_size, self.seed, self.device = length, pairs, batch_size, seed, device
        self._stream = rows.reshape(-1)
        self._size = len(self._stream) - int((np.asarray(rows[-1:]) == 0).sum())
        self._windows = windows_in(self._size, length)
        self.steps_per_epoch = self._windows // batch_size

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """The input of the method at a step, on the device.

        Returns:
            Windows, int64 (B, L + 1), whose last token is only predicted; or, for pairs, the first (B, L), the second
            (B, L), and whether the second follows the first, float32 (B,).
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.seed, 0, epoch])
        offset = int(order.integers(self._size - (self._windows + 1) * self.length))
        chosen = order.permutation(self._windows)[position * self.batch_size : (position + 1) * self.batch_size]
        starts = offset + chosen * self.length
        if not self.pairs:
            return (self._taken(starts, self.length + 1),)
        draw = np.random.default_rng(step_seed(self.seed, 1, step))
        follows = draw.random(len(starts)) < 0.5
        # With an offset of its own: a second window that does not follow begins anywhere in the stream.
        others = draw.integers(self._size - self.length, size=len(starts))
        seconds = np.where(follows, starts + self.length, others)
        follows = torch.from_numpy(follows).float().to(self.device)
        return self._taken(starts, self.length), self._taken(seconds, self.length), follows

    def _taken(self, starts: np.ndarray, length: int) -> Tensor:
        taken = self._stream[starts[:, None] + np.arange(length)].astype(np.int64)
        return torch.from_numpy(taken).to(self.device)


def windows_in(tokens: int, length: int) -> int:
    """Number of windows of an epoch, with room after them for an offset and for the window after the last."""
    return max(0, (tokens - 2) // length - 1)
