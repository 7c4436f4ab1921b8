"""Interface of a method of text, in addition to that of every method."""

from collections.abc import Sequence
from typing import Any, ClassVar

from unlabeled.method import Method
from unlabeled.nn.transformer import Transformer
from unlabeled.text.encoder import TextEncoder


class TextMethod(Method):
    """A method whose encoder is a transformer, and whose batches are those of `packing.Sequences`."""

    encoder: Transformer
    causal: ClassVar[bool]
    """Whether its encoder reads left to right."""
    pairs: ClassVar[bool]
    """Whether it takes pairs of sequences."""

    @staticmethod
    def context(length: int) -> int:
        """Number of tokens that the encoder sees at once, for sequences of `length` tokens."""
        raise NotImplementedError

    @staticmethod
    def assess(encoder: TextEncoder, train: Sequence[str], validation: Sequence[str], test: Sequence[str]) -> Any:
        """Measures the training task on unseen documents, beside models that count tokens.

        Returns:
            Numbers by name, nested; and pairs of a title and a text to read.
        """
        raise NotImplementedError
