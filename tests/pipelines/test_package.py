"""The wheel that `kedro package` makes, apart from the repository that it is made of."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.commands.package import make_package
from tests.pipelines.conftest import without_leaks
from unlabeled.errors import UnlabeledError

ROOT = Path(__file__).resolve().parents[2]
BUILD = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]


KEYS = ("src/unlabeled/id_rsa", "src/unlabeled/reports/templates/key.pem")
KEYS += ("pipelines/.env", "pipelines/credentials.json")
"""Files that lie among the code by mistake."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the wheel is unpacked to."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("src", "pipelines"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    for name in KEYS:
        (source / name).write_text("hunter2")
    subprocess.run([*BUILD, "--outdir", folder], cwd=source, check=True, capture_output=True)
    zipfile.ZipFile(*folder.glob("*.whl")).extractall(folder)
    return folder


def test_the_wheel_has_every_file_of_both_packages(installed):
    for name, place in (("unlabeled", ROOT / "src"), ("pipelines", ROOT)):
        files = {path.relative_to(place) for path in (place / name).rglob("*") if path.suffix in (".py", ".j2")}
        assert files and {path for path in files if not (installed / path).exists()} == set()


def test_the_wheel_has_no_keys(installed):
    files = [path for path in installed.rglob("*") if path.is_file()]
    assert files and not [path for path in files if path.read_bytes() == b"hunter2"]


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A project of which Kedro makes no wheel, for that takes an index of packages."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "dist").mkdir()
    monkeypatch.setattr("pipelines.commands.package.kedro_package.callback.__wrapped__", lambda metadata: None)
    return SimpleNamespace(project_path=tmp_path, package_name="pipelines")


def test_the_archive_of_the_configuration_has_no_keys_and_nothing_of_conf_local(sources):
    names = (
        "local/credentials.yml",
        "local/key.pem",
        "base/server.pem",
        "base/credentials.yml",
        "photos/.env",
        "token",
    )
    for name in names:
        (sources.project_path / "conf" / name).write_text("password: hunter2")
    (sources.project_path / "conf/base/linked.yml").symlink_to("/etc/hostname")
    make_package(sources)
    with tarfile.open("dist/conf-pipelines.tar.gz") as archive:
        packed = set(archive.getnames())
        assert not [each for each in archive if each.isfile() and b"hunter2" in archive.extractfile(each).read()]
    kept = {path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*.yml") if "local" not in path.parts}
    assert packed == kept | {"conf/local"}


def test_a_secret_in_the_configuration_is_not_packed(sources):
    (sources.project_path / "conf/base/x.yml").write_text("password: hunter2\n")
    with pytest.raises(UnlabeledError, match="conf/base/x.yml, line 1: Secret Keyword"):
        make_package(sources)
    assert not list(Path("dist").iterdir())


def test_the_wheel_runs_in_a_folder_that_has_the_configuration_alone(installed, tmp_path):
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    command, environment = (
        [sys.executable, "-m", "pipelines"],
        {**without_leaks(os.environ), "PYTHONPATH": str(installed)},
    )
    process = partial(subprocess.run, cwd=tmp_path, env=environment, capture_output=True, text=True)
    result = process([*command, "run", "--pipeline=byol", "--tags=ingestion"])
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "data/02_intermediate/images.npy").exists()
    assert "has no unlabeled-digits" in process([*command, "champion"]).stderr
