"""Measures for each rule of the diagnosis the rate of false alarms on clean data, and of planted faults found.

    python benchmarks/rules.py [--draws=1.0] [--rule=leakage]

`--draws` multiplies the number of draws of each situation. Prints the table of docs/diagnosis.md; the last line is
JSON.
"""

import argparse
import json
import logging
from collections.abc import Callable, Iterator
from itertools import product
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from unlabeled.config import Pretraining
from unlabeled.errors import TrainingError
from unlabeled.evaluation import diagnosis, health
from unlabeled.evaluation.drift import DRIFT_LEVEL, summarise
from unlabeled.evaluation.probe import Labels
from unlabeled.evaluation.significance import wilson_interval
from unlabeled.evaluation.verdict import Accuracy
from unlabeled.training.collapse import check_not_collapsed

Generator = np.random.Generator
SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


class Case(NamedTuple):
    """A situation, with a planted fault or ""; `speaks` draws data and returns whether the rule gives a finding."""

    rule: str
    situation: str
    fault: str
    draws: int
    speaks: Callable[[Generator], bool]


def world(
    rng: Generator,
    classes: int,
    count: int,
    separation: float,
    dims: int = 16,
    imbalance: float = 0.0,
    tails: bool = False,
    modes: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Synthetic embeddings, float32 (count, dims), and their true classes.

    Args:
        separation: Standard deviation of the class centres, in that within a class: 0 is chance, 5 is without error.
        imbalance: The most frequent class has exp(imbalance) times as many images as the rarest.
        tails: Whether a few of each class lie far out (Student's t, 3 degrees of freedom).
        modes: Number of clusters that make up a class.
    """
    shares = np.exp(-imbalance * np.arange(classes) / max(1, classes - 1))
    targets = rng.choice(classes, count, p=shares / shares.sum())
    centres = separation * rng.normal(size=(classes * modes, dims))
    noise = rng.normal(size=(count, dims)) * (np.sqrt(3 / rng.chisquare(3, (count, 1))) if tails else 1)
    return (centres[targets * modes + rng.integers(0, modes, count)] + noise).astype(np.float32), targets


def split(count: int) -> np.ndarray:
    """The split of each row; the rows have random order already."""
    return np.repeat(list(SHARES), np.diff(np.round(np.cumsum([0, *SHARES.values()]) * count).astype(int)))


def collapse() -> Iterator[Case]:
    def speaks(rng: Generator, classes: int, count: int, separation: float, untrained: float, point: float) -> bool:
        features, _ = world(rng, classes, count, separation)
        features = 1 + point * features if point < 1 else np.maximum(features, 0)  # as after a ReLU
        spread = health.embedding_std(torch.from_numpy(features))
        return (
            diagnosis.collapse({"embedding_std": spread, "untrained_embedding_std": untrained}, Pretraining())
            is not None
        )

    for classes, count, separation in product((2, 1000), (100, 10_000), (0, 5)):
        situation = f"{classes} classes, {count} images, separation {separation}"
        yield Case("collapse", situation, "", 5, lambda rng, s=(classes, count, separation): speaks(rng, *s, 0.3, 1))
    yield Case("collapse", "", "all images within 0.001 of a point", 20, lambda r: speaks(r, 10, 1000, 1, 0.3, 1e-3))


def dimensional_collapse() -> Iterator[Case]:
    def speaks(rng: Generator, classes: int, count: int, separation: float, dims: int, used: int) -> bool:
        features, _ = world(rng, classes, count, separation, used)
        features = features @ rng.normal(size=(used, dims)).astype(np.float32) if used < dims else features
        rank = health.rankme(torch.from_numpy(features))
        return diagnosis.dimensional_collapse({"rankme": rank}, dims, classes, count) is not None

    for classes, count, separation, dims in product((2, 10, 200, 1000), (100, 2000), (0, 1, 5), (2, 64, 256)):
        situation = f"{classes} classes, {count} images, separation {separation}, {dims} dimensions"
        yield Case(
            *("dimensional collapse", situation, "", 3),
            lambda rng, s=(classes, count, separation, dims, dims): speaks(rng, *s),
        )
    for classes, used in {10: 1, 200: 49}.items():
        fault = f"{used} of 256 dimensions are used, {classes} classes"
        yield Case("dimensional collapse", "", fault, 20, lambda r, c=classes, u=used: speaks(r, c, 2000, 1, 256, u))


def under_training() -> Iterator[Case]:
    def speaks(rng: Generator, accuracies: np.ndarray, validated: int) -> bool:
        seen = rng.binomial(validated, accuracies) / validated
        history = pd.DataFrame({"epoch": 10 * np.arange(1, 1 + len(seen)), "knn_accuracy": seen})
        return isinstance(diagnosis.under_training(history, validated), diagnosis.Finding)

    for accuracy, validated, looks in product((0.001, 0.1, 0.5, 0.9, 0.97, 0.995), (10, 221, 1000), (3, 10)):
        situation = f"plateau at {accuracy:.1%}, {validated} validation images, {looks} looks"
        plateau = np.full(looks, accuracy)
        yield Case("under-training", situation, "", 200, lambda rng, s=(plateau, validated): speaks(rng, *s))
    for gain, validated in product((0.05, 0.1, 0.2), (221, 512)):
        fault = f"+{100 * gain:.0f} points over the second half, to 80 %, {validated} validation images"
        rising = 0.8 - gain + gain * np.maximum(0, np.arange(-4, 6)) / 5
        yield Case("under-training", "", fault, 200, lambda rng, s=(rising, validated): speaks(rng, *s))


def overfit_probe() -> Iterator[Case]:
    def speaks(rng: Generator, learned: float, accuracy: float, count: int) -> bool:
        where = split(count)
        right = rng.random(count) < np.where(where == "test", accuracy, learned)
        labels = Labels.of(pd.DataFrame({"target": 0, "split": where}, index=range(count)))
        probe = SimpleNamespace(predict=lambda features: features)  # 0, the target, where it is right
        answers = 1 - right.astype(int)
        return diagnosis.overfit_probe(probe, answers, labels, float(right[where == "test"].mean())) is not None

    for accuracy, count in product((0.001, 0.1, 0.5, 0.8, 0.95, 1), (100, 1000, 10_000)):
        situation = f"{accuracy:.1%} on either side, {count} images"
        yield Case("overfit probe", situation, "", 200, lambda r, s=(accuracy, accuracy, count): speaks(r, *s))
    for count, accuracy in product((300, 2000), (0.8, 0.9)):
        fault = f"100 % on training images, {accuracy:.0%} on test images, {count} images"
        yield Case("overfit probe", "", fault, 200, lambda r, s=(1.0, accuracy, count): speaks(r, *s))


def pictures(rng: Generator, kind: str, count: int, side: int = 16) -> np.ndarray:
    """Independent synthetic images, uint8 (count, 1, side, side)."""
    lit = np.linspace(0.3, 1, side * side).reshape(side, side)  # brightness of one scene that is lit from a corner
    smooth = rng.normal(size=(count, 4, 4)).repeat(side // 4, 1).repeat(side // 4, 2)
    grain = rng.normal(size=(count, side, side))
    pixels = {
        "dark": lambda: rng.poisson(4, (count, side, side)),
        "dark, one scene": lambda: rng.poisson(6 * lit, (count, side, side)),
        "bright": lambda: 250 + 3 * grain,
        "faint strokes": lambda: 12 * (rng.random((count, side, side)) < 0.05),
        "blobs": lambda: 128 + 50 * smooth + 5 * grain,
        "one bright scene": lambda: 200 * lit + 5 * smooth + 3 * grain,
        "even": lambda: rng.integers(0, 256, (count, 1, 1)) + np.zeros((count, side, side)),
    }[kind]()
    return pixels.round().clip(0, 255).astype(np.uint8)[:, None]


KINDS = ("dark", "dark, one scene", "bright", "faint strokes", "blobs", "one bright scene", "even")
CHANGES: dict[str, Callable[[np.ndarray, Generator], np.ndarray]] = {
    "the same": lambda images, rng: images,
    "noise of 3 levels": lambda images, rng: images + rng.normal(0, 3, images.shape),
    "noise of 6 levels": lambda images, rng: images + rng.normal(0, 6, images.shape),
    "brightness × 0.9": lambda images, rng: 0.9 * images,
    "shifted by a pixel": lambda images, rng: np.roll(images, 1, 3),
}


def leakage() -> Iterator[Case]:
    def speaks(rng: Generator, kind: str, count: int, change: str, side: int) -> bool:
        images, where = pictures(rng, kind, count, side), split(count)
        manifest = pd.DataFrame({"split": where})
        features = images.reshape(count, -1).astype(np.float32)  # raw pixels find the nearest twin
        features -= features.mean(1, keepdims=True)
        if change:
            test, train = np.flatnonzero(where == "test")[: max(1, count // 50)], np.flatnonzero(where == "train")
            twins = rng.permutation(train)[: len(test)]
            images[test] = CHANGES[change](images[twins].astype(float), rng).round().clip(0, 255)
            features[test] = features[twins]  # an encoder that ignores the change
        return isinstance(diagnosis.leakage(features, images, manifest), diagnosis.Finding)

    for kind, count in product(KINDS, (100, 1000, 10_000)):
        draws = {100: 100, 1000: 20, 10_000: 1}[count]
        for side in (16, 64) if count < 10_000 else (16,):
            situation = f"{kind}, {count} images of {side} pixels"
            yield Case("leakage", situation, "", draws, lambda r, s=(kind, count, "", side): speaks(r, *s))
    for kind, change, side in product(("blobs", "dark"), CHANGES, (16, 64)):
        fault = f"2 % of the images have a twin: {change} ({kind}, {side} pixels)"
        yield Case("leakage", "", fault, 20, lambda r, s=(kind, 500, change, side): speaks(r, *s))


def label_noise() -> Iterator[Case]:
    def speaks(rng: Generator, share: float, classes: int, count: int, separation: float, *shape: float) -> bool:
        features, targets = world(rng, classes, count, separation, *shape)
        wrong = rng.permutation(count)[: round(share * count)]
        targets[wrong] = (targets[wrong] + rng.integers(1, classes, len(wrong))) % classes
        labels = Labels(targets, np.arange(count), np.arange(0), np.arange(0))
        return isinstance(diagnosis.label_noise(features, labels, [str(c) for c in range(classes)]), diagnosis.Finding)

    def clean(shapes: Iterator[tuple], draws: int) -> Iterator[Case]:
        for classes, count, separation, dims, imbalance, tails, modes in shapes:
            situation = (
                f"{classes} classes, {count} images, separation {separation}, {dims} dimensions, imbalance "
                f"{imbalance}, {modes} modes"
            )
            how = (0.0, classes, count, separation, dims, imbalance, tails, modes)
            rule = "label noise, far-out images" if tails else "label noise"
            yield Case(rule, situation, "", draws, lambda r, how=how: speaks(r, *how))

    separations = (0, 0.6, 1, 1.5, 2.5)
    yield from clean(product((2, 10, 1000), (100,), separations, (8, 64), (0, 2.3), (False,), (1, 3)), 50)
    yield from clean(product((2, 10, 100), (1000,), separations, (8, 64), (0, 2.3), (False,), (1,)), 20)
    yield from clean(product((10, 1000), (10_000,), (1, 2.5), (8,), (0,), (False,), (1,)), 3)
    yield from clean(product((2, 10), (1000,), separations, (8, 64), (0,), (True,), (1,)), 10)
    for separation, right in {5: 100, 1.5: 99, 1.2: 97, 1: 95}.items():
        for share in (0.01, 0.05, 0.2):
            fault = f"{share:.0%} of 1,797 labels in 10 classes, by an embedding that tells {right} % right"
            yield Case("label noise", "", fault, 40, lambda r, s=(share, 10, 1797, separation): speaks(r, *s))


def accuracy_of(rng: Generator, truth: float, tested: int) -> Accuracy:
    seen = rng.binomial(tested, truth) / tested
    return Accuracy(10.0, "all labels", seen, *wilson_interval(seen, tested))


def no_gain() -> Iterator[Case]:
    def untrue(rng: Generator, gain: float, accuracy: float, tested: int) -> bool:
        """Whether the rule gives a finding although the gain is larger than it calls possible."""
        encoder = accuracy_of(rng, min(1.0, accuracy + gain), tested)
        baselines = {
            name: [accuracy_of(rng, accuracy - lag, tested)] for name, lag in {"pca": 0.0, "raw": accuracy / 3}.items()
        }
        if diagnosis.no_gain([encoder], baselines) is None:
            return False
        best = max((points[0] for points in baselines.values()), key=lambda point: point.mean)
        return min(1.0, accuracy + gain) - accuracy > diagnosis.possible_gain(encoder, best)[1]

    def speaks(rng: Generator, gain: float, tested: int) -> bool:
        return (
            diagnosis.no_gain([accuracy_of(rng, 0.8 + gain, tested)], {"pca": [accuracy_of(rng, 0.8, tested)]})
            is not None
        )

    for gain, accuracy, tested in product((0, 0.02, 0.1), (0.01, 0.3, 0.8, 0.97, 1), (20, 200, 2000)):
        situation = f"baseline {accuracy:.0%}, truly +{100 * gain:.0f} points, {tested} test images"
        yield Case("no gain", situation, "", 200, lambda r, s=(gain, accuracy, tested): untrue(r, *s))
    for gain, tested in ((0, 200), (0, 2000), (0.05, 2000), (0.1, 2000)):
        fault = f"truly +{100 * gain:.0f} points on 80 %, {tested} test images (it should speak at +0 only)"
        yield Case("no gain", "", fault, 200, lambda r, s=(gain, tested): speaks(r, *s))


def drift() -> Iterator[Case]:
    names = ("embedding", "pixels", "classes", "sizes")

    def found(rng: Generator, key: str, classes: int, count: int, separation: float, kind: str, fault: str) -> bool:
        features, targets = world(rng, classes, count, separation)
        images, new = pictures(rng, kind, count), np.arange(count) >= count * 4 // 5
        side = rng.choice([30, 40, 60, 90], count)
        if fault in CHANGES:
            images[new] = CHANGES[fault](images[new].astype(float), rng).round().clip(0, 255)
        elif fault == "one deviation aside":
            features[new] += 1 / 4  # of 16 dimensions
        elif fault == "half are of one class":
            targets[new & (rng.random(count) < 0.5)] = 0
        elif fault == "twice as large":
            side[new] *= 2
        label = pd.Series(targets.astype(str)).where(rng.random(count) < (1 if key == "classes" else 0.5))
        now = pd.DataFrame({"sha256": np.arange(count).astype(str), "label": label, "width": side, "height": side})
        summary = summarise(now[~new], now, features, images, seed=int(rng.integers(2**31)))
        return key in summary and summary[key]["p_value"] <= DRIFT_LEVEL

    for key, (classes, count, separation, kind) in product(
        names, ((2, 100, 0, "dark"), (10, 300, 1, "blobs"), (1000, 300, 5, "bright"))
    ):
        situation = f"{classes} classes, {count} images, a fifth new, {kind}"
        yield Case(
            f"drift: {key}", situation, "", 40, lambda r, s=(key, classes, count, separation, kind, ""): found(r, *s)
        )
    faults = {"embedding": ["one deviation aside"], "classes": ["half are of one class"], "sizes": ["twice as large"]}
    for key, fault in [
        *((key, fault) for key, many in faults.items() for fault in many),
        *(("pixels", c) for c in CHANGES),
    ]:
        if fault != "the same":
            words = f"100 new of 500: {fault}"
            yield Case(f"drift: {key}", "", words, 10, lambda r, s=(key, 10, 500, 1, "blobs", fault): found(r, *s))


def ended_as_collapsed() -> Iterator[Case]:
    def ends(rng: Generator, usual: float, looks: int, dips: int) -> bool:
        """Whether training ends at a spread that varies by half, and is 0.01 at single looks or from the middle on."""
        spreads = usual * np.exp(0.4 * rng.normal(size=looks))
        low = (
            np.arange(looks) >= looks // 2
            if dips < 0
            else np.isin(np.arange(looks), rng.permutation(looks // 3)[:dips] * 3)
        )
        history: list[dict[str, float]] = []
        for spread in np.where(low, 0.01, spreads):
            row = {"embedding_std": spread, "untrained_embedding_std": 0.2}
            try:
                check_not_collapsed(row, history, 1, 1e-3, Pretraining())
            except TrainingError:
                return True
            history.append(row)
        return False

    for usual, looks, dips in product((0.2, 1.0), (3, 10, 50), (0, 1)):
        situation = f"usually {usual}, {looks} looks, {dips} dips to 0.01"
        yield Case("ended as collapsed", situation, "", 300, lambda r, s=(usual, looks, dips): ends(r, *s))
    yield Case("ended as collapsed", "", "0.01 from the middle on, 10 looks", 100, lambda r: ends(r, 1.0, 10, -1))


RULES = (
    collapse,
    ended_as_collapsed,
    dimensional_collapse,
    under_training,
    overfit_probe,
    leakage,
    label_noise,
    no_gain,
    drift,
)


def rate(case: Case, factor: float = 1.0, seed: int = 0) -> tuple[float, int]:
    """The fraction of draws in which the rule gave a finding, and the number of draws."""
    draws, rng = max(1, round(case.draws * factor)), np.random.default_rng(seed)
    return float(np.mean([case.speaks(rng) for _ in range(draws)])), draws


def table(cases: list[Case], factor: float = 1.0) -> pd.DataFrame:
    """One row a rule: clean situations, draws, mean and worst rate of false alarms, and the rates of found faults."""
    rates = pd.DataFrame([(*case[:3], *rate(case, factor, i)) for i, case in enumerate(cases)])
    rates.columns = ["rule", "situation", "fault", "rate", "draws"]
    rows = []
    for rule, each in rates.groupby("rule", sort=False):
        clean, planted = each[each.fault == ""], each[each.fault != ""]
        worst = clean.loc[clean.rate.idxmax()]
        rows.append(
            {
                "rule": rule,
                "clean situations": len(clean),
                "draws": int(clean.draws.sum()),
                "false alarms": f"{np.average(clean.rate, weights=clean.draws):.1%}",
                "in the worst situation": f"{worst.rate:.1%}" + (f" ({worst.situation})" if worst.rate else ""),
                "found where planted": "; ".join(f"{p.fault}: {p.rate:.0%}" for p in planted.itertuples()),
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=float, default=1.0)
    parser.add_argument("--rule", default="")
    options = parser.parse_args()
    logging.disable()
    cases = [case for rule in RULES for case in rule() if options.rule in case.rule]
    found = table(cases, options.draws)
    print("| " + " | ".join(found) + " |\n|" + " --- |" * len(found.columns))
    for row in found.itertuples(index=False):
        print("| " + " | ".join(map(str, row)) + " |")
    print(json.dumps(found.to_dict("records")))


if __name__ == "__main__":
    main()
