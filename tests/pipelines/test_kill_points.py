"""The README's proof that killed commands are completed, on few points."""

from scripts.kill_points import kill_points


def test_killed_runs_are_completed(tmp_path):
    assert kill_points(tmp_path, points=3, names="run")["completed"] == 3
