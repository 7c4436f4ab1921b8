"""The commit that a run is made from, and what differs from it."""

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from unlabeled.errors import UnlabeledError

COMMIT, DIRTY = "mlflow.source.git.commit", "git_dirty"
"""The tags of a run and of a version that `git_state` gives."""
WRITTEN = [":!dvc.lock", ":!stages/*/dvc.lock"]
"""What runs write, by which none is called changed."""
OURS = [".", *WRITTEN]
"""What a run is made from, of all that git knows."""
NEW = ["src", "pipelines", "conf", "stages", "scripts", *WRITTEN]
NEW += [":!conf/local", ":(exclude,glob)**/credentials*", ":(exclude,glob)**/.env*"]
"""Of what git does not know: code and configuration. Keys and passwords lie elsewhere."""
DVC_FILES = [":(glob)*.dvc", ":(glob)data/**/*.dvc"]
"""Of that, too. Apart, for git lists no repositories within where it is given a pattern."""
LARGEST_DIFF = 10_000_000
"""Bytes of changed files that are kept with a run."""


def git_state(project: Path, required: bool) -> dict[str, str]:
    """Tags with the commit and whether the work tree differs from it; none without git.

    Raises:
        UnlabeledError: `required`, and there is no commit to name.
    """
    try:
        commit = git(project, "rev-parse", "HEAD").decode().strip()
        return {COMMIT: commit, DIRTY: str(bool(_changed(project))).lower()}
    except UnlabeledError as error:
        if not required:
            return {}
        raise UnlabeledError(
            f"the run cannot name the commit it is made from ({error}): run `git init`, add and commit, or set "
            f"registration.require_git=false"
        ) from error


def is_dirty(tags: Mapping[str, str]) -> bool:
    """Whether the tags are of a work tree that differed from its commit."""
    return tags.get(DIRTY) == "true"


def changes(project: Path) -> bytes:
    """What turns the commit into the work tree, new files of code and configuration with it, for `git apply`.

    Raises:
        UnlabeledError: It is too much to keep, a file cannot be read, or a folder is a repository of its own.
    """
    changed = _changed(project)
    nested = [os.fsdecode(name) for name in changed if name.endswith(b"/")]
    if nested:
        raise UnlabeledError(f"{nested[0]} is a git repository of its own")
    files = [project / os.fsdecode(name) for name in changed]
    if sum(file.lstat().st_size for file in files if file.is_symlink() or file.is_file()) > LARGEST_DIFF:
        raise UnlabeledError(f"they are of more than {LARGEST_DIFF:,} bytes")
    with tempfile.TemporaryDirectory() as folder:  # an index of its own: the user's stays as it is
        index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
        git(project, "read-tree", "HEAD", **index)
        names = b"".join(name + b"\0" for name in changed)
        git(project, "update-index", "--add", "--remove", "--replace", "-z", "--stdin", given=names, **index)
        return git(project, "diff-index", "--cached", "--patch", "--binary", "--full-index", "HEAD", **index)


def git(project: Path, *arguments: str, given: bytes = b"", **variables: str) -> bytes:
    """What a git command prints, which reads `given`. Raises UnlabeledError with what git says on failing."""
    command = ["git", "-C", str(project), *arguments]
    try:
        done = subprocess.run(command, input=given, capture_output=True, env={**os.environ, **variables})
    except OSError as error:
        raise UnlabeledError(f"git cannot be run ({error})") from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        said = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[0])
        raise UnlabeledError(f"git {arguments[0]} failed ({said})")
    return done.stdout


def _changed(project: Path) -> list[bytes]:
    """The names of files that are not as the commit has them, below the project."""
    names = git(project, "diff", "--name-only", "--relative", "-z", "HEAD", "--", *OURS)
    for new in (NEW, DVC_FILES):
        names += git(project, "ls-files", "-z", "--others", "--exclude-standard", "--", *new)
    return sorted({name for name in names.split(b"\0") if name})
