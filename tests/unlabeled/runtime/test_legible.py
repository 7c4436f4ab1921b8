import logging
import sys
import unicodedata

import pytest

from unlabeled.runtime.legible import legible, make_legible


@pytest.mark.parametrize(
    "text, shown",
    [
        ("\x1b]0;pwned\x07\x1b[2J0\nError: forged", r"\x1b]0;pwned\x07\x1b[2J0\nError: forged"),
        ("\x9b2J \x7f\r\t\0", r"\x9b2J \x7f\r\t\x00"),
        ("gpj.\u202egnp", r"gpj.\u202egnp"),
        ("\u2066a\u2069\u2028\ufeff\u200b", r"\u2066a\u2069\u2028\ufeff\u200b"),
        ("\udcff.png", r"\udcff.png"),
    ],
)
def test_what_is_not_seen_is_shown(text, shown):
    assert legible(text) == shown and legible(shown) == shown


@pytest.mark.parametrize("text", ["Käfer 漢", "57\u00a0±\u00a02\u00a0%", "👩\u200d🔬", "می\u200cخواهم", r"C:\new"])
def test_what_is_seen_stays(text):
    assert legible(text) == text


def test_no_control_character_and_none_that_turns_a_line_is_sent():
    turns = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    every = map(chr, range(sys.maxunicode + 1))
    unseen = [c for c in every if unicodedata.category(c) in ("Cc", "Cs") or unicodedata.bidirectional(c) in turns]
    assert len(unseen) > 2000 and legible("".join(unseen)).isprintable()


def test_a_record_of_a_log_is_one_line():
    record = logging.LogRecord("a", logging.INFO, "", 1, "%s: %d", ("\x1b[2J\nforged.png", 3), None)
    assert make_legible(record) and record.getMessage() == r"\x1b[2J\nforged.png: 3"
