import json
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from pipelines.clients.git import COMMIT, DIRTY
from pipelines.datasets.probe import ProbeDataset
from pipelines.registry import versions as registry
from pipelines.registry.provenance import ANSWERS, DATA, DIFF, MANIFEST, METRICS, PARAMETERS

NAME = "unlabeled-digits"

LOAD = """
import sys
import mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/unlabeled-digits@champion")
np.savez(sys.argv[3], **model.predict(np.load(sys.argv[2])))
"""


@pytest.fixture(scope="module")
def version(trained):
    return trained.client().get_model_version_by_alias("unlabeled-digits", "champion")


@pytest.fixture(scope="module")
def model(trained):
    mlflow.set_tracking_uri(f"sqlite:///{trained.path / 'mlflow.db'}")
    return mlflow.pyfunc.load_model("models:/unlabeled-digits@champion")


def test_a_clean_process_gets_the_embeddings_of_the_training_process_exactly(trained, tmp_path):
    images = trained.path / "data/02_intermediate/images.npy"
    command = [sys.executable, "-c", LOAD, f"sqlite:///{trained.path / 'mlflow.db'}", images, tmp_path / "out.npz"]
    subprocess.run(command, cwd=tmp_path, env=trained.environment(), check=True, capture_output=True)
    features = np.load(trained.path / "data/04_feature/byol.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["embedding"], features)


def test_the_version_says_what_it_was_made_from(trained, version):
    metrics = trained.json("data/08_reporting/byol/metrics.json")
    assert version.tags["data_digest"] == metrics["data_digest"] and version.tags["seed"] == "0"
    assert len(version.tags[COMMIT]) == 40 and len(version.tags["protocol"]) == 16
    assert float(version.tags["linear_probe_accuracy"]) == metrics["linear_probe_accuracy"]
    assert version.tags["decision"].partition("; ")[2].startswith("there was no champion")
    assert version.run_id == version.tags["training_run"]


def test_the_version_has_a_model_card(trained, version):
    metrics = trained.json("data/08_reporting/byol/metrics.json")
    assert version.description.startswith("# unlabeled-digits, version 1\n")
    assert f"became **the champion**: {version.tags['decision']}." in version.description
    assert f"| this encoder | {100 * metrics['linear_probe_accuracy']:.1f} |" in version.description
    assert version.tags[COMMIT] in version.description


def test_the_pages_of_mlflow_have_descriptions(trained, version):
    client = trained.client()
    experiment, (run, *_) = client.get_experiment_by_name("unlabeled"), trained.runs()
    assert "A run is one `kedro run`" in experiment.tags[MLFLOW_RUN_NOTE]
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    said = version.tags["decision"].partition(";")[0]
    assert f"byol on digits after 2 epochs, the champion: {said}" in run.data.tags[MLFLOW_RUN_NOTE]
    assert "unlabeled-digits version 1" in run.data.tags[MLFLOW_RUN_NOTE] and "runner" not in run.data.tags
    told = client.get_registered_model(NAME).description
    accuracy = f"linear probe {100 * float(version.tags['linear_probe_accuracy']):.1f} %"
    assert told.startswith("An image encoder, trained on digits. It turns images into embeddings: ")
    assert (
        f"## Champion\n\nVersion 1, trained by byol: {accuracy}, kNN " in told and "unlabeled-digits@champion" in told
    )
    assert f"- version 1, byol, the champion: {version.tags['decision']}" in told


def test_the_numbers_behind_a_decision_are_an_artifact_of_the_run(trained, version):
    mlflow.set_tracking_uri(f"sqlite:///{trained.path / 'mlflow.db'}")
    decision = mlflow.artifacts.load_dict(f"runs:/{version.run_id}/decision.json")
    assert decision["decision"] == version.tags["decision"]
    assert not {"gate.low", "rankme", "images"} & version.tags.keys()


def test_the_first_version_is_challenger_and_champion(trained, version):
    assert set(trained.client().get_model_version("unlabeled-digits", "1").aliases) == {"challenger", "champion"}
    assert version.version == 1


def test_the_model_has_a_signature_and_an_example_it_can_answer(model):
    assert [spec.name for spec in model.metadata.signature.outputs] == ["embedding", "probability", "predicted"]
    answer = model.predict(model.input_example)
    assert answer["embedding"].shape == (2, 256) and answer["probability"].shape == (2, 10)


def test_the_classes_of_the_probabilities_have_names(trained, model, version):
    classes = model.metadata.metadata["classes"]
    assert classes == trained.json("data/02_intermediate/summary.json")["classes"]
    answer = model.predict(np.load(trained.path / "data/02_intermediate/images.npy")[:20])
    assert answer["predicted"].tolist() == [classes[row] for row in answer["probability"].argmax(1)]
    assert f"`probability` has 10 columns, in the order of `model/classes.json`: {', '.join(classes)}." in (
        version.description
    )


def test_the_lines_of_the_card_lead_from_a_photograph_to_an_answer(trained, version, photos, tmp_path, monkeypatch):
    (tmp_path / "photo.jpg").write_bytes((photos / "03.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{trained.path / 'mlflow.db'}")
    code = version.description.partition("```python\n")[2].partition("```")[0]
    exec(code, names := {})
    assert names["answer"]["predicted"].shape == (1,)


def test_probabilities_are_the_linear_probes(trained, model):
    images = np.load(trained.path / "data/02_intermediate/images.npy")[:50]
    probability = model.predict(images)["probability"]
    np.testing.assert_allclose(probability.sum(1), 1, atol=1e-5)
    probe = ProbeDataset(str(trained.path / "data/06_models/byol/probe.safetensors")).load()
    features = np.load(trained.path / "data/04_feature/byol.npy")[:50]
    np.testing.assert_array_equal(probability.argmax(1), probe.logits(features).argmax(1))


def test_images_of_another_size_are_resampled(model):
    assert model.predict(np.zeros((3, 1, 20, 30), np.uint8))["embedding"].shape == (3, 256)


@pytest.mark.parametrize("images", [np.zeros((2, 3, 8, 8), np.uint8), np.zeros((2, 1, 8, 8), np.float32)])
def test_images_of_other_channels_or_types_are_refused(model, images):
    with pytest.raises(mlflow.exceptions.MlflowException):
        model.predict(images)


def test_nothing_in_the_model_is_a_pickle(trained, version):
    folder = mlflow.artifacts.download_artifacts(
        f"models:/unlabeled-digits/{version.version}", tracking_uri=f"sqlite:///{trained.path / 'mlflow.db'}"
    )
    endings = {path.suffix for path in Path(folder).rglob("*") if path.is_file()}
    assert endings <= {"", ".j2", ".json", ".parquet", ".py", ".pyc", ".safetensors", ".txt", ".yaml"}


def test_the_record_of_the_version_is_among_its_own_files(trained, version):
    mlflow.set_tracking_uri(f"sqlite:///{trained.path / 'mlflow.db'}")
    assert registry.recorded(version, METRICS) == trained.json("data/08_reporting/byol/metrics.json")
    assert registry.recorded(version, PARAMETERS)["pretraining"]["epochs"] == 2
    images = pd.read_parquet(trained.path / "data/02_intermediate/manifest.parquet")
    pd.testing.assert_frame_equal(registry.recorded(version, MANIFEST), images)
    assert registry.recorded(version, ANSWERS) is not None and registry.recorded(version, DATA) == {}
    assert registry.recorded(version, DIFF) is None  # there were no changes


def test_a_run_that_neither_trains_nor_registers_keeps_no_record(project):
    project.set(ingestion={"fraction": 0.2})  # not committed
    assert project.kedro("--pipeline=ingestion").exit_code == 0
    (run,) = project.runs()
    artifacts = {each.path for each in project.client().list_artifacts(run.info.run_id)}
    assert "summary.json" in artifacts and not {PARAMETERS, DATA, DIFF} & artifacts
    assert run.data.tags[DIRTY] == "true"


def test_the_record_has_the_parameters_that_trained_it_whatever_todays_are(project):
    given = "--params=pretraining.epochs=1,pretraining.seed=7,augmentation.views=3"
    assert project.kedro("--pipeline=byol", "--to-nodes=byol.pretraining", given).exit_code == 0
    assert project.kedro("--pipeline=byol", "--from-nodes=byol.evaluation").exit_code == 0
    version = project.client().get_model_version(NAME, "1")
    recorded = registry.recorded(version, PARAMETERS)
    pretraining = recorded["byol"]["pretraining"]
    assert (pretraining["epochs"], pretraining["seed"], version.tags["seed"]) == (1, 7, "7")
    assert recorded["augmentation"]["views"] == recorded["byol"]["augmentation"]["views"] == 3


def test_what_a_stage_that_is_run_again_makes_goes_into_a_version_of_its_own(project):
    assert project.kedro("--pipeline=pca").exit_code == 0
    client, first = project.client(), project.runs()[0]
    trained_with = client.get_model_version(NAME, "1").tags["code"]
    project.set(evaluation={"draws": 3})
    project.commit("another protocol")
    project.set(evaluation={"knn_k": 7})  # not committed
    assert project.kedro("--pipeline=pca", "--tags=evaluation,registration").exit_code == 0
    old, new = (client.get_model_version(NAME, number) for number in ("1", "2"))
    assert registry.recorded(old, PARAMETERS)["evaluation"]["draws"] == 2 and registry.recorded(old, DIFF) is None
    assert registry.recorded(new, PARAMETERS)["evaluation"]["draws"] == 3 and b"knn_k: 7" in registry.recorded(
        new, DIFF
    )
    assert [registry.recorded(each, METRICS)["protocol"] == each.tags["protocol"] for each in (old, new)] == [
        True,
        True,
    ]
    assert old.tags[COMMIT] == trained_with != new.tags[COMMIT] and (old.tags[DIRTY], new.tags[DIRTY]) == (
        "false",
        "true",
    )
    assert new.tags["trained_with"] == trained_with and "trained_with" not in old.tags
    assert new.run_id == old.run_id == first.info.run_id and trained_with in new.description
    output = " ".join(project.command("compare", "1", "2").output.split())
    assert f"the weights of version 2 were trained with {trained_with}" in output
    client.delete_run(first.info.run_id)
    assert registry.recorded(new, METRICS)["data_digest"] == new.tags["data_digest"]


def test_a_registration_that_was_killed_before_its_end_is_completed_under_the_same_number(project):
    assert project.kedro("--pipeline=pca").exit_code == 0
    file, client = project.path / "data/06_models/pca/version.json", project.client()
    whole = file.read_text()
    file.unlink()  # killed just before it was written
    client.set_registered_model_tag(NAME, "champions", "")  # and before the history was
    assert project.kedro("--pipeline=pca", "--tags=registration").exit_code == 0
    assert file.read_text() == whole and json.loads(whole)["champion"]
    assert client.get_registered_model(NAME).tags["champions"] == "1"
    (run,) = project.runs()
    client.set_terminated(run.info.run_id, "KILLED")
    client.delete_registered_model_alias(NAME, "champion")  # killed before the gate, and all of it run again
    assert project.kedro("--pipeline=pca").exit_code == 0
    assert file.read_text() == whole and client.get_model_version_by_alias(NAME, "champion").version == 1
    assert len(client.search_model_versions(f"name='{NAME}'")) == 1


def test_a_run_that_is_no_better_leaves_the_champion(project):
    assert project.kedro("--pipeline=pca").exit_code == 0
    result = project.kedro("--pipeline=pca")
    assert result.exit_code == 0 and "version 2 is a challenger" in result.output
    client = project.client()
    assert client.get_model_version_by_alias("unlabeled-digits", "champion").version == 1
    assert client.get_model_version_by_alias("unlabeled-digits", "challenger").version == 2


def test_what_is_no_better_than_the_baselines_is_no_champion_and_everything_says_so_first(project):
    project.set(registration={"must_beat_baselines": True})
    result = project.kedro("--pipeline=pca")  # which is a baseline itself
    assert result.exit_code == 0, result.output
    client, output = project.client(), " ".join(result.output.split())
    said = "not clearly better than the baselines with any number of labels"
    reason = f"{said}; a champion has to be better than every baseline (registration.must_beat_baselines)"
    version = client.get_model_version(NAME, "1")
    assert version.aliases == ["challenger"] and version.tags["decision"] == reason
    assert f"unlabeled-digits version 1 is a challenger: {reason}" in output
    assert f"pca on digits after 1 epoch, a challenger: {said}; one label a class" in output
    assert f"When it was registered it became **a challenger**: {reason}." in version.description
    page = (project.path / "data/08_reporting/pca/report.html").read_text()
    assert f"After 1 epoch: {said}. With one label a class the encoder gets" in page
    assert "It is a challenger: a cha" in page
    told = " ".join(project.command("champion").output.split())
    assert f"challenger: version 1: {reason}" in told and "have judged" not in told
    assert "kedro promote makes one of them the champion" in " ".join(
        project.kedro("--pipeline=embed", "--params=embed.path=data").output.split()
    )
    assert "There is none yet" in client.get_registered_model(NAME).description
    client.update_registered_model(NAME, f"Mine.\n\n{client.get_registered_model(NAME).description}")
    assert project.command("promote", "1").exit_code == 0
    told = client.get_registered_model(NAME).description
    assert told.startswith("Mine.\n\nAn image") and "Version 1, trained by pca" in told and "champion by hand" in told
    assert client.get_model_version_by_alias(NAME, "champion").version == 1


def test_a_name_of_ones_own(project):
    assert project.kedro("--params=registration.model_name=mine").exit_code == 0
    assert project.client().get_model_version_by_alias("mine", "champion").version == 1
