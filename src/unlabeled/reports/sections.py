"""The sections that the pages of all kinds of data share."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from unlabeled.config import in_words
from unlabeled.evaluation import diagnosis
from unlabeled.evaluation.diagnosis import Finding, Undecided
from unlabeled.evaluation.verdict import BASELINE_NAMES, Accuracy, all_curves, over_draws, with_fewest_labels, worth
from unlabeled.records import Accuracies
from unlabeled.reports import charts
from unlabeled.reports.data_section import SHOWN_KEYS, understood
from unlabeled.reports.evidence import Evidence
from unlabeled.reports.page import (
    Block,
    Code,
    Findings,
    Folded,
    Prose,
    Section,
    Table,
    Tiles,
)
from unlabeled.runtime.counts import counted

Rules = Iterator[tuple[str, Finding | Undecided | None]]
"""Names of the rules, each with its finding; None: nothing was found."""
Curves = dict[str, list[Accuracy]]


def curves_of(evidence: Evidence) -> Curves:
    """Curves of the encoder and of the baselines; empty without labels."""
    return {} if evidence.probe is None else all_curves(evidence.metrics, *evidence.labels.counts())


def verdict_of(evidence: Evidence, curves: Curves) -> str:
    """The verdict on the encoder and after how many epochs, its numbers, and the gate's decision."""
    words = worth(evidence.metrics, evidence.manifest, evidence.pretraining, evidence.unit).words
    if curves:
        baselines = {name: points for name, points in curves.items() if name != "encoder"}
        numbers = with_fewest_labels(curves["encoder"], baselines)
    else:
        numbers = f"It uses {evidence.metrics['rankme']:.0f} effective dimensions of {evidence.features.shape[1]}"
    said = f"After {evidence.trained}: {words}" if evidence.trained else f"{words[0].upper()}{words[1:]}"
    return " ".join(filter(None, [f"{said}. {numbers}.", evidence.standing]))


def facts(evidence: Evidence) -> list[tuple[str, str]]:
    metrics = evidence.metrics
    facts = []
    few = next(iter(metrics["few_label"].items()), None)
    if few:
        facts.append((in_words(few[0]), f"{100 * few[1]['mean']:.1f}\u00a0±\u00a0{100 * few[1]['std']:.1f}\u00a0%"))
    whole = {"linear probe": metrics["linear_probe_accuracy"], "kNN": metrics["knn_accuracy"]}
    facts += [(name, f"{100 * value:.1f}\u00a0%") for name, value in whole.items() if value is not None]
    rates = {name: value for name, value in metrics.items() if name.endswith("_per_second")}
    facts += [(name.replace("_per_", " a "), f"{value:,.0f}") for name, value in rates.items()]
    return [*facts, ("of training", f"{metrics['seconds']:,.0f} s")]


def label_efficiency(evidence: Evidence, curves: Curves) -> Section | None:
    if not curves:
        return None
    named = {BASELINE_NAMES.get(name, name): points for name, points in curves.items()} | _finetuned(evidence)
    settings = [point.setting for point in curves["encoder"]]
    kinds: dict[str, Accuracies] = {"encoder": evidence.metrics, **evidence.metrics["baselines"]}
    neighbours = {BASELINE_NAMES.get(name, name): each["knn_accuracy"] for name, each in kinds.items()}
    rows = []
    for name, points in named.items():
        cells = {p.setting: (f"{100 * p.mean:.1f}\u00a0±\u00a0{50 * (p.high - p.low):.1f}", p.mean) for p in points}
        accuracy = neighbours.get(name)
        knn = ("", "") if accuracy is None else (f"{100 * accuracy:.1f}", accuracy)
        rows.append([name, *(cells.get(setting, ("", "")) for setting in settings), knn])
    table = Table(
        ["features", *settings, "kNN, all labels"], rows, "Accuracy on the test split, %; ± as in the chart.", True
    )
    return Section("How many labels it saves", [charts.label_efficiency(named, evidence.unit), table])


def _finetuned(evidence: Evidence) -> Curves:
    """Curves of fine-tuned networks, at the same numbers of labels."""
    labels, points = evidence.labels, {}
    classes = len(np.unique(labels.targets[labels.train]))
    for setting, starts in evidence.finetuned.items():
        number = len(labels.train) / classes if setting == "all" else float(setting)
        words = "all labels" if setting == "all" else in_words(setting)
        for start, each in starts.items():
            points.setdefault(start, []).append(over_draws(number, words, each))
    names = {"finetuned": "encoder, fine-tuned", "from_scratch": "supervised from scratch"}
    return {names[start]: sorted(each, key=lambda point: point.labels) for start, each in points.items()}


def feature_findings(evidence: Evidence, curves: Curves) -> Section:
    """Findings of the rules that need only features and history."""
    return findings_section(rules_of_features(evidence, curves), lambda finding: None)


def findings_section(rules: Rules, pictures_of: Callable[[Finding], Tiles | None]) -> Section:
    said = dict(rules)
    found = [(finding, pictures_of(finding)) for finding in said.values() if isinstance(finding, Finding)]
    fine = [rule for rule, finding in said.items() if finding is None]
    undecided = [(rule, finding.reason) for rule, finding in said.items() if isinstance(finding, Undecided)]
    lead = (
        "Rules that a run is held against, each with its source (src/unlabeled/evaluation/diagnosis.py). Not found is "
        "not proof: docs/diagnosis.md says how much each rule finds."
    )
    return Section("What to look out for", [Findings(found, fine, undecided)], lead, layout="wide")


def rules_of_features(evidence: Evidence, curves: Curves) -> Rules:
    metrics, labels, classes = evidence.metrics, evidence.labels, evidence.summary["classes"]
    yield "collapse", diagnosis.collapse(metrics, evidence.pretraining)
    room = evidence.features.shape[1], len(classes), len(evidence.rows_of("train"))
    yield "dimensional collapse", diagnosis.dimensional_collapse(metrics, *room, evidence.augmented)
    yield "under-training", diagnosis.under_training(evidence.history, labels.independent(labels.validation))
    if evidence.probe is None or (accuracy := metrics["linear_probe_accuracy"]) is None:
        from unlabeled.evaluation.probe import why_untested  # imports torch

        untested = Undecided(why_untested(evidence.manifest, evidence.unit) or "no linear probe was fitted")
        yield from (("overfit probe", untested), ("no gain", untested))
    else:
        said = diagnosis.overfit_probe(evidence.probe, evidence.features, labels, accuracy, evidence.unit)
        yield "overfit probe", said
        baselines = {name: points for name, points in curves.items() if name != "encoder"}
        yield "no gain", diagnosis.no_gain(curves["encoder"], baselines, evidence.unit, evidence.augmented)


def training(evidence: Evidence, curves: Curves) -> Section | None:
    drawn = charts.training_curves(evidence.history)
    return Section("How it trained", drawn, layout="quarters") if drawn else None


def data(evidence: Evidence, curves: Curves) -> Section:
    summary = evidence.summary
    rows = [[name, _as_text(value)] for name, value in summary.items() if name not in SHOWN_KEYS]
    blocks: list[Block] = [Table(["what", "value"], rows, "What ingestion read."), *understood(summary)]
    if len(evidence.quarantine):
        bad = evidence.quarantine.head(20)
        caption = f"{counted(len(evidence.quarantine), 'files')} in quarantine, and why; the first {len(bad)}."
        blocks.append(Table([str(name) for name in bad], bad.astype(str).to_numpy().tolist(), caption))
    else:
        blocks.append(Prose(["No file is in quarantine."]))
    return Section("The data", blocks)


def provenance(evidence: Evidence, curves: Curves) -> Section:
    facts = [[name, value] for name, value in evidence.provenance.items() if name != "command"]
    given = _by_name({block.block: block.model_dump() for block in evidence.parameters})
    defaults = _by_name({block.block: type(block)().model_dump() for block in evidence.parameters})
    rows = {name: [name, _as_text(value)] for name, value in given.items()}
    changed = [row for name, row in rows.items() if name not in defaults or defaults[name] != given[name]]
    blocks: list[Block] = [
        Code(evidence.provenance["command"]),
        Table(["what", "value"], facts, "The run."),
        Table(["parameter", "value"], changed, "The parameters that are not at their defaults."),
        Folded(f"All {len(rows)} parameters", Table(["parameter", "value"], [*rows.values()])),
    ]
    return Section("How to repeat it", blocks)


def _by_name(nested: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Values by dotted name."""
    named = {}
    for key, value in nested.items():
        named |= _by_name(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return named


def _as_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_as_text, value))
    return "–" if value is None else str(value)
