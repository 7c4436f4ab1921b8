"""The encoder of text: a transformer with its tokenizer, from strings to embeddings, without this project's
pipelines."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from unlabeled.encoders import Saved, evaluating
from unlabeled.errors import DataError
from unlabeled.nn.transformer import Transformer

MAX_CONTEXT = 2**16
"""Largest number of tokens that a transformer reads at once."""
EMBED_BATCH_SIZE = 64
"""Texts, or parts of long ones, embedded at a time."""


class TextEncoder(Saved):
    """A transformer, its tokenizer, and whether it reads left to right."""

    network: Transformer

    def __init__(self, architecture: str, tokenizer: Tokenizer, context: int, causal: bool):
        self.architecture, self.tokenizer, self.context, self.causal = architecture, tokenizer, context, causal
        self.network = Transformer(architecture, tokenizer.get_vocab_size(), context, causal)

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Features of texts of any length, float32 (N, D): the mean over their tokens, with the network in eval mode.

        Raises:
            DataError: An item is not a string.
        """
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"received a {type(text).__name__} as text {number}, expected a list of strings")
        sums, counts = np.zeros((len(texts), self.feature_dim)), np.zeros(len(texts))
        with evaluating(self.network):
            for rows, numbers in self._batches(texts):
                features = self.network(numbers).double().cpu().numpy()
                np.add.at(sums, rows, features * numbers.shape[1])
                np.add.at(counts, rows, numbers.shape[1])
        return (sums / np.maximum(1, counts)[:, None]).astype(np.float32)

    def misfit(self, data: Any) -> str | None:
        """The reason why the encoder cannot embed these data, in words that follow its name; None where it can."""
        return "is of texts, and today's data are none" if hasattr(data, "shape") else None

    def _batches(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Batches of texts with equal numbers of tokens, so that none is padded; long texts come in parts."""
        by_length: dict[int, list[tuple[int, list[int]]]] = defaultdict(list)
        for row, encoding in enumerate(self.tokenizer.encode_batch(list(texts))):
            for start in range(0, len(encoding.ids), self.context):
                part = encoding.ids[start : start + self.context]
                by_length[len(part)].append((row, part))
        for length in sorted(by_length):
            parts = by_length[length]
            for start in range(0, len(parts), EMBED_BATCH_SIZE):
                rows, numbers = zip(*parts[start : start + EMBED_BATCH_SIZE], strict=True)
                yield np.array(rows), torch.tensor(numbers, device=self.device)

    def spec(self) -> dict[str, Any]:
        return {
            "kind": "text",
            "architecture": self.architecture,
            "context": self.context,
            "causal": self.causal,
            "feature_dim": self.feature_dim,
            "tokenizer": json.loads(self.tokenizer.to_str()),
        }

    @classmethod
    def of(cls, spec: dict[str, Any]) -> Self:
        tokenizer, context = Tokenizer.from_str(json.dumps(spec["tokenizer"])), spec["context"]
        if not isinstance(context, int) or not 1 <= context <= MAX_CONTEXT:
            raise ValueError(f"context: received {context!r}, expected a whole number from 1 to {MAX_CONTEXT}")
        return cls(spec["architecture"], tokenizer, context, spec["causal"])
