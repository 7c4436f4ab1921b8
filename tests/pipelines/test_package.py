"""The wheel that `kedro package` makes, apart from the repository that it is made of."""

import os
import shutil
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the wheel is unpacked to."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("src", "pipelines"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    subprocess.run([*BUILD, "--outdir", folder], cwd=source, check=True, capture_output=True)
    zipfile.ZipFile(*folder.glob("*.whl")).extractall(folder)
    return folder


def test_the_wheel_has_every_file_of_both_packages(installed):
    for name, place in (("unlabeled", ROOT / "src"), ("pipelines", ROOT)):
        files = {path.relative_to(place) for path in (place / name).rglob("*") if path.suffix in (".py", ".j2")}
        assert files and {path for path in files if not (installed / path).exists()} == set()


def test_the_wheel_runs_in_a_folder_that_has_the_configuration_alone(installed, tmp_path):
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    command, environment = [sys.executable, "-m", "pipelines"], {**os.environ, "PYTHONPATH": str(installed)}
    process = partial(subprocess.run, cwd=tmp_path, env=environment, capture_output=True, text=True)
    result = process([*command, "run", "--pipeline=byol", "--tags=ingestion"])
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "data/02_intermediate/images.npy").exists()
    assert "has no unlabeled-digits" in process([*command, "champion"]).stderr
