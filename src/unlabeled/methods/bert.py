"""BERT: predict masked words from both sides, and whether one text follows another.

    L = w_m · mean over masked t of −log p(x_t | the rest)  +  w_n · BCE(does the second half follow the first)

(Devlin et al. 2018, arXiv:1810.04805, section 3.1.) Of 15 % of the tokens, 80 % are replaced by [MASK], 10 % by a
random token, 10 % are left as they are. Where we differ: masks are drawn anew at each step; blocks are pre-norm; the
vocabulary's logits come from the last hidden state itself, and the pair's logit from the mean over tokens, which is
also the feature vector.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from unlabeled.nn.precision import full_precision
from unlabeled.nn.transformer import Transformer
from unlabeled.text.encoder import TextEncoder
from unlabeled.text.language import assess_masked_tokens
from unlabeled.text.method import TextMethod
from unlabeled.text.tokens import MASK as MASK_TOKEN
from unlabeled.text.tokens import SPECIAL, pair_of
from unlabeled.training.constants import check_range, check_share

MASK = SPECIAL.index(MASK_TOKEN)


@full_precision
def masked_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """Mean cross entropy of the masked tokens (B, M) under their logits (B, M, V)."""
    return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())


def mask_tokens(tokens: Tensor, share: float, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Tokens (B, T) with masks, and the positions to predict, (B, share · T), none of them of special tokens.

    A row that has fewer words repeats some of them among its positions; a row that has none stays unchanged.
    """
    scores = torch.rand(tokens.shape, device=tokens.device).masked_fill(tokens < len(SPECIAL), -1)
    best, chosen = scores.topk(max(1, round(share * tokens.shape[1])), 1)
    fate = torch.rand(chosen.shape, device=tokens.device)
    random = torch.randint(len(SPECIAL), vocabulary, chosen.shape, device=tokens.device)
    shown = torch.where(fate < 0.8, MASK, torch.where(fate < 0.9, random, tokens.gather(1, chosen)))
    is_word, first = best >= 0, chosen[:, :1]
    chosen = torch.where(is_word, chosen, first)
    shown = torch.where(is_word, shown, torch.where(is_word[:, :1], shown[:, :1], tokens.gather(1, first)))
    return tokens.scatter(1, chosen, shown), chosen


class BERT(TextMethod):
    """Args:
    encoder: A transformer that sees both ways.
    mask_share: Fraction of the tokens to predict.
    masked_weight: w_m; 0: only next sentences are trained.
    next_sentence_weight: w_n; 0: only masked words are trained.
    dropout: Dropout of the embedding and of each residual branch.
    """

    causal, pairs = False, True

    def __init__(
        self,
        encoder: Transformer,
        *,
        mask_share: float = 0.15,
        masked_weight: float = 1.0,
        next_sentence_weight: float = 1.0,
        dropout: float = 0.1,
    ):
        super().__init__()
        check_share("mask_share", mask_share)
        check_range("dropout", dropout, 0, 0.9)
        for name, weight in {"masked_weight": masked_weight, "next_sentence_weight": next_sentence_weight}.items():
            check_range(name, weight, 0, float("inf"))
        if masked_weight + next_sentence_weight == 0:
            raise ValueError("masked_weight: received 0, expected more, or more than 0 of next_sentence_weight")
        self.encoder, self.mask_share = encoder, mask_share
        self.masked_weight, self.next_sentence_weight = masked_weight, next_sentence_weight
        encoder.set_dropout(dropout)

    @staticmethod
    def context(length: int) -> int:
        return 2 * length + 3

    def forward(self, first: Tensor, second: Tensor, follows: Tensor) -> Tensor:
        """Loss of pairs of sequences (B, L); the second follows the first where `follows` (B,) is 1."""
        tokens, of_second = pair_of(first, second)
        seen, chosen = mask_tokens(tokens, self.mask_share, len(self.encoder.bias))
        hidden = self.encoder.tokens(seen, of_second)
        guessed = hidden.gather(1, chosen[..., None].expand(-1, -1, hidden.shape[2]))
        masked = masked_loss(self.encoder.logits(guessed), tokens.gather(1, chosen))
        answer = self.encoder.next_sentence(hidden.mean(1)).squeeze(1).float()
        following = F.binary_cross_entropy_with_logits(answer, follows)
        return self.masked_weight * masked + self.next_sentence_weight * following

    @staticmethod
    def assess(encoder: TextEncoder, train: Sequence[str], validation: Sequence[str], test: Sequence[str]) -> Any:
        return assess_masked_tokens(encoder, train, test, mask_tokens)
