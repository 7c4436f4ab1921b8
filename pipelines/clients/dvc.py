"""Calls of DVC's command line."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from unlabeled.errors import UnlabeledError
from unlabeled.runtime.progress import lines_while, waiting


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


def remotes(project: Path) -> dict[str, str]:
    """The URL of each remote by its name; folders are absolute paths."""
    from dvc.config import Config  # its import takes 0.2 s

    folder = project / ".dvc"
    return {name: remote["url"] for name, remote in Config(str(folder))["remote"].items()} if folder.is_dir() else {}


def _reason(done: subprocess.CompletedProcess) -> str:
    """The reason that a failed command printed, in one line."""
    lines = [line.strip() for line in f"{done.stderr}\n{done.stdout}".splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["no reason given"])[0]
