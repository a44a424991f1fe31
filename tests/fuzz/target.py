"""`python -m tests.fuzz.target NAME [libFuzzer's ARGUMENT]…`: one target in this process, until something is found."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["jobs", "crawldb", "pypdf"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name].read)
    atheris.Fuzz()
