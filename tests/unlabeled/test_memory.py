"""Freed memory stays: seen by the page faults of a process of its own."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="the C library is not glibc")

PROGRAM = """
import ctypes, resource, torch
from unlabeled.memory import keep_freed_memory
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a huge page is one fault for 512
{first}
for _ in range(20):  # glibc before 2.38 finds a use for an aligned block only when some lie side by side
    torch.ones(2**24)  # 64 MiB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(first: str) -> int:
    command = [sys.executable, "-c", PROGRAM.format(first=first)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_what_is_freed_is_not_faulted_in_again():
    assert faults("keep_freed_memory()") < 2000 < 50_000 < faults("")


def test_where_there_is_no_glibc_nothing_changes():
    assert faults("import sys; sys.platform = 'darwin'; keep_freed_memory()") > 50_000
