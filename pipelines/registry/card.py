"""The model card of a registered version, in Markdown: its origin, its accuracy, and the decision of the gate."""

import json
from typing import Any, NamedTuple

from pipelines.clients.git import COMMIT, DIRTY
from pipelines.registry.markdown import code, escaped
from pipelines.registry.provenance import PLUGIN, TRAINED_WITH
from unlabeled.config import in_words
from unlabeled.evaluation.verdict import BASELINE_NAMES
from unlabeled.records import Metrics
from unlabeled.runtime.legible import legible


class Kind(NamedTuple):
    """The words of a card for one kind of data.

    Attributes:
        encoder: Name of the encoder, such as "An image encoder".
        data: Amount and source of the data.
        example: The arguments in an example call of `predict`, with the closing bracket.
        unit: Name of the rows, in the plural.
    """

    encoder: str
    data: str
    example: str
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
) -> str:
    """The card of a version.

    Args:
        name, number: The registered model, and its version.
        tags: The tags of the version.
        reason: The decision of the gate, in words.
        selection: The sentence of `verdict.selection`; empty: none.
    """
    standing = "the champion" if promoted else "a challenger"
    address = legible(json.dumps(f"models:/{name}/{number}", ensure_ascii=False))
    lines = [
        f"# {escaped(name)}, version {number}",
        f"{kind.encoder}, trained by **{tags['method']}** on {escaped(kind.data)}. "
        f"When it was registered it became **{standing}**: {escaped(reason)}.",
        *([selection] if selection else []),
        *_table(metrics),
        *([f"Since the champion's data: {escaped(tags['drift'])}."] if "drift" in tags else []),
        "## Where it comes from",
        "\n".join(f"- {what}: {code(str(tags[key]))}" for what, key in ORIGIN.items() if key in tags),
        "## Use it",
        f"```python\nimport mlflow\nmodel = mlflow.pyfunc.load_model({address})\n"
        f"answer = model.predict({kind.example}\n```",
    ]
    return "\n\n".join(lines)


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
