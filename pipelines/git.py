"""The commit that a run is made from."""

import subprocess
from pathlib import Path

from unlabeled.errors import UnlabeledError


def git_state(project: Path, required: bool) -> dict[str, str]:
    """Tags with the commit and whether the code or the configuration differs from it; none without git.

    Raises:
        UnlabeledError: `required`, and there is no commit to name.
    """
    try:
        commit = _git(project, "rev-parse", "HEAD")
        changed = _git(project, "status", "--porcelain", "--", ".", ":!data", ":!dvc.lock")
    except (OSError, subprocess.CalledProcessError) as error:
        if not required:
            return {}
        why = getattr(error, "stderr", None) or str(error)
        raise UnlabeledError(
            f"the run cannot name the commit it is made from ({why.strip().splitlines()[0]}): run `git init`, add and "
            f"commit, or set registration.require_git=false"
        ) from error
    return {"mlflow.source.git.commit": commit, "git_dirty": str(bool(changed)).lower()}


def _git(project: Path, *arguments: str) -> str:
    command = ["git", "-C", str(project), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
