"""No password of an address is shown, logged or recorded, whichever library wrote it."""

import logging

import pytest
from mlflow.exceptions import MlflowException

from pipelines.commands.retrain import retrain
from pipelines.masking import exit_with_masked_traceback, masked_traceback

ADDRESS = "postgresql://mlflow:hunter2@127.0.0.1:9/mlflow"
SHOWN = "postgresql://mlflow:***@127.0.0.1:9/mlflow"


def test_a_log_record_of_any_library_is_masked(caplog):
    logger = logging.getLogger("some.library")
    logger.warning("no answer from %s", ADDRESS)
    try:
        raise ConnectionError(ADDRESS)
    except ConnectionError:
        logger.exception("it failed")
    logger.warning("a hundred %% of %s", {"url": ADDRESS})
    assert "hunter2" not in caplog.text and caplog.text.count(SHOWN) == 3 and "ConnectionError" in caplog.text


def test_a_log_record_without_a_password_keeps_its_arguments():
    record = logging.getLogRecordFactory()("some.library", logging.WARNING, "", 0, "%d of %s", (1, "two"), None)
    assert record.args == (1, "two")


def test_a_traceback_that_nobody_has_foreseen_is_masked(capsys):
    with pytest.raises(SystemExit) as ended:
        exit_with_masked_traceback(RuntimeError(f"cannot reach {ADDRESS}"))
    assert ended.value.code == 1 and capsys.readouterr().err == f"RuntimeError: cannot reach {SHOWN}\n"
    assert masked_traceback(RuntimeError("cannot reach it")) == ""


def test_a_retraining_leaves_no_password_wherever_it_reports(tmp_path, monkeypatch):
    def fail(project, method):
        raise MlflowException(f"{ADDRESS} does not answer")

    (tmp_path / "data/08_reporting").mkdir(parents=True)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    monkeypatch.setattr("pipelines.commands.retrain.add_stages", fail)
    with pytest.raises(MlflowException):
        retrain(tmp_path, None, "byol")
    left = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert len([text for text in left if r"mlflow:\*\*\*" in text]) == 2  # in Markdown
    assert not [text for text in left if "hunter2" in text]


@pytest.mark.parametrize(
    "address",
    [
        "http://mlflow:hunter2@127.0.0.1:9",
        "http://127.0.0.1:9/?token=hunter2",
        ADDRESS,
        "oracle+cx_oracle://u:hunter2@127.0.0.1:9/x",
        "https://hunter2@mlflow.invalid",
        "nosuch://u:hunter2@host",
    ],
)
@pytest.mark.parametrize("command", [["champion"], ["run", "--pipeline=ingestion"]])
def test_an_address_that_does_not_answer_is_said_without_its_password(project, address, command):
    result = project.shell("kedro", *command, MLFLOW_TRACKING_URI=address)
    said = result.stdout + result.stderr
    assert result.returncode == 1 and "hunter2" not in said and "***" in said, said
    assert "Traceback" not in said
