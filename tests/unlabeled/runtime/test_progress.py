import io
import logging
import re
import time

import pytest
import rich

from unlabeled.runtime import progress
from unlabeled.runtime.progress import LOGGERS, bar, be_quiet, lines_while, waiting


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
    with bar("probing", 3, "kinds", done=1) as shown_bar:
        shown_bar.advance(2, "· pca 90 %")
    return file.getvalue()


def test_a_bar_tells_what_is_done_of_what(loud):
    written = shown()
    assert "probing" in written and "3/3" in written and "kinds" in written and "· pca 90 %" in written


def test_without_a_terminal_there_is_no_bar(loud):
    assert shown(terminal=False).strip() == ""


@pytest.fixture
def log(loud, caplog, monkeypatch):
    """A function that returns the lines of a log without a terminal, after some of the minutes between them."""
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.02)
    rich.reconfigure(file=io.StringIO(), force_terminal=False)

    def lines(expected):
        end = time.monotonic() + 30
        while not any(expected in message for message in caplog.messages) and time.monotonic() < end:
            time.sleep(0.01)
        return caplog.messages

    return lines


def test_without_a_terminal_a_line_says_what_is_done_and_how_long_the_rest_takes(log):
    with bar("probing", 3, "kinds", done=1) as shown:
        assert "probing: 1 of 3 kinds" in log("probing")
        shown.advance(1, "· pca 90 %")
        assert re.search(r"probing: 2 of 3 kinds, \d+ s left · pca 90 %$", "\n".join(log("2 of 3")), re.MULTILINE)
    told = len(log("probing"))
    time.sleep(0.1)
    assert len(log("probing")) == told  # no more once it has ended


def test_work_that_cannot_be_counted_is_told_too_and_only_by_the_innermost(log, caplog):
    with waiting("evaluation"):
        assert log("evaluation: at work for")
        with bar("probing", None, "kinds"):
            assert "probing: 0 kinds" in log("probing")
            caplog.clear()
            log("probing")
            time.sleep(0.1)
            assert not any("evaluation" in message for message in caplog.messages)
    with lines_while("dvc repro"):
        assert log("dvc repro: at work for 0 s")


def test_quiet_leaves_no_lines(log, caplog):
    be_quiet()
    with waiting("evaluation"):
        time.sleep(0.1)
    assert not caplog.messages


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
    with waiting("evaluation"), bar("probing", 3, "kinds") as shown_bar:
        shown_bar.advance(3)
    assert "evaluation" in file.getvalue() and "3/3" in file.getvalue()
    assert file.getvalue().rstrip().endswith("\x1b[2K")  # its line is wiped
