"""The model card of a registered version, in Markdown: its origin, its accuracy, and the decision of the gate."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from pipelines.clients.git import COMMIT, DIRTY
from pipelines.registry.markdown import code, escaped
from pipelines.registry.provenance import PLUGIN, TRAINED_WITH
from unlabeled.config import in_words
from unlabeled.evaluation.verdict import BASELINE_NAMES
from unlabeled.records import Metrics
from unlabeled.runtime.legible import legible

MAX_CLASSES, MAX_CLASS_LENGTH = 30, 40
"""Largest number of classes that a card lists, and of characters of each."""


class Kind(NamedTuple):
    """The words of a card for one kind of data.

    Attributes:
        encoder: Name of the encoder, such as "An image encoder".
        data: Amount and source of the data.
        example: The argument in an example call of `predict`.
        takes: The forms of an input, in sentences.
        unit: Name of the rows, in the plural.
    """

    encoder: str
    data: str
    example: str
    takes: str
    unit: str = "images"


def model_card(
    name: str,
    number: str,
    tags: dict[str, Any],
    metrics: Metrics,
    kind: Kind,
    promoted: bool,
    reason: str,
    selection: str,
    classes: Sequence[str] = (),
) -> str:
    """The card of a version.

    Args:
        name, number: The registered model, and its version.
        tags: The tags of the version.
        reason: The decision of the gate, in words.
        selection: The sentence of `verdict.selection`; empty: none.
        classes: Names of the columns of `probability`; empty: there are no probabilities.
    """
    standing = "the champion" if promoted else "a challenger"
    lines = [
        f"# {escaped(name)}, version {number}",
        f"{kind.encoder}, trained by **{tags['method']}** on {escaped(kind.data)}. "
        f"When it was registered it became **{standing}**: {escaped(reason)}.",
        *([selection] if selection else []),
        *_table(metrics),
        *([f"Since the champion's data: {escaped(tags['drift'])}."] if "drift" in tags else []),
        *_use(f"models:/{name}/{number}", kind, classes),
        "## Where it comes from",
        "\n".join(f"- {what}: {code(str(tags[key]))}" for what, key in ORIGIN.items() if key in tags),
    ]
    return "\n\n".join(lines)


def _use(address: str, kind: Kind, classes: Sequence[str]) -> list[str]:
    """The lines from an input to an answer, the forms of an input, and the names of the classes."""
    lines = [
        "import mlflow",
        *(["from pathlib import Path"] if "Path(" in kind.example else []),
        f"model = mlflow.pyfunc.load_model({legible(json.dumps(address, ensure_ascii=False))})",
        f"answer = model.predict({kind.example})",
    ]
    named = []
    if classes:
        lines.append('answer["predicted"]  # the most probable class')
        told = ", ".join(escaped(name[:MAX_CLASS_LENGTH]) for name in classes[:MAX_CLASSES])
        more = f" and {len(classes) - MAX_CLASSES:,} more" if len(classes) > MAX_CLASSES else ""
        named = [f"`probability` has {len(classes):,} columns, in the order of `model/classes.json`: {told}{more}."]
    return ["## Use it", "```python\n" + "\n".join(lines) + "\n```", kind.takes, *named]


ORIGIN = {
    "command": "command",
    "commit": COMMIT,
    "uncommitted changes": DIRTY,
    "plug-in": PLUGIN,
    "weights trained with": TRAINED_WITH,
    "data digest": "data_digest",
    "evaluation protocol": "protocol",
    "seed": "seed",
}
"""Lines of a card about a version's origin, and the tag that holds each."""


def _table(metrics: Metrics) -> list[str]:
    if metrics["linear_probe_accuracy"] is None:
        return [f"Embedding std {metrics['embedding_std']:.2f}, RankMe {metrics['rankme']:.1f}."]
    settings = list(metrics["few_label"])
    header = ["accuracy on test, %", "linear probe", "kNN", *map(in_words, settings)]
    rows = [header, ["---"] * len(header)]
    measured: dict[str, Any] = {"this encoder": metrics, **metrics["baselines"]}
    for name, numbers in measured.items():
        few = [numbers["few_label"][setting] for setting in settings]
        whole = [f"{100 * numbers[key]:.1f}" for key in ("linear_probe_accuracy", "knn_accuracy")]
        rows.append(
            [BASELINE_NAMES.get(name, name), *whole, *(f"{100 * e['mean']:.1f} ± {100 * e['std']:.1f}" for e in few)]
        )
    return ["\n".join(f"| {' | '.join(row)} |" for row in rows)]
