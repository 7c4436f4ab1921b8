"""The server's forks are processes like those of the real executables."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pipelines.test_faults import wait_for

PROGRAM = """
import json, os, sys, threading
print(json.dumps([sys.argv, sys.executable, os.getcwd(), dict(os.environ), sys.path, "torch" in sys.modules]))
print(sys.stdin.read(), file=sys.stderr)
threading.Thread(target=lambda: print("late")).start()
sys.exit(int(os.environ.get("CODE", 0)))
"""
WAITS = """
import os, subprocess, sys, time
other = subprocess.Popen(["sleep", "600"])
with open("pids.partial", "w") as file:
    file.write(f"{os.getpid()} {other.pid}")
os.rename("pids.partial", "pids")
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def served(forks):
    if forks is None:
        pytest.skip("commands are served on Linux, with OMP_NUM_THREADS=1")


@pytest.fixture
def start(tmp_path, project):
    """Starts a program of our own under the name of one that is served: `python -m pipelines.one_method`."""
    package = tmp_path / "site/pipelines"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()

    def started(program, **variables):
        (package / "one_method.py").write_text(program)
        environment = project.environment(PYTHONPATH=str(package.parent), **variables)
        command = ["python", "-m", "pipelines.one_method", "an argument", "--option"]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **pipes)

    return started


@pytest.fixture
def waiting(start, tmp_path):
    """A command that does not end by itself, and the processes that it consists of."""
    process = start(WAITS)
    wait_for((tmp_path / "pids").exists, process)
    yield process, [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    process.kill()
    process.communicate()


def is_alive(pid):
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends(pids):
    end = time.monotonic() + 60
    while any(is_alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.01)
    return not any(is_alive(pid) for pid in pids)


@pytest.mark.parametrize("code", [0, 11])
def test_a_fork_has_the_streams_the_environment_and_the_exit_code_of_its_command(start, tmp_path, forks, code):
    process = start(PROGRAM, CODE=str(code), OTHER="ü\n")
    output, errors = process.communicate("from outside")
    first, *rest = output.splitlines()
    arguments, executable, folder, environment, path, preloaded = json.loads(first)
    assert process.returncode == code and errors == "from outside\n" and rest == ["late"]
    assert arguments[0].endswith("one_method.py") and arguments[1:] == ["an argument", "--option"]
    assert executable == str(forks.bin / "python") and folder == str(tmp_path) and preloaded
    assert environment["OTHER"] == "ü\n" and environment["CODE"] == str(code)
    assert path[:2] == [str(tmp_path), str(tmp_path / "site")]


def test_an_error_that_nobody_catches_is_told_as_by_an_interpreter(start):
    process = start("raise ValueError('of this kind')")
    assert process.communicate()[1].endswith("ValueError: of this kind\n") and process.returncode == 1
    process = start("raise SystemExit('in a word')")
    assert process.communicate()[1] == "in a word\n" and process.returncode == 1


def test_a_signal_reaches_the_fork_and_its_end_is_the_commands(waiting):
    process, (own, other) = waiting
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == -signal.SIGTERM and ends([own]) and is_alive(other)
    os.kill(other, signal.SIGKILL)


def test_a_killed_command_takes_its_fork_and_what_that_has_started_with_it(waiting):
    process, pids = waiting
    process.kill()
    assert process.wait(60) == -signal.SIGKILL and ends(pids)


def test_what_is_not_served_is_executed_as_it_is(project):
    told = "import sys; print(sys.prefix, sys.executable, 'torch' in sys.modules)"
    assert project.shell("python", "-c", told).stdout.split() == [sys.prefix, sys.executable, "False"]
    threads = project.shell("dvc", "--version", OMP_NUM_THREADS="3")
    assert threads.returncode == 0 and threads.stdout
