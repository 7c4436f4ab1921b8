"""Descriptions on MLflow's pages, in a registry of its own."""

import mlflow
import pytest

from pipelines.registry.notes import MAX_LENGTH, describe_model
from pipelines.registry.versions import set_champion


@pytest.fixture
def client(tmp_path, database):
    uri = f"sqlite:///{database}"
    client = mlflow.MlflowClient(uri, uri)
    client.create_registered_model("noted")
    yield client
    client.delete_registered_model("noted")


def registered(client, number, decision):
    tags = {"method": "byol", "decision": decision, "linear_probe_accuracy": "None", "knn_accuracy": "0.5"}
    client.create_model_version("noted", "/nowhere", tags={**tags, "test_images": "9"})
    assert str(client.get_model_version("noted", str(number)).version) == str(number)


def description(client, purpose="It is for tests."):
    describe_model(client, "noted", purpose)
    return client.get_registered_model("noted").description


def test_it_names_the_champion_and_the_last_decisions(client):
    registered(client, 1, "there was no champion")
    assert "There is none yet" in description(client)
    set_champion(client, "noted", "1")
    for number in range(2, 9):
        registered(client, number, f"not better: `{number}` <b>")
    told = description(client, "ignored, as there is a description")
    assert told.startswith('It is for tests.\n\nTo use it: `mlflow.pyfunc.load_model("models:/noted@champion")`')
    assert "Version 1, trained by byol: kNN 50.0 % of 9 test images." in told
    assert told.count("- version") == 5 and r"- version 8, byol: not better: \`8\` \<b\>" in told


def test_it_is_no_longer_than_mlflow_takes(client):
    for number in range(1, 7):
        registered(client, number, "*" * 5000)
    assert len(description(client)) <= MAX_LENGTH


def test_what_a_person_has_written_stays(client):
    registered(client, 1, "better")
    client.update_registered_model("noted", "Ask Ada.")
    assert description(client) == "Ask Ada."
    client.update_registered_model("noted", "Ask Ada.\n\n## Champion\n\nold")
    told = description(client)
    assert told.startswith("Ask Ada.\n\n## Champion\n\nThere is none yet") and "old" not in told
