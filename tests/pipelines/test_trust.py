"""What of a record is run here: patches that keep to their place, and versions whose user is known or agreed to."""

import sys
from types import SimpleNamespace

import pytest

from pipelines.clients.git import COMMIT, DIRTY, git
from pipelines.commands.reproduce import _apply
from pipelines.registry import signature
from pipelines.registry.provenance import CODE, code_of
from pipelines.registry.signature import SIGNED, is_mine
from pipelines.registry.trust import check_patch, check_trusted
from unlabeled.errors import UnlabeledError

AUTHOR = ("-c", "user.name=Mallory\x1b[2J", "-c", "user.email=m@localhost", "-c", "commit.gpgsign=false")
NEW = "diff --git a/{0} b/{0}\nnew file mode {1}\n--- /dev/null\n+++ b/{0}\n@@ -0,0 +1 @@\n+{2}\n"


@pytest.fixture
def tree(tmp_path):
    path = tmp_path / "tree"
    (path / "src").mkdir(parents=True)
    (path / "src/code.py").write_text("as committed\n")
    git(tmp_path, "init", "-q", str(path))
    git(path, "add", "-A")
    git(path, *AUTHOR, "commit", "-q", "-m", "first")
    return path


def version(tree, **tags):
    commit = git(tree, "rev-parse", "HEAD").decode().strip()
    return SimpleNamespace(name="model", version="1", tags={COMMIT: commit, DIRTY: "true", "method": "byol", **tags})


def new(name, content="evil", mode=100644):
    return NEW.format(name, mode, content).encode()


OUTSIDE = ["../outside.py", "/tmp/outside-of-the-tree.py", "src/../../outside.py", ".git/hooks/post-checkout"]
NO_CODE = ["sitecustomize.py", ".dvc/config.local", ".venv/x.py", "conf/local/x.yml", "a[b]*.sh", "src/words.txt"]


@pytest.mark.parametrize("name", [*OUTSIDE, *NO_CODE])
def test_what_no_record_holds_is_not_applied(tree, name, caplog):
    _apply(tree, new("src/new.py") + new(name))
    assert (tree / "src/new.py").exists() and not (tree / name).exists() and name in caplog.text


@pytest.mark.parametrize("name", ["conf/reproduction/parameters.yml", "src/linked.py"])
def test_a_patch_makes_no_links(tree, name):
    link = new(name, "/etc/hostname", 120000).replace(
        b"+/etc/hostname\n", b"+/etc/hostname\n\\ No newline at end of file\n"
    )
    with pytest.raises(UnlabeledError, match=f"make links .{name}"):
        _apply(tree, link)


def test_a_patch_does_not_go_through_a_link(tree):
    (tree / "src/away").symlink_to(tree.parent)
    with pytest.raises(UnlabeledError, match="git apply failed"):
        _apply(tree, new("src/away/outside.py"))
    assert not (tree.parent / "outside.py").exists()


def test_changes_are_those_that_the_tag_names(tree):
    made = version(tree)
    made.tags[CODE] = code_of(made.tags[COMMIT], b"a patch")
    check_patch(made, b"a patch")
    with pytest.raises(UnlabeledError, match="are not those that it was made with"):
        check_patch(made, b"another")


def test_only_the_users_own_key_signs(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    tags = {name: name for name in SIGNED}
    signed = tags | signature.signature(tags)
    assert is_mine(signed) and not is_mine(tags)
    assert not [name for name in SIGNED if is_mine(signed | {name: "another"})]
    (key,) = (tmp_path / "unlabeled").iterdir()
    assert key.stat().st_mode & 0o777 == 0o600 and len(key.read_bytes()) == 32
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "of somebody else"))
    assert not is_mine(signed)


def test_a_home_that_cannot_be_written_to_signs_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    assert signature.signature({}) == {} and not is_mine({"signature": "x"})


def test_a_version_of_somebody_else_is_not_run_where_nobody_can_be_asked(tree):
    with pytest.raises(UnlabeledError, match="was not made by you .*--yes"):
        check_trusted(tree, version(tree), b"", {}, yes=False)
    check_trusted(tree, version(tree), b"", {}, yes=True)


def test_a_version_of_ones_own_is_run_without_asking(tree):
    made = version(tree)
    made.tags |= signature.signature(made.tags)
    check_trusted(tree, made, b"", {}, yes=False)


@pytest.mark.parametrize("answer", [True, False])
def test_in_a_terminal_the_changes_are_shown_and_the_user_is_asked(tree, monkeypatch, capsys, answer):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr("click.confirm", lambda question: answer)
    asked = (tree, version(tree), new("src/new.py", "\x1b]0;x\x07evil()"), {"embed": {"path": "/home/me/.ssh"}}, False)
    if answer:
        check_trusted(*asked)
    else:
        with pytest.raises(UnlabeledError, match="was not run"):
            check_trusted(*asked)
    shown = capsys.readouterr().out
    assert r"+\x1b]0;x\x07evil()" in shown and "\x1b" not in shown and r"Mallory\x1b[2J" in shown
    assert "the parameter embed.path names a path outside the project: /home/me/.ssh" in shown
