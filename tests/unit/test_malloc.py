"""Freed memory stays with the process; seen by the pages that the kernel has to bring again."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from amodalpl.runtime.malloc import keep_freed_memory

AGAIN_AND_AGAIN = """
import json, resource, sys
import numpy as np
from amodalpl.runtime.malloc import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else None
np.ones(2**23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(2**23)  # 64 MiB
print(json.dumps([kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before]))
"""


def faults(way, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", AGAIN_AND_AGAIN, way]
    done = subprocess.run(command, env={**clean, **environment}, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is found on Linux")
def test_pages_are_brought_once():
    kept, again = faults("keep")
    if not kept:
        pytest.skip("malloc is not glibc's")
    _, usual = faults("usual")
    assert again < usual / 10


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_what_the_user_set_stays(monkeypatch, name):
    monkeypatch.setenv(name, "100000")
    assert keep_freed_memory() is False


def test_nothing_is_done_elsewhere(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
