"""The page of a run on text: the sections of every page, with texts to read in place of pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from unlabeled.evaluation.probe import nearest
from unlabeled.reports import sections as shared
from unlabeled.reports.evidence import Evidence
from unlabeled.reports.page import Section, Table, render
from unlabeled.text.evidence import TextEvidence

EXCERPT_CHARACTERS = 240
"""Number of characters of a passage that are shown."""
QUERIES, NEIGHBOURS = 6, 3
MEASURE_NAMES = {
    "bits_per_byte": "bits per byte",
    "masked_accuracy": "accuracy of masked tokens, %",
    "perplexity": "perplexity",
    "next_sentence_accuracy": "accuracy of next sentences, %",
}


def build_report(evidence: TextEvidence) -> str:
    """The page as HTML."""
    with threadpool_limits(torch.get_num_threads()):
        curves = shared.curves_of(evidence)
        sections = [
            shared.label_efficiency(evidence, curves),
            _language(evidence),
            _texts(evidence.shown),
            shared.feature_findings(evidence, curves),
            _neighbours(evidence),
            *(make(evidence, curves) for make in (shared.training, shared.data, shared.provenance)),
        ]
    verdict, facts = shared.verdict_of(evidence, curves), shared.facts(evidence)
    return render(evidence.title, verdict, facts, [section for section in sections if section])


def _language(evidence: Evidence) -> Section | None:
    """Measurements of the training task on test documents."""
    measured = evidence.metrics["language"]
    if not measured:
        return None
    names = [name for name in MEASURE_NAMES if name in measured]
    kinds = {"this encoder": measured}
    for name, numbers in measured["baselines"].items():
        if not name.endswith("_order"):
            kinds[name.replace("_", " ")] = numbers if isinstance(numbers, dict) else {names[0]: numbers}
    rows = [[kind, *(_number(name, numbers.get(name)) for name in names)] for kind, numbers in kinds.items()]
    caption = "Test documents; n-gram models learned from the same training documents."
    return Section(
        "What it knows of language", [Table(["model", *(MEASURE_NAMES[n] for n in names)], rows, caption, True)]
    )


def _number(name: str, value: float | None) -> Any:
    if value is None:
        return ("", "")
    return (f"{100 * value:.1f}" if name.endswith("accuracy") else f"{value:.3f}", value)


def _texts(shown: Sequence[Sequence[str]]) -> Section | None:
    if not shown:
        return None
    rows = [[" ".join(text.split()) for text in pair] for pair in shown]  # in one line each
    table = Table(["text", "the model"], rows, "Of test documents; ▁ is a masked token.")
    return Section("What it makes of texts", [table], layout="wide")


def _neighbours(evidence: Evidence) -> Section | None:
    """Passages of the test split drawn at random, and the training passages nearest to each."""
    queries = np.random.default_rng(0).permutation(evidence.test)[:QUERIES]
    train = np.setdiff1d(evidence.rows_of("train"), queries)  # without a test split they are training passages
    similarities, found = nearest(evidence.features, queries, train, NEIGHBOURS)
    rows = []
    for query, near, similar in zip(queries, found, similarities, strict=True):
        rows.append([evidence.manifest.split.iat[query], *_passage(evidence, query)])
        rows += [[f"{value:.2f}", *_passage(evidence, row)] for row, value in zip(near, similar, strict=True)]
    caption = "Below each passage the training passages nearest to it, with their cosine similarity."
    return Section("Nearest passages", [Table(["", "label", "document", "passage"], rows, caption)], layout="wide")


def _passage(evidence: Evidence, row: int) -> list[str]:
    text = " ".join(evidence.manifest.text.iat[row].split())
    short = text if len(text) <= EXCERPT_CHARACTERS else f"{text[:EXCERPT_CHARACTERS]} …"
    return [evidence.name_of(row), evidence.manifest.path.iat[row], short]
