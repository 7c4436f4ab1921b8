import sqlite3
import time

import mlflow
import pytest

from pipelines.clients.store import anchored_uri, check_reachable, database_uri
from unlabeled.errors import UnlabeledError


@pytest.mark.parametrize("name", ["plain", "feature%2Fbyol", "what?", "a b é #1 'q' \"d\" @x:y", "100%", "%%?%3F"])
def test_a_database_lies_in_its_project_whatever_the_projects_name(tmp_path, name, database):
    project = tmp_path / name
    project.mkdir()
    (project / "mlflow.db").write_bytes(database.read_bytes())
    uri = anchored_uri("sqlite:///mlflow.db", project)
    check_reachable(uri)
    mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri).create_experiment(name)
    with sqlite3.connect(project / "mlflow.db") as connection:
        assert (name,) in connection.execute("select name from experiments").fetchall()
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_only_relative_databases_are_anchored(tmp_path):
    for uri in (
        "sqlite:////elsewhere/mlflow.db",
        "http://host:5000",
        "postgresql://host/db",
        "sqlite+pysqlite:///x.db",
    ):
        assert anchored_uri(uri, tmp_path) == uri
    assert anchored_uri("sqlite:///a%20b/mlflow.db", tmp_path) == database_uri(tmp_path / "a b" / "mlflow.db")


def test_a_uri_that_leads_nowhere_is_told_at_once(tmp_path):
    (tmp_path / "feature%2Fbyol").mkdir()
    began = time.monotonic()
    with pytest.raises(UnlabeledError, match="feature/byol, which does not exist: in a URI write % as %25"):
        check_reachable(f"sqlite:///{tmp_path}/feature%2Fbyol/mlflow.db")
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "postgresql://u:p@127.0.0.1:9/db"])
def test_a_server_that_does_not_answer_is_told_at_once(uri):
    began = time.monotonic()
    with pytest.raises(UnlabeledError, match=r"does not answer .*unset MLFLOW_TRACKING_URI"):
        check_reachable(uri)
    assert time.monotonic() - began < 10


def test_a_database_behind_a_socket_in_a_folder_is_left_to_its_driver():
    check_reachable("postgresql:///db?host=/run/postgresql")
