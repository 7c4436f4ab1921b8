"""Measurements of a text encoder's training task on unseen text, beside models that count tokens."""

import lzma
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import zstandard
from torch import Tensor
from torch.nn import functional as F

from unlabeled.text.encoder import TextEncoder
from unlabeled.text.ngrams import KneserNey
from unlabeled.text.packing import Sequences, pack
from unlabeled.text.tokens import SEP, SPECIAL, encode, pair_of

ORDERS = {"tokens": (2, 3, 4), "bytes": (5, 6, 7)}
"""Candidate orders of the n-gram models; the validation split chooses."""
ASSESS_BATCH_SIZE = 16
SAMPLE_TOKENS = 200
"""Number of tokens of a sample."""
SHOWN_TEXTS = 8
"""Number of texts of each kind to read."""


Assessment = tuple[dict[str, Any], list[tuple[str, str]]]


@torch.no_grad()
def assess_next_tokens(
    encoder: TextEncoder, train: Sequence[str], validation: Sequence[str], test: Sequence[str]
) -> Assessment:
    """Bits per byte of the test documents, for the encoder, n-gram models, zstd and xz; and samples of the model.

    Compressors are given the same bytes: alone, and after the training text, where only the additional bytes are
    counted.
    """
    if not test:
        return {}, _samples(encoder, train)
    size = sum(len(text.encode()) for text in test)
    bits = sum(next_token_bits(encoder, text) for text in test)
    before, after = "\n".join([*train, *validation]).encode(), "\n".join(test).encode()
    baselines = best_ngram(encoder, train, validation, test)
    for name, compress in {"zstd_19": _zstd, "xz": _xz}.items():
        baselines[name] = 8 * compress(after) / size
        baselines[f"{name}_after_training_text"] = 8 * (compress(before + after) - compress(before)) / size
    return {"bits_per_byte": bits / size, "test_bytes": size, "baselines": baselines}, _samples(encoder, test)


@torch.no_grad()
def next_token_bits(encoder: TextEncoder, text: str) -> float:
    """Number of bits of a text, each token predicted from at least half a context where there is one."""
    numbers = torch.from_numpy(np.concatenate([[SPECIAL.index(SEP)], encode(encoder.tokenizer, text)]))
    network, stride, total = encoder.network.eval(), encoder.context // 2, 0.0
    starts = range(0, max(1, len(numbers) - 1 - stride), stride)
    windows = [(start, numbers[start : start + encoder.context + 1]) for start in starts]
    full = [window for _, window in windows if len(window) == encoder.context + 1]
    groups = [torch.stack(full[i : i + ASSESS_BATCH_SIZE]) for i in range(0, len(full), ASSESS_BATCH_SIZE)]
    groups += [window[None] for _, window in windows if len(window) <= encoder.context]
    first = True
    for group in groups:
        group = group.to(encoder.device)
        logits = network.logits(network.tokens(group[:, :-1])).float()
        loss = F.cross_entropy(logits.transpose(1, 2), group[:, 1:], reduction="none").double()
        skip = torch.full((len(group),), encoder.context - stride)
        if first:
            skip[0], first = 0, False
        counted = torch.arange(loss.shape[1]) >= skip[:, None]
        total += loss.cpu()[counted].sum().item()
    return total / math.log(2)


def best_ngram(
    encoder: TextEncoder, train: Sequence[str], validation: Sequence[str], test: Sequence[str]
) -> dict[str, float]:
    """Bits per byte of the best n-gram models of tokens and of bytes. Validation chooses the order, and then joins
    train."""
    cut = {
        "tokens": (lambda text: encode(encoder.tokenizer, text), encoder.tokenizer.get_vocab_size()),
        "bytes": (lambda text: np.frombuffer(text.encode(), np.uint8), 256),
    }
    found = {}
    for name, (symbols_of, symbols) in cut.items():
        parts = [[symbols_of(text) for text in split] for split in (train, validation, test)]

        def bits(order: int, fitted: list[np.ndarray], on: list[np.ndarray], symbols: int = symbols) -> float:
            model = KneserNey(fitted, symbols, order)
            return sum(model.bits(text) for text in on)

        orders = ORDERS[name]
        best = min(orders, key=lambda n: bits(n, parts[0], parts[1])) if validation else orders[1]  # noqa: B023
        found[f"ngram_{name}"] = bits(best, parts[0] + parts[1], parts[2]) / sum(len(t.encode()) for t in test)
        found[f"ngram_{name}_order"] = best
    return found


def _xz(data: bytes) -> int:
    return len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))


def _zstd(data: bytes) -> int:
    parameters = zstandard.ZstdCompressionParameters.from_level(19, window_log=27)
    return len(zstandard.ZstdCompressor(compression_params=parameters).compress(data))


@torch.no_grad()
def _samples(encoder: TextEncoder, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Continuations of unseen texts by the model, at a temperature of 0.8."""
    generator, shown = torch.Generator().manual_seed(0), []
    for text in texts[: SHOWN_TEXTS // 2]:
        start = [SPECIAL.index(SEP), *encode(encoder.tokenizer, text)[:16].tolist()]
        numbers = list(start)
        while len(numbers) < SAMPLE_TOKENS:
            seen = torch.tensor([numbers[-encoder.context :]], device=encoder.device)
            hidden = encoder.network.eval().tokens(seen)[0, -1]
            odds = (encoder.network.logits(hidden).float().cpu() / 0.8).softmax(0)
            odds[: len(SPECIAL)] = 0
            numbers.append(int(torch.multinomial(odds, 1, generator=generator)))
        decoded = encoder.tokenizer.decode(start), encoder.tokenizer.decode(numbers[len(start) :])
        shown.append((f"{decoded[0]} …", decoded[1]))
    return shown


Mask = Callable[[Tensor, float, int], tuple[Tensor, Tensor]]


@torch.no_grad()
def assess_masked_tokens(encoder: TextEncoder, train: Sequence[str], test: Sequence[str], mask: Mask) -> Assessment:
    """Accuracy and perplexity of masked test tokens, beside unigrams and bigrams; and accuracy of next sentences.

    Args:
        mask: `methods.bert.mask_tokens`: a tenth of the tokens stay, and a tenth become another one, as in training.
    """
    length, vocabulary = (encoder.context - 3) // 2, encoder.tokenizer.get_vocab_size()
    rows = pack(test, encoder.tokenizer, length)
    supply = Sequences(rows, length, pairs=True, batch_size=ASSESS_BATCH_SIZE, seed=0, device=encoder.device)
    if not supply.steps_per_epoch:
        return {}, []
    network, counts = encoder.network.eval(), _Bigrams(pack(train, encoder.tokenizer, length).reshape(-1), vocabulary)
    sums: Counter[str] = Counter()
    losses: dict[str, float] = defaultdict(float)
    shown: list[tuple[str, str]] = []
    with torch.random.fork_rng([encoder.device] if encoder.device.type == "cuda" else []):
        torch.manual_seed(0)
        for step in range(2 * supply.steps_per_epoch):
            first, second, follows = supply.batch(step)
            tokens, of_second = pair_of(first, second)
            seen, chosen = mask(tokens, 0.15, vocabulary)
            hidden = network.tokens(seen, of_second)
            logits = network.logits(hidden.gather(1, chosen[..., None].expand(-1, -1, hidden.shape[2]))).float()
            wanted = tokens.gather(1, chosen)
            sums["masked"] += wanted.numel()
            sums["right"] += int((logits.argmax(2) == wanted).sum())
            losses["masked"] += F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="sum").item()
            sums["pairs"] += len(follows)
            says = network.next_sentence(hidden.mean(1)).squeeze(1) > 0
            sums["follows"] += int((says == follows.bool()).sum())
            left = seen.gather(1, (chosen - 1).clamp(min=0))
            for name, odds in counts.odds(left.flatten().cpu().numpy()).items():
                true = wanted.flatten().cpu().numpy()
                sums[f"{name}_right"] += int((odds.argmax(1) == true).sum())
                losses[name] -= float(np.log(odds[np.arange(len(true)), true]).sum())
            if len(shown) < SHOWN_TEXTS:
                shown += _guesses(encoder, tokens[0], chosen[0], logits[0], wanted[0], step)
    masked = sums["masked"]
    numbers: dict[str, Any] = {
        "masked_accuracy": sums["right"] / masked,
        "perplexity": math.exp(losses["masked"] / masked),
        "next_sentence_accuracy": sums["follows"] / sums["pairs"],
        "masked_tokens": masked,
    }
    numbers["baselines"] = {
        name: {
            "masked_accuracy": sums[f"{name}_right"] / masked,
            "perplexity": math.exp(losses[name] / masked),
        }
        for name in ("unigram", "bigram")
    }
    return numbers, shown[:SHOWN_TEXTS]


class _Bigrams:
    """A unigram model with one added to each count, and a bigram model that falls back on it (Witten–Bell)."""

    def __init__(self, stream: np.ndarray, vocabulary: int):
        stream = stream.astype(np.int64)
        counts = np.bincount(stream, minlength=vocabulary) + 1.0
        counts[: len(SPECIAL)] = 1e-9
        self.unigram = counts / counts.sum()
        pairs, number = np.unique(stream[:-1] * vocabulary + stream[1:], return_counts=True)
        self._starts = np.searchsorted(pairs, np.arange(vocabulary + 1) * vocabulary)
        self._next, self._number = pairs % vocabulary, number

    def odds(self, left: np.ndarray) -> dict[str, np.ndarray]:
        """Probabilities of each token of the vocabulary after each of the tokens `left` (M,), by model: arrays (M,
        V)."""
        both = np.empty((len(left), len(self.unigram)))
        for row, token in zip(both, left, strict=True):
            part = slice(self._starts[token], self._starts[token + 1])
            kinds, total = part.stop - part.start, self._number[part].sum()
            row[:] = self.unigram * max(1, kinds) / max(1, kinds + total)
            row[self._next[part]] += self._number[part] / max(1, kinds + total)
        return {"unigram": np.broadcast_to(self.unigram, both.shape), "bigram": both}


def _guesses(
    encoder: TextEncoder, tokens: Tensor, chosen: Tensor, logits: Tensor, wanted: Tensor, step: int
) -> list[tuple[str, str]]:
    """A text with its masked words as ▁, and the prediction for each beside the original."""

    def words_of(numbers: Tensor) -> list[str]:
        return [encoder.tokenizer.id_to_token(number) or "" for number in numbers.tolist()]

    words, order = words_of(tokens), chosen.argsort()
    for place in chosen.tolist():
        words[place] = "▁"
    text = " ".join(words).replace(" ##", "").replace("[CLS] ", "")
    said, true = words_of(logits.argmax(1)[order]), words_of(wanted[order])
    answers = ", ".join(s if s == t else f"{s} (for {t})" for s, t in zip(said, true, strict=True))
    return [(text, answers)]
