"""The page that compares runs: each method's results on the same images, and the significant differences."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from unlabeled.config import in_words
from unlabeled.evaluation.protocol import in_order
from unlabeled.evaluation.significance import (
    EFFECTIVE,
    KNN_EFFECTIVE,
    Difference,
    holm,
    paired_difference,
    wilson_interval,
)
from unlabeled.evaluation.verdict import BASELINE_NAMES, curve, over_draws
from unlabeled.records import Accuracies, Metrics
from unlabeled.reports import charts
from unlabeled.reports.page import Block, Link, Prose, Section, Table, render
from unlabeled.runtime.counts import counted

NBSP = "\u00a0"
TWIN = "random_encoder"
"""The baseline that differs by method, as it has the method's own network."""
MAX_CURVES = 5
"""Number of methods whose curves are drawn; more lines cannot be distinguished."""


@dataclass(frozen=True)
class Entry:
    """A run: `metrics` as in metrics.json, `predictions` as `evaluation.protocol.predict` returns them, `link` to its
    page, `epochs` of its training; None: unknown."""

    method: str
    metrics: Metrics
    predictions: pd.DataFrame
    classes: int
    labelled: int
    link: str
    epochs: int | None = None

    @property
    def group(self) -> tuple[str, str]:
        """Data and protocol of the run; only runs with equal groups are comparable."""
        return self.metrics["data_digest"], self.metrics["protocol"]

    @property
    def twin(self) -> Accuracies | None:
        """The accuracies of the same network with random weights."""
        return self.metrics["baselines"].get(TWIN)

    def answers(self) -> tuple[np.ndarray, np.ndarray]:
        """Whether the linear probe is right, and the group, for each test image in the order of their contents."""
        answers = in_order(self.predictions)
        return answers.right.to_numpy(), answers.group.to_numpy()

    def few(self) -> tuple[str, dict[str, float]]:
        """The setting with the fewest labels, and its mean and std over draws."""
        return next(iter(self.metrics["few_label"].items()))


def build_leaderboard(experiment: str, sources: dict[str, list[Entry]]) -> str:
    """The page as HTML: a section for each source and group, ranked by accuracy with the fewest labels.

    Args:
        sources: Runs by the name of their source.
    """
    sections, sentences = [], []
    for source, entries in sources.items():
        for group in dict.fromkeys(entry.group for entry in entries):
            ranked = sorted((e for e in entries if e.group == group), key=_rank)
            alone = len({e.group for e in entries}) == 1
            name = source if alone else f"{source}, data {group[0][:6]}, protocol {group[1][:6]}"
            sections += list(_sections(name, ranked))
            sentences.append(_verdict(name, ranked))
    many = counted(sum(map(len, sources.values())), "runs"), counted(len(sources), "sources")
    facts = [(unit, number) for number, unit in (each.split() for each in many)]
    return render(f"Leaderboard of the experiment {experiment}", " ".join(sentences), facts, sections)


def _rank(entry: Entry) -> float:
    labelled = bool(entry.metrics["few_label"])
    return -entry.few()[1]["mean"] if labelled else 1 - entry.metrics["rankme"] / 1e6


def _verdict(source: str, ranked: list[Entry]) -> str:
    best = ranked[0]
    if not best.metrics["few_label"]:
        return f"On {source} there are no labels to rank {counted(len(ranked), 'methods')} by."
    setting, each = best.few()
    name, first = _reference(best)
    reference = first["few_label"][setting]["mean"]
    among = f"the best of {len(ranked)} methods" if len(ranked) > 1 else "the only method"
    return (
        f"On {source} {among}, with {in_words(setting)}, is {best.method}: {100 * each['mean']:.1f}{NBSP}±{NBSP}"
        f"{100 * each['std']:.1f}{NBSP}%, where {name} get {100 * reference:.1f}{NBSP}%."
    )


def _reference(entry: Entry) -> tuple[str, Accuracies]:
    """Name, in words, and numbers of the first baseline that was measured beside an entry."""
    name, numbers = next(iter(entry.metrics["baselines"].items()))
    return BASELINE_NAMES.get(name, name), numbers


def _sections(source: str, ranked: list[Entry]) -> Iterable[Section]:
    labelled = [entry for entry in ranked if entry.metrics["few_label"]]
    blocks: list[Block] = [_table(source, ranked)]
    yield Section(f"{source}: every method", blocks, layout="wide")
    if not labelled:
        return
    tested = len(labelled[0].predictions)
    points = []
    for entry in labelled:
        fewest = over_draws(0, *entry.few())
        points.append((entry.method, entry.metrics["seconds"], fewest.mean, fewest.low, fewest.high))
    counts = labelled[0].labelled, labelled[0].classes, tested
    curves = {entry.method: curve(entry.metrics, *counts) for entry in labelled[:MAX_CURVES]}
    name, reference = _reference(labelled[0])
    curves[name] = curve(reference, *counts)
    twins = [next(iter(entry.twin["few_label"].values()))["mean"] if entry.twin else None for entry in labelled]
    drawn = [charts.accuracy_and_seconds(points, twins), charts.label_efficiency(curves)]
    lead = f"On the left every method; on the right {', '.join(list(curves)[:-1])} and {name}."
    yield Section(f"{source}: accuracy, seconds and labels", drawn, lead)
    if len(labelled) > 1:
        yield _significance(source, labelled, tested)


def _table(source: str, ranked: list[Entry]) -> Table:
    settings = list(ranked[0].metrics["few_label"])
    twins = settings[:1] if any(entry.twin for entry in ranked) else []
    rows: list[list] = []
    for entry in ranked:
        name = Link(entry.method, entry.link) if entry.link else entry.method
        beside = _few(entry.twin, twins) if entry.twin else [("–", "")] * len(twins)
        cells = _accuracies(entry.metrics, settings, len(entry.predictions))
        rows.append([name, *beside, *cells, *_health(entry)])
    for name, numbers in ranked[0].metrics["baselines"].items():
        if name != TWIN:
            cells = _accuracies(numbers, settings, len(ranked[0].predictions))
            rows.append([BASELINE_NAMES.get(name, name), *[("", "")] * len(twins), *cells, *[("", "")] * 4])
    beside = [f"its random encoder, {in_words(setting)}" for setting in twins]
    header = ["features", *beside, *map(in_words, settings), "linear probe", "kNN"]
    header += ["embedding std", "RankMe", "seconds", "epochs"]
    caption = (
        "Accuracy on test, %. Few labels: mean ± std over draws. Linear probe and kNN: ± half of the 95 % interval. "
        "Epochs: passes over the training images, which took these seconds."
    )
    if twins:
        caption += " Its random encoder: the same network before training."
    return Table(header, rows, caption, sortable=True)


def _few(numbers: Accuracies, settings: list[str]) -> list:
    few = [numbers["few_label"][setting] for setting in settings]
    return [(f"{100 * each['mean']:.1f}{NBSP}±{NBSP}{100 * each['std']:.1f}", each["mean"]) for each in few]


def _accuracies(numbers: Accuracies, settings: list[str], tested: int) -> list:
    cells = _few(numbers, settings)
    for key, effective in {"linear_probe_accuracy": EFFECTIVE, "knn_accuracy": KNN_EFFECTIVE}.items():
        accuracy = numbers[key]
        if accuracy is None:
            cells.append(("–", ""))
            continue
        low, high = wilson_interval(accuracy, numbers.get(effective, tested))
        cells.append((f"{100 * accuracy:.1f}\u00a0±\u00a0{50 * (high - low):.1f}", accuracy))
    return cells


def _health(entry: Entry) -> list:
    spread, rank, seconds = (entry.metrics[key] for key in ("embedding_std", "rankme", "seconds"))
    epochs = ("–", "") if entry.epochs is None else (f"{entry.epochs:,}", entry.epochs)
    return [(f"{spread:,.2f}", spread), (f"{rank:,.1f}", rank), (f"{seconds:,.0f}", seconds), epochs]


def _significance(source: str, ranked: list[Entry], tested: int) -> Section:
    """Differences of all pairs of methods, by their linear probes' answers to the same test images."""
    ordered = sorted(ranked, key=lambda e: -(e.metrics["linear_probe_accuracy"] or 0))
    answers, groups = {entry.method: entry.answers()[0] for entry in ordered}, ordered[0].answers()[1]
    names = list(answers)
    pairs = list(combinations(names, 2))
    tests = [paired_difference(answers[one], answers[other], groups) for one, other in pairs]
    real = holm([test.p_value for test in tests])
    told = {pair: (test, sure) for pair, test, sure in zip(pairs, tests, real, strict=True)}
    rows = [[one, *(_cell(told, one, other) for other in names[1:])] for one in names[:-1]]
    many = len(np.unique(groups))
    test = "McNemar's exact test" if many == tested else f"an exact permutation test over their {many} groups"
    caption = (
        f"By how many points the linear probe of the row is more often right than that of the column, on the same "
        f"{tested} test images. ★: significant at 5 % by {test}, for all {len(pairs)} pairs together (Holm)."
    )
    blocks: list[Block] = [Table(["", *names[1:]], rows, caption)]
    if not any(real):
        blocks.append(Prose(["No difference is significant: so many test images do not tell these methods apart."]))
    return Section(f"{source}: which differences are real", blocks, layout="wide")


def _cell(told: dict[tuple[str, str], tuple[Difference, bool]], one: str, other: str) -> str:
    if (one, other) not in told:
        return ""
    test, sure = told[one, other]
    return f"{100 * test.mean:+.1f}{NBSP + '★' if sure else ''}"
