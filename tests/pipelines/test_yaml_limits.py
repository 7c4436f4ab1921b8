import time

import pytest

from pipelines.arguments import parse_params
from pipelines.parameters import MethodConfigLoader
from pipelines.settings import CONFIG_LOADER_ARGS
from pipelines.yaml_limits import check_file, check_yaml
from unlabeled.errors import ConfigError

ALIASES = "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdef", "bcdefg", strict=True)
)
HOSTILE = {
    "brackets": ("[" * 100_000, "more than 50 others"),
    "braces": ("a: " + "{a: " * 3000 + "}" * 3000, "more than 50 others"),
    "nested aliases": (ALIASES, "more than 10,000 values"),
    "itself": ("a: &a [*a]", "more than 10,000 values"),
    "a long list": ("a: [" + "1, " * 10_001 + "1]", "more than 10,000 values"),
}


@pytest.mark.parametrize("text, said", HOSTILE.values(), ids=HOSTILE)
def test_what_asks_for_too_much_is_refused_at_once(tmp_path, text, said):
    (tmp_path / "base").mkdir()
    (tmp_path / "base/parameters.yml").write_text(text)
    start = time.monotonic()
    with pytest.raises(ConfigError, match=f"base/parameters.yml: received .*{said}"):
        MethodConfigLoader(str(tmp_path), env="local", **CONFIG_LOADER_ARGS)
    assert time.monotonic() - start < 5


def test_parameters_of_the_command_line_are_bounded_as_well():
    with pytest.raises(ConfigError, match="--params: pretraining.method: received blocks within more than 50 others"):
        parse_params(f"pretraining.method={'[' * 3000}")


def test_aliases_may_be_used():
    check_yaml("a: &a {b: 1}\nc: [*a, *a]\nd: {<<: *a}", "a file")


@pytest.mark.parametrize("content", [b"", b"# notes", b"{}", b"a: 1", b"a: ["])
def test_blocks_and_nothing_and_what_another_reader_refuses_pass(tmp_path, content):
    (tmp_path / "parameters.yml").write_bytes(content)
    check_file(tmp_path / "parameters.yml")


@pytest.mark.parametrize("content, received", [(b"[1, 2]", "a list"), (b"hello", "a str"), (b"\xff", "bytes that are")])
def test_a_file_that_holds_no_blocks_is_named(tmp_path, content, received):
    (tmp_path / "parameters.yml").write_bytes(content)
    with pytest.raises(ConfigError, match=f"parameters.yml: received {received}.*, expected "):
        check_file(tmp_path / "parameters.yml")
