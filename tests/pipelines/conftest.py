"""Real projects in temporary folders: Kedro, MLflow on SQLite, DVC and git, none of them mocked."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

import mlflow
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project
from PIL import Image
from sklearn.datasets import load_digits

from pipelines.cli import cli
from pipelines.clients.store import database_uri
from tests.pipelines import preloaded

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own classes, on import
    import kedro_mlflow.framework.hooks  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("conf", "pyproject.toml", "dvc.yaml", ".dvcignore", ".gitignore", ".telemetry")
LINKED = ("pipelines", "src", "scripts")
QUICK = {
    "ingestion": {"fraction": 0.3},
    "augmentation": {"views": 4},
    "pretraining": {"epochs": 2, "warmup_epochs": 1, "checkpoint_seconds": 0, "min_embedding_std": 0},
    "evaluation": {"draws": 2, "shots": [1, 5], "fractions": [0.1], "regularisation": [0.01, 0.1]},
    "registration": {"must_beat_baselines": False},  # two epochs on a third of the images do not
}
"""Changes to the default parameters: the same chain in seconds."""
STARTING = 180
"""Seconds at most that a server has to start."""
LEAKS = ("MAKE", "MFLAGS", "GNUMAKEFLAGS", "ARGS", "UNLABELED_", "KEDRO_ENV", "KEDRO_LOGGING", "DVC_REMOTE")
LEAKS += ("MLFLOW_TRACKING", "MLFLOW_REGISTRY", "MLFLOW_EXPERIMENT", "MLFLOW_RUN", "MLFLOW_ARTIFACT")
LEAKS += ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")
"""How the names of variables begin by which a shell, make or a hook of git would reach into the tests' projects."""
REMOTE = """    remote = store
['remote "store"']
    url = ../.dvc_remote
"""
"""The end of DVC's configuration, where a folder in the project is the remote."""
GIT = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]


def pytest_itemcollected(item):
    """Warnings of our own code are errors here too; those that Kedro, MLflow and DVC cause each other are not ours."""
    item.add_marker(pytest.mark.filterwarnings("ignore:::(?!unlabeled|pipelines)"))


def without_leaks(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which a project of the tests is on its own."""
    return {name: value for name, value in environment.items() if not name.startswith(LEAKS)}


sys.modules.setdefault("ibis", None)  # not installed, and looked for anew at each parameter of each run


for leak in os.environ.keys() - without_leaks(os.environ).keys():
    del os.environ[leak]


class Project:
    """A project of its own. `kedro` runs a command in this process, `shell` any command in another."""

    root = ROOT
    """Of the repository that is tested."""
    server: preloaded.Server | None = None
    """What starts `kedro` and `dvc` without importing torch and MLflow again, where there is one."""

    def __init__(self, path: Path):
        self.path = path

    def kedro(self, *arguments: str):
        """The result of `kedro run` and these arguments: `exit_code` and `output`."""
        return self.command("run", *arguments)

    def command(self, *arguments: str):
        """The result of another of the project's commands."""
        before = Path.cwd()
        os.chdir(self.path)
        try:
            bootstrap_project(self.path)
            with self.served():
                return CliRunner().invoke(cli, arguments)
        finally:
            os.chdir(before)
            while mlflow.active_run():
                mlflow.end_run()

    @contextmanager
    def served(self):
        """While its context lasts, what this process starts by `sys.executable` is started by the server."""
        python = sys.executable
        if self.server:
            sys.executable = str(self.server.bin / "python")
        try:
            yield
        finally:
            sys.executable = python

    def shell(self, *command: str, **variables: str) -> subprocess.CompletedProcess:
        return subprocess.run(command, cwd=self.path, env=self.environment(**variables), capture_output=True, text=True)

    def start(self, *command: str, **variables: str) -> subprocess.Popen:
        """Starts a command without waiting for its end: the real executables, which know what a signal is."""
        silent = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=self.path, env=self.real_environment(**variables), **silent)

    def environment(self, **variables: str) -> dict[str, str]:
        """That of `real_environment`, with the executables of the server before all others."""
        real = self.real_environment()
        path = f"{self.server.bin}{os.pathsep}{real['PATH']}" if self.server else real["PATH"]
        return {**real, "PATH": path, **variables}

    def real_environment(self, **variables: str) -> dict[str, str]:
        """Of another process: without what MLflow has left in this one's."""
        inherited = without_leaks(os.environ)
        binaries = Path(sys.executable).parent
        return {**inherited, "PATH": f"{binaries}{os.pathsep}{inherited['PATH']}", **variables}

    def client(self) -> mlflow.MlflowClient:
        uri = database_uri(self.path / "mlflow.db")
        return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)

    def runs(self):
        """MLflow's runs, the latest first."""
        experiment = self.client().get_experiment_by_name("unlabeled")
        return self.client().search_runs([experiment.experiment_id])

    def json(self, name: str):
        """What a JSON file of the project holds."""
        return json.loads((self.path / name).read_text())

    def files(self) -> dict[str, bytes]:
        """What every file of data holds, by name."""
        files = sorted(path for path in (self.path / "data").rglob("*") if path.is_file() and path.name != ".lock")
        return {path.relative_to(self.path).as_posix(): path.read_bytes() for path in files}

    def outputs(self) -> dict[str, bytes]:
        """Those of them that a stage promises: all but the baselines, which are kept for every method."""
        kept = "data/04_feature/baselines/"
        return {name: content for name, content in self.files().items() if not name.startswith(kept)}

    def commit(self, message: str) -> str:
        """Commits all that git does not ignore; the names of the files in the commit."""
        for command in (["add", "-A"], ["commit", "-q", "-m", message]):
            subprocess.run([*GIT, *command], cwd=self.path, check=True)
        show = ["git", "show", "--name-only", "--format="]
        return subprocess.run(show, cwd=self.path, check=True, capture_output=True, text=True).stdout

    def track_data(self) -> None:
        """Sets DVC up as in this repository, with a folder in the project as the remote."""
        subprocess.run(["dvc", "init", "-q"], cwd=self.path, env=self.environment(), check=True)
        (self.path / ".dvc/config").write_text((ROOT / ".dvc/config").read_text() + REMOTE)

    def copy(self, path: Path) -> "Project":
        """A project with the same files, to do with as one likes; its registry knows the same versions."""
        shutil.copytree(self.path, path, symlinks=True)
        return Project(path)

    def photos(self, start: int, stop: int) -> None:
        """Adds digits to the raw data, as PNG files in a folder a class."""
        digits = load_digits()
        for number in range(start, stop):
            file = self.path / f"data/01_raw/photos/{digits.target[number]}/{number:04d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((digits.images[number] * (255 / 16)).round().astype(np.uint8)).save(file)

    def set(self, **blocks: dict) -> None:
        """Changes keys of conf/base/parameters.yml."""
        path = self.path / "conf/base/parameters.yml"
        parameters = yaml.safe_load(path.read_text())
        for block, values in blocks.items():
            parameters[block].update(values)
        path.write_text(yaml.safe_dump(parameters))


@pytest.fixture(scope="session", autouse=True)
def settings_of_the_user(tmp_path_factory):
    """The folder of the user's settings, where the key lies that versions are signed with."""
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("settings"))


@pytest.fixture(scope="session")
def forks():
    """The server of preloaded libraries, on Linux and with one thread: a fork has no others."""
    if not hasattr(os, "pidfd_open") or os.environ.get("OMP_NUM_THREADS") != "1":
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="preloaded-") as folder:  # a short name, as a socket's has to be
        Project.server = preloaded.Server(Path(folder))
        yield Project.server
        Project.server.stop()
        Project.server = None


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """An empty MLflow database: migrating a new one takes seconds."""
    return empty_database(tmp_path_factory.mktemp("mlflow"))


def empty_database(folder: Path) -> Path:
    """Makes one there."""
    path = folder / "mlflow.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def make_project(database, forks):
    """A function that makes a project of quick parameters, in which nothing has run."""
    return lambda path: new_project(path, database)


def new_project(path: Path, database: Path) -> Project:
    """Makes a project of quick parameters, with a copy of the database."""
    path.mkdir()
    for name in COPIED:
        source = ROOT / name
        shutil.copytree(source, path / name) if source.is_dir() else shutil.copy(source, path / name)
    for name in LINKED:
        (path / name).symlink_to(ROOT / name)
    (path / "data/01_raw").mkdir(parents=True)
    shutil.copy(database, path / "mlflow.db")
    project = Project(path)
    project.set(**QUICK)
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=path, check=True)
    project.commit("a project")
    return project


@pytest.fixture
def project(tmp_path, make_project):
    """A project in which nothing has run."""
    return make_project(tmp_path / "project")


@pytest.fixture(scope="session")
def trained(tmp_path_factory, make_project):
    """A project in which BYOL has run once; a test leaves the files of its data as they are."""
    project = make_project(tmp_path_factory.mktemp("trained") / "project")
    result = project.kedro("--pipeline=byol")
    assert result.exit_code == 0, result.output
    return project


@pytest.fixture
def registered(tmp_path, trained):
    """A copy of the project in which BYOL has run."""
    return trained.copy(tmp_path / "registered")


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Twenty of scikit-learn's digits as files, and one that is no image."""
    folder = tmp_path_factory.mktemp("photos")
    for number, pixels in enumerate(load_digits().images[:20]):
        Image.fromarray((pixels * (255 / 16)).round().astype(np.uint8)).save(folder / f"{number:02d}.png")
    (folder / "notes.bin").write_text("no image")
    return folder


class Server:
    """`mlflow models serve` at work."""

    def __init__(self, process: subprocess.Popen, address: str, log: Path):
        self.process, self.address, self.log = process, address, log

    def wait(self) -> None:
        end = time.monotonic() + STARTING
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.address}/ping", timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        pytest.fail(self.log.read_text())

    def answer(self, **request):
        """The status of an answer, and what it says."""
        content = json.dumps(request).encode()
        post = urllib.request.Request(f"{self.address}/invocations", content, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(post, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@pytest.fixture(scope="session")
def serve(tmp_path_factory):
    """A function that serves a project's champion, a real server on the loopback address, while its context lasts."""

    @contextmanager
    def serving(project, name):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = ["mlflow", "models", "serve", "-m", f"models:/{name}@champion", "--env-manager", "local"]
        environment = project.environment(MLFLOW_TRACKING_URI=f"sqlite:///{project.path / 'mlflow.db'}")
        log = tmp_path_factory.mktemp("server") / "log"
        with log.open("w") as file:
            output = {"stdout": file, "stderr": file, "start_new_session": True}
            process = subprocess.Popen([*command, "--port", str(port)], env=environment, **output)
        try:
            server = Server(process, f"http://127.0.0.1:{port}", log)
            server.wait()
            yield server
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()

    return serving
