"""What is kept of a work tree, in repositories of git's own making."""

import pytest

from pipelines.clients.git import (
    COMMIT,
    DIRTY,
    LACKS,
    changed_files,
    files_to_commit,
    git,
    git_state,
    is_recorded,
    is_secret,
    other_than_code,
    patch,
)
from unlabeled.errors import UnlabeledError

AUTHOR = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
KEYS = [
    "stages/id_rsa",
    "stages/id_ed25519",
    "conf/base/server.pem",
    "conf/base/TLS.PEM",
    "conf/x/client.key",
    "conf/x/client.p12",
    "src/store.jks",
    "token",
    "stages/token",
    "conf/x/token.yml",
    "conf/x/api_tokens.yaml",
    ".netrc",
    "conf/.netrc",
    "conf/_netrc",
    "src/.env",
    "src/.env.production",
    ".env",
    "conf/base/credentials.yml",
    "conf/base/CREDENTIALS.yml",
    "conf/base/aws-credentials.yaml",
    "conf/base/mycredentials.yml",
    "conf/secrets.yml",
    "conf/base/prod.secrets.yaml",
    "conf/secrets/prod.yml",
    "conf/base/secret.yml",
    "conf/passwords.yml",
    "conf/x/kubeconfig",
    "conf/base/gcp-service-account.yml",
    "conf/base/service_account.json",
    "conf/x/private-key.yml",
    "conf/x/apikey.yml",
    "src/credentials.py",
    ".dvc/config",
    ".dvc/config.local",
    "conf/local/parameters.yml",
    "conf/local/mlflow.yml",
    ".aws/credentials",
    "src/.ssh/config.py",
]
"""Names of files that no record may hold, whatever git says of them."""
NO_CODE = ["notes.txt", "README.md", "docs/a.md", "tests/test_a.py", "data/a.csv", "keys.json", ".gitignore"]
CODE = [
    "src/unlabeled/text/tokens.py",
    "src/unlabeled/reports/templates/page.html.j2",
    "pipelines/clients/git.py",
    "scripts/dvc_yaml.py",
    "dvc.yaml",
    "Makefile",
    "conf/base/parameters.yml",
    "conf/base/parameters_tokenizer.yaml",
    "conf/logging.yml",
    "stages/byol/dvc.yaml",
    "pyproject.toml",
    "requirements.lock",
    "data/01_raw/photos.dvc",
    "photos.dvc",
]


@pytest.fixture
def repository(tmp_path):
    path = tmp_path / "repository"
    for name in ("src/code.py", "conf/base/parameters.yml", "notes.txt", ".env", "conf/local/x.yml"):
        write(path / name, "as committed\n")
    git(tmp_path, "init", "-q", str(path))
    git(path, "add", "-A", "-f")
    git(path, *AUTHOR, "commit", "-q", "-m", "first")
    return path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def changes(repository):
    return patch(repository, changed_files(repository).recorded)


def test_changed_files_and_new_code_and_configuration_are_kept(repository, tmp_path):
    before = git_state(repository, required=True)
    git(repository, "worktree", "add", "-q", "--detach", str(tmp_path / "again"))
    write(repository / "conf/base/parameters.yml", "changed\n")
    write(repository / "src/new.py", "new\n")
    write(repository / "data/01_raw/photos.dvc", "outs: []\n")
    (repository / "src/code.py").unlink()
    state = git_state(repository, required=True)
    assert (before[DIRTY], state[DIRTY]) == ("false", "true") and state[COMMIT] == before[COMMIT]
    assert before[LACKS] == state[LACKS] == ""
    write(tmp_path / "diff", changes(repository).decode())
    git(tmp_path / "again", "apply", str(tmp_path / "diff"))
    files = {file.relative_to(tmp_path / "again").as_posix() for file in (tmp_path / "again").rglob("*.*")}
    assert {"src/new.py", "data/01_raw/photos.dvc"} <= files and "src/code.py" not in files
    assert (tmp_path / "again/conf/base/parameters.yml").read_text() == "changed\n"


@pytest.mark.parametrize("name", CODE)
def test_a_record_holds_what_a_run_loads(name):
    assert is_recorded(name) and not is_secret(name)


@pytest.mark.parametrize("name", [*KEYS, *NO_CODE])
def test_new_files_of_other_names_are_neither_kept_nor_a_change(repository, name):
    write(repository / name, "hunter2\n")
    if name not in (".env", "src/credentials.py"):  # the first is tracked; the second is code, which a run may import
        assert git_state(repository, required=True)[DIRTY] == "false"
    assert not is_recorded(name) and changes(repository) == b""


@pytest.mark.parametrize("how", ["staged", "committed, then changed"])
@pytest.mark.parametrize("name", KEYS)
def test_keys_that_git_knows_are_not_kept_and_that_is_said(repository, name, how):
    write(repository / name, "nothing\n")
    git(repository, "add", "-f", name)
    if how != "staged":
        git(repository, *AUTHOR, "commit", "-q", "-m", "a key", "--allow-empty")
    write(repository / name, "hunter2\n")
    git(repository, "add", "-f", name)
    state = git_state(repository, required=True)
    assert changes(repository) == b"" and (is_secret(name) == (state[LACKS] == name))


def test_a_changed_readme_makes_no_difference_to_a_run(repository):
    write(repository / "notes.txt", "changed\n")
    state = git_state(repository, required=True)
    assert (state[DIRTY], state[LACKS]) == ("false", "") and changes(repository) == b""


@pytest.mark.parametrize(
    "name", ["src/words.txt", "conf/base/catalog.json", "src/credentials.py", "pipelines/data.bin"]
)
def test_what_a_run_may_load_and_no_record_holds_is_named(repository, name):
    write(repository / name, "new\n")
    state = git_state(repository, required=True)
    assert (state[DIRTY], state[LACKS]) == ("true", name) and changes(repository) == b""


def test_what_a_link_leads_to_is_not_kept(repository, tmp_path):
    write(tmp_path / "elsewhere.yml", "hunter2\n")
    (repository / "conf/base/linked.yml").symlink_to(tmp_path / "elsewhere.yml")
    assert changes(repository) == b"" and git_state(repository, required=True)[LACKS] == "conf/base/linked.yml"


def test_of_many_files_the_first_are_named(repository):
    for number in range(30):
        write(repository / f"src/{number:02d}\n.txt", "new\n")
    named = git_state(repository, required=True)[LACKS]
    assert named.startswith(r"src/00\n.txt, src/01\n.txt") and named.endswith(" and 20 more")


def test_locks_that_runs_write_are_no_change(repository):
    for name in ("dvc.lock", "stages/byol/dvc.lock"):
        write(repository / name, "stages: {}\n")
    assert git_state(repository, required=True)[DIRTY] == "false"


def test_data_that_a_retraining_adds_are_recorded_and_are_no_change_of_code(repository):
    write(repository / "data/01_raw/photos.dvc", "outs: []\n")
    state = git_state(repository, required=True)
    assert (state[DIRTY], state[LACKS]) == ("false", "") and b"photos.dvc" in changes(repository)


def test_what_belongs_into_the_commit_of_a_run_is_code_configuration_and_what_dvc_writes(repository):
    written = ["conf/base/parameters.yml", "data/01_raw/.gitignore", "data/01_raw/photos.dvc", "dvc.lock", "dvc.yaml"]
    for name in [*written, "data/01_raw/deploy.key", "data/01_raw/photos/a.png", "conf/local/parameters.yml"]:
        write(repository / name, "new\n")
    git(repository, "add", "dvc.lock")
    assert files_to_commit(repository) == written
    git(repository, "add", "-f", *written)
    git(repository, *AUTHOR, "commit", "-q", "-m", "a run")
    assert files_to_commit(repository) == []


def test_a_copy_of_code_is_of_code_alone(tmp_path):
    names = ["code.py", "page.html.j2", "id_rsa", ".env", "key.pem", "credentials.json", "words.txt", "__pycache__"]
    for name in names:
        write(tmp_path / name, "")
    (tmp_path / "package").mkdir()
    (tmp_path / "linked.py").symlink_to("/etc/passwd")
    left_out = other_than_code(str(tmp_path), [*names, "package", "linked.py"])
    assert {*names, "package", "linked.py"} - left_out == {"code.py", "page.html.j2", "package"}


def test_changes_that_are_too_many_to_keep_are_refused(repository, monkeypatch):
    monkeypatch.setattr("pipelines.clients.git.MAX_DIFF_BYTES", 3)
    write(repository / "src/code.py", "changed\n")
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
