"""The commit that a run is made from, and what differs from it."""

import os
import subprocess
import tempfile
from pathlib import Path

from unlabeled.errors import UnlabeledError

OURS = [".", ":!dvc.lock", ":!stages/*/dvc.lock"]
"""What a run is made from: all but what runs write."""
LARGEST_DIFF = 10_000_000
"""Bytes of changed files that are kept with a run."""


def git_state(project: Path, required: bool) -> dict[str, str]:
    """Tags with the commit and whether the work tree differs from it; none without git.

    Raises:
        UnlabeledError: `required`, and there is no commit to name.
    """
    try:
        commit = git(project, "rev-parse", "HEAD").decode().strip()
        changed = git(project, "status", "--porcelain", "--", *OURS)
    except (OSError, subprocess.CalledProcessError) as error:
        if not required:
            return {}
        why = getattr(error, "stderr", None) or str(error).encode()
        raise UnlabeledError(
            f"the run cannot name the commit it is made from ({why.decode().strip().splitlines()[0]}): run `git init`, "
            f"add and commit, or set registration.require_git=false"
        ) from error
    return {"mlflow.source.git.commit": commit, "git_dirty": str(bool(changed)).lower()}


def changes(project: Path) -> bytes | None:
    """What turns the commit into the work tree, new files with it, for `git apply`; None: it is too much to keep."""
    listed = git(project, "ls-files", "-z", "--modified", "--others", "--exclude-standard", "--", *OURS)
    files = [project / os.fsdecode(name) for name in listed.split(b"\0") if name]
    if sum(file.stat().st_size for file in files if file.is_file()) > LARGEST_DIFF:
        return None
    with tempfile.TemporaryDirectory() as folder:  # an index of its own: the user's stays as it is
        index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
        git(project, "read-tree", "HEAD", **index)
        git(project, "add", "--all", "--", *OURS, **index)
        return git(project, "diff", "--cached", "--binary", "HEAD", **index)


def git(project: Path, *arguments: str, **variables: str) -> bytes:
    """What a git command prints. Raises CalledProcessError with what it says on failing."""
    command = ["git", "-C", str(project), *arguments]
    return subprocess.run(command, check=True, capture_output=True, env={**os.environ, **variables}).stdout
