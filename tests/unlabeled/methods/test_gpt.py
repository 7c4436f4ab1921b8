import pytest
import torch
from torch.nn import functional as F

from unlabeled.methods.gpt import GPT, next_token_loss
from unlabeled.nn.transformer import Transformer


def method(**constants):
    torch.manual_seed(0)
    return GPT(Transformer("tiny_transformer", 50, 16, causal=True), **{"dropout": 0.0} | constants)


def tokens(n=4, length=17, seed=0):
    return torch.randint(5, 50, (n, length), generator=torch.Generator().manual_seed(seed))


def test_loss_is_the_slow_loop_over_tokens():
    gpt, batch = method().double(), tokens()
    logits = gpt.encoder.logits(gpt.encoder.tokens(batch[:, :-1]))
    slow = [F.cross_entropy(logits[b, t], batch[b, t + 1]) for b in range(4) for t in range(16)]
    torch.testing.assert_close(gpt(batch), torch.stack(slow).mean())
    assert gpt(batch).dtype == torch.float64


def test_an_untrained_model_of_equal_logits_needs_the_logarithm_of_the_vocabulary():
    assert next_token_loss(torch.zeros(2, 3, 50), tokens(2, 3)).item() == pytest.approx(torch.tensor(50.0).log())


def test_a_token_changes_nothing_before_it():
    gpt, batch = method().eval(), tokens(1, 16)
    before = gpt.encoder.tokens(batch)
    for place in range(16):
        changed = batch.clone()
        changed[0, place] = 5 + (batch[0, place] - 4) % 45
        differs = (gpt.encoder.tokens(changed) - before).abs().amax(2)[0] > 1e-6
        assert not differs[:place].any() and differs[place]


def test_some_steps_lower_the_loss_and_the_gradient_reaches_the_encoder():
    gpt, batch = method(), tokens()
    optimizer = torch.optim.AdamW(gpt.parameters(), 1e-2)
    first = gpt(batch)
    for _ in range(20):
        optimizer.zero_grad()
        gpt(batch).backward()
        optimizer.step()
    assert gpt(batch) < first / 2
    assert all(parameter.grad is not None for parameter in gpt.parameters())


def test_a_dropout_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="dropout: received 1.0, expected 0 to 0.9"):
        method(dropout=1.0)
