"""Calls of DVC's command line."""

import logging
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from unlabeled.errors import UnlabeledError
from unlabeled.runtime.progress import lines_while, waiting

logger = logging.getLogger(__name__)


def dvc(project: Path, *arguments: str, shown: bool = False, **variables: str) -> str:
    """The output of a DVC command; empty where `shown`, which prints the output on the terminal.

    Args:
        variables: Environment variables to add.

    Raises:
        UnlabeledError: The command failed; with the reason.
    """
    command = [sys.executable, "-m", "dvc", *arguments]
    # DVC's stages call the commands of this environment.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**_own_cache(project), **os.environ, "PATH": path, **variables}
    run = partial(subprocess.run, command, cwd=project, env=environment, text=True)
    with (lines_while if shown else waiting)(f"dvc {arguments[0]}"):
        done = run(capture_output=not shown)
    if done.returncode:
        raise UnlabeledError(f"dvc {arguments[0]} failed ({'see above' if shown else _reason(done)})")
    return done.stdout or ""


def _own_cache(project: Path) -> dict[str, str]:
    """The variable that gives DVC a private cache folder, unless DVC's configuration names a folder.

    By default DVC caches the state of files in /var/tmp/dvc, which every user of the machine may write to, and
    unpickles the files that it finds there (CVE-2025-69872 of diskcache).
    """
    from dvc.config import Config  # its import takes 0.2 s

    if Config(str(project / ".dvc"))["core"].get("site_cache_dir"):
        return {}
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unlabeled" / "dvc"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:  # no home to write to
        return {}
    return {"DVC_SITE_CACHE_DIR": str(folder)}


def remote(project: Path) -> str:
    """The URL of the default remote, an absolute path for a folder; empty where there is none."""
    from dvc.config import Config  # its import takes 0.2 s

    config = Config(str(project / ".dvc"))
    return config["remote"].get(config["core"].get("remote"), {}).get("url", "")


def add_stages(project: Path, method: str) -> None:
    """Writes the stages of a method to `dvc.yaml` where it lacks them.

    Where nothing has run yet, they replace the stages in the file: DVC cannot pull what no stage has made.

    Raises:
        UnlabeledError: The script that generates `dvc.yaml` failed.
    """
    file = project / "dvc.yaml"
    if file.exists() and f"\n  pretraining-{method}:" in file.read_text():
        return
    command = [sys.executable, "scripts/dvc_yaml.py", f"--add={method}"]
    with waiting("dvc.yaml"):
        done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UnlabeledError(f"the stages of {method} cannot be written to dvc.yaml ({reason})")
    logger.info("dvc.yaml has the stages of %s now", method)


def _reason(done: subprocess.CompletedProcess) -> str:
    """The reason that a failed command printed, in one line."""
    lines = [line.strip() for line in f"{done.stderr}\n{done.stdout}".splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["no reason given"])[0]
