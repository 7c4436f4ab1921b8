"""Twenty inputs for each reader; a thousand, in processes with a limit of memory, by `scripts/mutated_inputs.py`."""

import random
import warnings

import pytest

from scripts.mutated_inputs import READERS, Reader, mutated, outcomes

SLOW = {"onnx": 5}
"""Readers of which fewer inputs are read here."""


@pytest.mark.parametrize("name", sorted(READERS))
def test_what_is_damaged_is_read_or_refused_with_a_reason(tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(outcomes(name, range(SLOW.get(name, 20)), tmp_path))
    assert [outcome.fault for outcome in found if outcome.fault] == []
    assert any(outcome.reason for outcome in found)


@pytest.mark.parametrize("name", sorted(READERS))
def test_what_is_not_damaged_is_read(tmp_path, name):
    reader = READERS[name]
    for made in (reader.beside(), files := reader.make()):
        for file, content in made.items():
            (tmp_path / file).write_bytes(content)
    if name in ("csv", "sound"):  # of which a folder holds one
        for file in sorted(files)[1:]:
            (tmp_path / file).unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert {reader.read(tmp_path, file) for file in sorted(files) if (tmp_path / file).exists()} == {None}


def test_an_input_is_the_same_each_time_and_none_is_whole():
    content = bytes(range(256)) * 4
    made = [mutated(content, random.Random(number)) for number in range(200)]
    assert made == [mutated(content, random.Random(number)) for number in range(200)]
    assert sum(each == content for each in made) < 10


def test_an_error_of_another_class_is_a_fault(tmp_path, monkeypatch):
    def read(folder, file):
        raise ZeroDivisionError("by nothing")

    monkeypatch.setitem(READERS, "bad", Reader(lambda: {"a": b"123"}, read))
    assert [each.fault for each in outcomes("bad", range(2), tmp_path)] == ["a: ZeroDivisionError: by nothing"] * 2
