"""GPT: predict each token from those before it.

    L = − mean over t of log p(x_t | x_0 … x_{t−1})

(Radford et al. 2018, 2019; pre-norm blocks and tied embeddings as in GPT-2.) Where we differ: positions are rotary, and
sequences are cut anew from the stream of all documents each epoch.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from unlabeled.nn.precision import full_precision
from unlabeled.nn.transformer import Transformer
from unlabeled.text.encoder import TextEncoder
from unlabeled.text.language import assess_next_tokens
from unlabeled.text.method import TextMethod
from unlabeled.training.constants import check_range


@full_precision
def next_token_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """Mean cross entropy of tokens (B, T) under logits (B, T, V)."""
    return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())


class GPT(TextMethod):
    """Args:
    encoder: A causal transformer.
    dropout: Dropout of the embedding and of each residual branch.
    """

    causal, pairs = True, False

    def __init__(self, encoder: Transformer, *, dropout: float = 0.1):
        super().__init__()
        check_range("dropout", dropout, 0, 0.9)
        self.encoder = encoder
        encoder.set_dropout(dropout)

    @staticmethod
    def context(length: int) -> int:
        return length

    def forward(self, tokens: Tensor) -> Tensor:
        """Loss of sequences, shape (B, L + 1)."""
        return next_token_loss(self.encoder.logits(self.encoder.tokens(tokens[:, :-1])), tokens[:, 1:])

    @staticmethod
    def assess(encoder: TextEncoder, train: Sequence[str], validation: Sequence[str], test: Sequence[str]) -> Any:
        return assess_next_tokens(encoder, train, validation, test)
