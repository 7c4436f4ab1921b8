"""Descriptions on MLflow's pages, for people: of the experiment, of a run, and of a registered model."""

import json

import mlflow
from mlflow.entities import Experiment
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from pipelines.registry.markdown import code, escaped
from unlabeled.records import Version

EXPERIMENT = {
    MLFLOW_RUN_NOTE: "Runs of Unlabeled, which trains encoders without labels and measures them against baselines.\n\n"
    "- A run is one `kedro run`; its description is its result, and its page is `report.html` among its artifacts.\n"
    "- `kedro run --pipeline=leaderboard` writes a page over all runs.\n"
    "- Encoders are under Models: the alias `champion` marks the version to use, and `kedro champion` lists them.",
    "mlflow.experimentKind": "custom_model_development",
}
"""Tags of an experiment: its description, and the kind by which MLflow opens on its runs, not on traces."""
CHAMPION = "## Champion"
"""The heading of a registered model's description from which on it is written anew; people may edit what is above."""
MAX_DECISIONS, MAX_DECISION_LENGTH = 5, 400
"""Largest number of versions whose decisions are listed, and of characters of each."""
MAX_LENGTH = 5000
"""Largest number of characters in a description: MLflow's tables in PostgreSQL hold no more."""


def describe_experiment(experiment: Experiment) -> None:
    """Describes an experiment, where nobody has described it yet."""
    for key, value in EXPERIMENT.items():
        if key not in experiment.tags:
            MlflowClient().set_experiment_tag(experiment.experiment_id, key, value)


def describe_run(result: str, version: Version) -> None:
    """Describes the active run by its result in one sentence, and by the version that it has registered, if any."""
    registered = f"\n\nIt is {escaped(version['name'])} version {version['version']}." if version["version"] else ""
    page = "Its page is `report.html` among the artifacts."
    mlflow.set_tag(MLFLOW_RUN_NOTE, f"**{escaped(result)}**{registered}\n\n{page}")


def describe_model(client: MlflowClient, name: str, purpose: str = "") -> None:
    """Writes the description of a registered model: its purpose, its champion, and the last decisions.

    Args:
        purpose: What the model is for, in Markdown, where the model has no description yet.
    """
    model = client.get_registered_model(name)
    champion = model.aliases.get("champion")
    found = sorted(client.search_model_versions(f"name='{name}'"), key=lambda each: -int(each.version))
    best = next((each for each in found if str(each.version) == str(champion)), None)
    loading = f"mlflow.pyfunc.load_model({json.dumps(f'models:/{name}@champion', ensure_ascii=False)})"
    start = f"{purpose}\n\nTo use it: {code(loading)}. The page of a version says what it takes.\n\n"
    above = model.description.partition(CHAMPION)[0] if CHAMPION in (model.description or "") else ""
    told = _standing(best) if best else "There is none yet: `kedro promote` makes a version the champion."
    last = [f"- version {each.version}, {_decision(each, best)}" for each in found[:MAX_DECISIONS]]
    text = f"{above or start}{CHAMPION}\n\n{told}\n\n## Last decisions\n\n" + "\n".join(last)
    if CHAMPION in (model.description or "") or not model.description:
        client.update_registered_model(name, text[:MAX_LENGTH])


def _standing(version: ModelVersion) -> str:
    keys = {"linear probe": "linear_probe_accuracy", "kNN": "knn_accuracy"}
    numbers = {what: version.tags.get(key, "None") for what, key in keys.items()}
    measured = ", ".join(f"{what} {100 * float(each):.1f} %" for what, each in numbers.items() if each != "None")
    of = f": {measured} of {version.tags.get('test_images')} test images" if measured else ""
    return f"Version {version.version}, trained by {escaped(version.tags.get('method', '?'))}{of}."


def _decision(version: ModelVersion, champion: ModelVersion | None) -> str:
    decision = version.tags.get("decision", "not decided yet")
    short = decision if len(decision) <= MAX_DECISION_LENGTH else f"{decision[:MAX_DECISION_LENGTH]}…"
    standing = ", the champion" if version is champion else ""
    return f"{escaped(version.tags.get('method', '?'))}{standing}: {escaped(short)}"
