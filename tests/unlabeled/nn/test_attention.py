import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unlabeled.nn.attention import SelfAttention, attention


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype, atol", [(torch.float64, 1e-12), (torch.bfloat16, 0.02)])
def test_it_is_the_softmax_of_the_paper_and_so_are_its_gradients(causal, dtype, atol):
    inputs = torch.randn(3, 2, 4, 7, 8, dtype=torch.float64).to(dtype).requires_grad_()
    exact = inputs.detach().double().requires_grad_()
    query, key, value = exact
    scores = query @ key.transpose(2, 3) / 8**0.5
    if causal:
        scores = scores.masked_fill(torch.ones(7, 7).triu(1).bool(), -torch.inf)
    expected, gradient = scores.softmax(3) @ value, torch.randn(2, 4, 7, 8, dtype=torch.float64).to(dtype)
    result = attention(*inputs, causal)
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), expected, atol=atol, rtol=0.02)
    (found,), (true,) = (
        torch.autograd.grad(result, inputs, gradient),
        torch.autograd.grad(expected, exact, gradient.double()),
    )
    torch.testing.assert_close(found.double(), true, atol=2 * atol, rtol=0.02)


def test_it_is_computed_in_float32_on_a_cpu_though_autocast_says_otherwise(monkeypatch):
    seen, original = [], F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *x, **y: seen.append(x[0].dtype) or original(*x, **y))
    with torch.autocast("cpu", torch.bfloat16):
        result = attention(*torch.randn(3, 1, 2, 5, 4).bfloat16())
    assert result.dtype == torch.bfloat16 and seen == [torch.float32]


def test_self_attention_is_torchs_multihead_attention_with_its_keys():
    theirs = nn.MultiheadAttention(24, 4, batch_first=True)
    ours, x = SelfAttention(theirs), torch.randn(2, 5, 24)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    torch.testing.assert_close(ours(x, x, x, need_weights=False)[0], theirs(x, x, x, need_weights=False)[0])
