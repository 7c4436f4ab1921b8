import pytest
import torch
from torch.nn import functional as F

from unlabeled.methods.bert import BERT, MASK, mask_tokens, masked_loss
from unlabeled.nn.transformer import Transformer
from unlabeled.text.tokens import pair_of


def method(**constants):
    torch.manual_seed(0)
    return BERT(Transformer("tiny_transformer", 50, 35, causal=False), **{"dropout": 0.0} | constants)


def pairs(n=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randint(5, 50, (n, 16), generator=generator) for _ in range(2))
    return first, second, (torch.arange(n) % 2).float()


def test_loss_is_the_slow_loop_over_masked_tokens_and_pairs():
    bert, (first, second, follows) = method(next_sentence_weight=0.5).double(), pairs()
    torch.manual_seed(1)
    loss = bert(first, second, follows.double())
    torch.manual_seed(1)
    tokens, of_second = pair_of(first, second)
    seen, chosen = mask_tokens(tokens, 0.15, 50)
    hidden = bert.encoder.tokens(seen, of_second)
    words = [F.cross_entropy(bert.encoder.logits(hidden[b, t]), tokens[b, t]) for b in range(4) for t in chosen[b]]
    answers = bert.encoder.next_sentence(hidden.mean(1)).squeeze(1).sigmoid()
    following = [-(p if f else 1 - p).log() for p, f in zip(answers, follows, strict=True)]
    expected = torch.stack(words).mean() + 0.5 * torch.stack(following).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)


def test_masked_loss_of_equal_logits_is_the_logarithm_of_the_vocabulary():
    loss = masked_loss(torch.zeros(2, 3, 50), torch.full((2, 3), 7))
    assert loss.item() == pytest.approx(torch.tensor(50.0).log())


def test_tokens_are_masked_at_the_papers_rates_and_special_ones_never():
    torch.manual_seed(0)
    tokens = torch.randint(5, 1000, (400, 200))
    tokens[:, ::10] = 3
    seen, chosen = mask_tokens(tokens, 0.15, 1000)
    true, shown = tokens.gather(1, chosen), seen.gather(1, chosen)
    assert chosen.shape == (400, 30) and (true >= 5).all()
    assert (shown == MASK).float().mean().item() == pytest.approx(0.8, abs=0.01)
    assert (shown == true).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert (seen != tokens).sum() == (shown != true).sum()


def test_a_row_with_few_words_or_none_has_no_special_token_masked():
    torch.manual_seed(0)
    tokens = torch.full((50, 40), 3)
    tokens[:25, 7], tokens[:25, 9] = 20, 30
    seen, chosen = mask_tokens(tokens, 0.15, 50)
    assert chosen.shape == (50, 6) and torch.equal(seen[25:], tokens[25:])
    assert (tokens[:25].gather(1, chosen[:25]) >= 5).all() and (seen[:25].gather(1, chosen[:25]) == MASK).any()
    assert torch.equal(seen.scatter(1, chosen, tokens.gather(1, chosen)), tokens)  # nothing else was touched


def test_masks_are_drawn_anew_from_the_steps_seed():
    tokens = torch.randint(5, 50, (2, 100))
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(mask_tokens(tokens, 0.15, 50)[0])
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("off", ["masked_weight", "next_sentence_weight"])
def test_either_objective_may_be_left_out(off):
    loss = method(**{off: 0.0})(*pairs())
    assert loss.isfinite() and loss > 0


def test_some_steps_lower_the_loss_and_the_gradient_reaches_the_encoder():
    bert, (first, second, follows) = method(), pairs()
    batch = 5 + first % 3, 5 + second % 3, follows  # three words, so that there is something to learn in seconds
    optimizer = torch.optim.AdamW(bert.parameters(), 3e-3)
    losses = []
    for step in range(60):
        torch.manual_seed(step)
        optimizer.zero_grad()
        loss = bert(*batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-20:]) < 0.8 * sum(losses[:20])
    assert bert.encoder.embedding.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "constants, message",
    [
        ({"mask_share": 0.0}, "mask_share: received 0.0"),
        ({"masked_weight": -1.0}, "masked_weight: received -1.0"),
        ({"masked_weight": 0.0, "next_sentence_weight": 0.0}, "masked_weight: received 0, expected more"),
    ],
)
def test_constants_that_cannot_be_are_refused(constants, message):
    with pytest.raises(ValueError, match=message):
        method(**constants)
