"""The proof that killed commands are completed, on one point; `make test-all` has three, and by hand there are many."""

import pytest

from scripts.kill_points import kill_points


@pytest.mark.slow
def test_a_killed_run_is_completed(tmp_path):
    assert kill_points(tmp_path, points=1, names="run")["completed"] == 1
