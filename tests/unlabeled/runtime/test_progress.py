import io
import logging

import pytest
import rich

from unlabeled.runtime.progress import LOGGERS, bar, be_quiet, waiting


@pytest.fixture
def loud():
    """Loggers that tell what goes well; their levels and the terminal are given back."""
    before = {name: logging.getLogger(name).level for name in LOGGERS}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)
    rich.reconfigure()


def shown(terminal=True):
    """What a bar over three units writes."""
    file = io.StringIO()
    rich.reconfigure(file=file, force_terminal=terminal, width=120)
    with bar("probing", 3, "kinds", done=1) as progress:
        progress.advance(2, "· pca 90 %")
    return file.getvalue()


def test_a_bar_tells_what_is_done_of_what(loud):
    written = shown()
    assert "probing" in written and "3/3" in written and "kinds" in written and "· pca 90 %" in written


def test_without_a_terminal_there_is_no_bar(loud):
    assert shown(terminal=False).strip() == ""


def test_quiet_leaves_no_bar(loud):
    be_quiet()
    assert "probing" not in shown()


@pytest.mark.parametrize("name", ["unlabeled", "unlabeled.training.loop", "pipelines", "pipelines.images.model"])
def test_quiet_leaves_warnings_and_errors_alone(loud, caplog, name):
    logging.getLogger(name).info("heard")
    be_quiet()
    logging.getLogger(name).info("all is well")
    logging.getLogger(name).warning("take care")
    assert [record.getMessage() for record in caplog.records] == ["heard", "take care"]


def test_quiet_is_of_this_project_alone(loud, caplog):
    caplog.set_level(logging.INFO, "others")
    be_quiet()
    logging.getLogger("others").info("still heard")
    assert "still heard" in caplog.text


def test_a_spinner_turns_while_work_goes_on_and_leaves_nothing(loud):
    file = io.StringIO()
    rich.reconfigure(file=file, force_terminal=True, width=120)
    with waiting("evaluation"), bar("probing", 3, "kinds") as progress:
        progress.advance(3)
    assert "evaluation" in file.getvalue() and "3/3" in file.getvalue()
    assert file.getvalue().rstrip().endswith("\x1b[2K")  # its line is wiped
