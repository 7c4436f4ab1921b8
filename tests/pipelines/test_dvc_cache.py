"""DVC unpickles what it finds in a folder: that is one of the user's own."""

import subprocess
import sys

from pipelines.clients.dvc import dvc


def test_dvc_keeps_what_it_knows_of_files_where_nobody_else_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DVC_SITE_CACHE_DIR", raising=False)
    project = tmp_path / "project"
    project.mkdir()
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=project, check=True)
    folder = tmp_path / "cache/unlabeled/dvc"
    assert str(folder) in dvc(project, "doctor") and folder.stat().st_mode & 0o777 == 0o700
    chosen = tmp_path / "chosen"
    subprocess.run([sys.executable, "-m", "dvc", "config", "core.site_cache_dir", str(chosen)], cwd=project, check=True)
    assert str(chosen) in dvc(project, "doctor")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "by variable"))
    assert "by variable" in dvc(project, "doctor")
