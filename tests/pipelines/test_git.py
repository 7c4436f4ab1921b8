"""What is kept of a work tree, in repositories of git's own making."""

import pytest

from pipelines.git import COMMIT, DIRTY, changes, git, git_state
from unlabeled.errors import UnlabeledError

AUTHOR = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")


@pytest.fixture
def repository(tmp_path):
    path = tmp_path / "repository"
    for name in ("src/code.py", "conf/base/parameters.yml", "notes.txt"):
        write(path / name, "as committed\n")
    git(tmp_path, "init", "-q", str(path))
    git(path, "add", "-A")
    git(path, *AUTHOR, "commit", "-q", "-m", "first")
    return path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_changed_files_and_new_code_and_configuration_are_kept(repository, tmp_path):
    before = git_state(repository, required=True)
    git(repository, "worktree", "add", "-q", "--detach", str(tmp_path / "again"))
    write(repository / "notes.txt", "changed\n")
    write(repository / "src/new.py", "new\n")
    write(repository / "data/01_raw/photos.dvc", "outs: []\n")
    (repository / "src/code.py").unlink()
    state = git_state(repository, required=True)
    assert (before[DIRTY], state[DIRTY]) == ("false", "true") and state[COMMIT] == before[COMMIT]
    write(tmp_path / "diff", changes(repository).decode())
    git(tmp_path / "again", "apply", str(tmp_path / "diff"))
    files = {file.relative_to(tmp_path / "again").as_posix() for file in (tmp_path / "again").rglob("*.*")}
    assert {"src/new.py", "notes.txt", "data/01_raw/photos.dvc"} <= files and "src/code.py" not in files
    assert (tmp_path / "again/notes.txt").read_text() == "changed\n"


@pytest.mark.parametrize(
    "name", [".env", "src/.env", "keys.json", "conf/local/parameters.yml", "conf/base/credentials.yml", "data/a.csv"]
)
def test_new_files_elsewhere_are_neither_kept_nor_a_change(repository, name):
    write(repository / name, "hunter2\n")
    assert git_state(repository, required=True)[DIRTY] == "false" and changes(repository) == b""


def test_changes_that_are_too_many_to_keep_are_refused(repository, monkeypatch):
    monkeypatch.setattr("pipelines.git.LARGEST_DIFF", 3)
    write(repository / "notes.txt", "changed\n")
    with pytest.raises(UnlabeledError, match="they are of more than 3 bytes"):
        changes(repository)


def test_a_repository_within_is_named(repository):
    git(repository, "init", "-q", "src/nested")
    write(repository / "src/nested/code.py", "within\n")
    git(repository / "src/nested", "add", "-A")
    git(repository / "src/nested", *AUTHOR, "commit", "-q", "-m", "first")
    with pytest.raises(UnlabeledError, match="src/nested/ is a git repository of its own"):
        changes(repository)


def test_a_failure_is_said_in_gits_own_words(repository, tmp_path):
    with pytest.raises(UnlabeledError, match=r"git rev-parse failed \(fatal: .*nothing-of-the-kind"):
        git(repository, "rev-parse", "nothing-of-the-kind")
    with pytest.raises(UnlabeledError, match=r"cannot name the commit .*not a git repository.*require_git=false"):
        git_state(tmp_path, required=True)
    assert git_state(tmp_path, required=False) == {}


def test_a_machine_without_git_is_told_so(repository, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UnlabeledError, match="git cannot be run"):
        git(repository, "status")
