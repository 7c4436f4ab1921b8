"""The commit that a run is made from, and the changed files that the run may load."""

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from unlabeled.errors import UnlabeledError
from unlabeled.runtime.legible import legible

COMMIT, DIRTY = "mlflow.source.git.commit", "git_dirty"
"""Tags of a run and of a version: the commit, and whether code or configuration differed from it."""
LACKS = "record_lacks"
"""The tag that lists changed files which a run may load but its record does not hold; empty: none."""
CODE_ENDINGS = (".py", ".j2")
LOADED = {
    **dict.fromkeys(("src", "pipelines", "scripts"), CODE_ENDINGS),
    "conf": (".yml", ".yaml"),
    "stages": (".yaml",),
}
"""The file endings that a record holds, by folder; TOP and `.dvc` files are recorded as well."""
TOP = ("dvc.yaml", "requirements.lock", "pyproject.toml", "Makefile")
"""Files in the project's root that a record holds."""
DVC_FILES = [":(glob)*.dvc", ":(glob)data/**/*.dvc"]
"""Patterns of `.dvc` files. They are listed in a call of their own: given a pattern, git omits nested repositories."""
WRITTEN_BY_DVC = ["dvc.lock", ":(glob)data/**/.gitignore"]
"""Patterns of files that no run loads, but that belong into the commit of a run."""
SECRET = re.compile(
    r"credential|secret|passw(or)?d|netrc|htpasswd|kubeconfig|service[-_]?account|api[-_]?key|private[-_]?key"
    r"|^\.(env|ssh|aws)|^id_\w+$|\.(pem|key|p12|pfx|p8|jks|keystore|kdbx|ppk|asc|gpg|der|crt|cer)$"
    r"|(^|[^a-z])tokens?(\.(?!py$|j2$)\w+)*$"
)
"""Names of files and folders that may hold keys or passwords, in lower case."""
MAX_DIFF_BYTES = 10_000_000
"""Largest total size of the changed files that a record keeps, in bytes."""
MAX_LISTED_FILES = 10
"""Largest number of files that a message names."""


class Changes(NamedTuple):
    """Files that differ from the commit, as paths relative to the project.

    Attributes:
        recorded: Files that a record holds.
        left_out: Files that a record omits although a run may load them, and tracked files with the name of a secret.
    """

    recorded: list[str]
    left_out: list[str]


def git_state(project: Path, required: bool) -> dict[str, str]:
    """Tags with the commit, whether code or configuration differ from it, and which changed files no record holds.

    `.dvc` files do not count: a retraining writes them itself, and the data have a digest of their own.

    Returns:
        The tags; none where there is no git repository and `required` is false.

    Raises:
        UnlabeledError: `required`, and there is no commit to name.
    """
    try:
        commit = git(project, "rev-parse", "HEAD").decode().strip()
        changes = changed_files(project)
    except UnlabeledError as error:
        if not required:
            return {}
        raise UnlabeledError(
            f"the run cannot name the commit it is made from ({error}): run `git init`, add and commit, or set "
            f"registration.require_git=false"
        ) from error
    changed = [name for name in changes.recorded if not name.endswith(".dvc")] + changes.left_out
    return {COMMIT: commit, DIRTY: str(bool(changed)).lower(), LACKS: named(changes.left_out)}


def is_dirty(tags: Mapping[str, str]) -> bool:
    """Whether code or configuration differed from the commit, by the tags of a run or version."""
    return tags.get(DIRTY) == "true"


def is_recorded(name: str) -> bool:
    """Whether a record holds a file of this name, relative to the project: code and configuration, no secrets."""
    path = PurePosixPath(name)
    if is_secret(name) or _is_hidden(path):
        return False
    return name in TOP or path.suffix == ".dvc" or path.suffix in LOADED.get(path.parts[0], ())


def is_secret(name: str) -> bool:
    """Whether a file of this name, relative to the project, holds keys or passwords."""
    parts = PurePosixPath(name.lower()).parts
    return parts[:2] == ("conf", "local") or any(SECRET.search(part) for part in parts)


def changed_files(project: Path) -> Changes:
    """The files below the project that differ from the commit, without those that no run loads.

    Raises:
        UnlabeledError: A folder of code or configuration is a repository of its own.
    """
    known = _listed(project, "diff", "--name-only", "--relative", "-z", "HEAD", "--", ".")
    new = _listed(project, "ls-files", "-z", "--others", "--exclude-standard", "--", *LOADED, *TOP)
    new |= _listed(project, "ls-files", "-z", "--others", "--exclude-standard", "--", *DVC_FILES)
    if nested := sorted(name for name in known | new if name.endswith("/")):
        raise UnlabeledError(f"{nested[0]} is a git repository of its own")
    recorded = {name for name in known | new if is_recorded(name) and not (project / name).is_symlink()}
    missed = {name for name in known | new if _may_be_loaded(name)} - recorded
    keys = {name for name in new if is_secret(name) and not name.endswith(CODE_ENDINGS)}
    return Changes(sorted(recorded), sorted((missed - keys) | {name for name in known if is_secret(name)} - recorded))


def files_to_commit(project: Path) -> list[str]:
    """The changed files of a run that belong into a commit: code, configuration, and what DVC has written.

    Raises:
        UnlabeledError: There is no git repository with a commit.
    """
    written = _listed(project, "diff", "--name-only", "--relative", "-z", "HEAD", "--", *WRITTEN_BY_DVC)
    written |= _listed(project, "ls-files", "-z", "--others", "--exclude-standard", "--", *WRITTEN_BY_DVC)
    return sorted({*changed_files(project).recorded, *written})


def patch(project: Path, names: list[str]) -> bytes:
    """A patch for `git apply` from the commit to the work tree, of these files alone.

    Raises:
        UnlabeledError: The files are larger than MAX_DIFF_BYTES, or one cannot be read.
    """
    files = [project / name for name in names]
    if sum(file.stat().st_size for file in files if file.is_file()) > MAX_DIFF_BYTES:
        raise UnlabeledError(f"they are of more than {MAX_DIFF_BYTES:,} bytes")
    with tempfile.TemporaryDirectory() as folder:  # a temporary index leaves the user's index unchanged
        index = Path(folder, "index")
        git(project, "read-tree", "HEAD", index=index)
        given = b"".join(os.fsencode(name) + b"\0" for name in names)
        git(project, "update-index", "--add", "--remove", "--replace", "-z", "--stdin", given=given, index=index)
        return git(project, "diff-index", "--cached", "--patch", "--binary", "--full-index", "HEAD", index=index)


def named(files: list[str]) -> str:
    """The first names of a list, and the number of further ones."""
    more = len(files) - MAX_LISTED_FILES
    return ", ".join(map(legible, files[:MAX_LISTED_FILES])) + (f" and {more} more" if more > 0 else "")


def other_than_code(folder: str, names: list[str]) -> set[str]:
    """Names that a copy of code omits, for `shutil.copytree`: secrets, links, hidden files, and other than code."""
    return {
        name
        for name in names
        if name.startswith((".", "__pycache__"))
        or is_secret(name)
        or (path := Path(folder, name)).is_symlink()
        or not (path.is_dir() or name.endswith(CODE_ENDINGS))
    }


def git(project: Path, *arguments: str, given: bytes = b"", index: Path | None = None) -> bytes:
    """The output of a git command.

    Args:
        given: The command's standard input.
        index: The index file; None: the project's own.

    Raises:
        UnlabeledError: The command failed; with git's message.
    """
    environment = {**os.environ, **({"GIT_INDEX_FILE": str(index)} if index else {})}
    command = ["git", "-C", str(project), *arguments]
    try:
        done = subprocess.run(command, input=given, capture_output=True, env=environment)
    except OSError as error:
        raise UnlabeledError(f"git cannot be run ({error})") from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        said = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[0])
        raise UnlabeledError(f"git {arguments[0]} failed ({said})")
    return done.stdout


def _listed(project: Path, *arguments: str) -> set[str]:
    return {os.fsdecode(name) for name in git(project, *arguments).split(b"\0") if name}


def _may_be_loaded(name: str) -> bool:
    path = PurePosixPath(name)
    return (path.parts[0] in LOADED or name in TOP) and not _is_hidden(path) and path.name != "dvc.lock"


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith(".") for part in path.parts)
