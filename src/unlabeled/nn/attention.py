"""Attention. On a CPU it runs in float32: torch's backward pass there takes up to six times as long in bfloat16."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def attention(query: Tensor, key: Tensor, value: Tensor, causal: bool = False) -> Tensor:
    """softmax(query · keyᵀ / √d) · value, each (B, H, T, d) (arXiv:1706.03762, section 3.2.1).

    Args:
        causal: Whether a token sees only itself and the tokens before it.
    """
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:  # benchmarks/attention.py
        with torch.autocast("cpu", enabled=False):
            result = F.scaled_dot_product_attention(query.float(), key.float(), value.float(), is_causal=causal)
        return result.to(query.dtype)
    return F.scaled_dot_product_attention(query, key, value, is_causal=causal)


class SelfAttention(nn.Module):
    """Replacement of a `torch.nn.MultiheadAttention`, with its parameters, for batches (B, T, D) without masks."""

    def __init__(self, replaced: nn.MultiheadAttention):
        super().__init__()
        self.heads = replaced.num_heads
        self.in_proj_weight, self.in_proj_bias = replaced.in_proj_weight, replaced.in_proj_bias
        self.out_proj = replaced.out_proj

    def forward(self, x: Tensor, *_: Tensor, **__: bool) -> tuple[Tensor, None]:
        """(B, T, D) to (B, T, D); the weights of the attention are not returned."""
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        attended = attention(*projected.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4))
        return self.out_proj(attended.transpose(1, 2).flatten(2)), None
