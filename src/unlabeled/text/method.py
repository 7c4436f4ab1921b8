"""What a method of text has beside what the loop knows of every method."""

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
    """Whether it eats two sequences at once."""

    @staticmethod
    def context(length: int) -> int:
        """Tokens that the encoder sees at once, from sequences of so many."""
        raise NotImplementedError

    @staticmethod
    def assess(encoder: TextEncoder, train: Sequence[str], validation: Sequence[str], test: Sequence[str]) -> Any:
        """How well it does on unseen documents what it was trained to do, beside models that only count.

        Returns:
            Numbers by name, nested; and for people to read, pairs of a title and a text.
        """
        raise NotImplementedError
