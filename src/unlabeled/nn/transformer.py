"""A transformer over tokens: rotary positions, pre-norm blocks, and logits that share the embedding's weights."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.nn.attention import attention
from unlabeled.nn.network import Network

SIZES = {"tiny_transformer": (128, 4, 4), "small_transformer": (256, 6, 8), "base_transformer": (768, 12, 12)}
"""Width D, number of blocks and of attention heads, by name."""
ROTARY_BASE = 10_000.0
"""Number of tokens over which the slowest angle turns by about one radian."""


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Queries or keys (B, H, T, d), rotated by angles proportional to their position (arXiv:2104.09864, equation 34).

    The product of a query with a key then depends only on their distance.

    Args:
        cosines, sines: Cosines and sines of the angles, (T, d / 2).
    """
    first, second = x.chunk(2, -1)  # in float32: bf16 would round the angles
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], -1).to(x.dtype)


class TokenBlock(nn.Module):
    """A block of attention and a feed-forward layer, each applied to its normalised input and added to it
    (pre-norm)."""

    def __init__(self, width: int, heads: int, causal: bool):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention_in, self.attention_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = nn.Dropout(0.0)

    def forward(self, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D); the angles are those of `rotate`."""
        query, key, value = self.attention_in(self.norm_1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = rotate(query, cosines, sines), rotate(key, cosines, sines)
        attended = attention(query, key, value, self.causal)
        x = x + self.drop(self.attention_out(attended.transpose(1, 2).flatten(2)))
        return x + self.drop(self.feed_forward(self.norm_2(x)))


class Transformer(Network):
    """A transformer from token numbers (B, T) to features (B, D), the mean over the tokens.

    Args:
        architecture: A key of SIZES.
        vocabulary: Number of different tokens.
        context: Largest number of tokens in a sequence.
        causal: Whether a token sees only earlier tokens; otherwise there is a `next_sentence` head for pairs.
    """

    def __init__(self, architecture: str, vocabulary: int, context: int, causal: bool):
        super().__init__()
        width, depth, heads = SIZES[architecture]
        self.feature_dim, self.context, self.causal = width, context, causal
        self.embedding = nn.Embedding(vocabulary, width)
        angles = torch.arange(context)[:, None] * ROTARY_BASE ** -(torch.arange(0, 1, 2 * heads / width))
        self.cosines = nn.Buffer(angles.cos(), persistent=False)
        self.sines = nn.Buffer(angles.sin(), persistent=False)
        self.drop = nn.Dropout(0.0)
        self.blocks = nn.ModuleList(TokenBlock(width, heads, causal) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        if not causal:
            self.second = nn.Parameter(torch.zeros(width))  # added to the tokens of a pair's second half
            self.next_sentence = nn.Linear(width, 1)
        self.apply(_initialise)
        for name, weight in self.blocks.named_parameters():  # as in GPT-2, so that the sum over blocks keeps its size
            if name.endswith(("attention_out.weight", "feed_forward.2.weight")):
                nn.init.normal_(weight, std=0.02 / (2 * depth) ** 0.5)

    def set_dropout(self, share: float) -> None:
        """Sets the dropout of the embedding and of each residual branch."""
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = share

    def tokens(self, numbers: Tensor, second: Tensor | None = None) -> Tensor:
        """Hidden states (B, T, D) of token numbers (B, T).

        Args:
            second: Whether each token belongs to a pair's second half, bool (T,); None: none does.
        """
        x, length = self.embedding(numbers), numbers.shape[1]
        if second is not None:
            x = x + second[:, None] * self.second
        x = self.drop(x)
        for block in self.blocks:
            x = block(x, self.cosines[:length], self.sines[:length])
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits of all tokens of the vocabulary, (…, V), from hidden states (…, D)."""
        return F.linear(hidden, self.embedding.weight, self.bias)

    def forward(self, numbers: Tensor) -> Tensor:
        return self.tokens(numbers).mean(1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
