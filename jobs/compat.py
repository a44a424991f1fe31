"""What mrjob 0.7.4 imports and newer Pythons have dropped: `distutils` (3.12) and `pipes` (3.13).

Owns the stand-ins and nothing else. Import it before mrjob, in `jobs/base.py`: every job, and so every task
process, passes through there. Where a module exists (on an older Python) it stays untouched.
A stand-in has what mrjob 0.7.4 uses of the module, and no more:

    distutils.spawn.find_executable    mrjob/util.py
    distutils.version.LooseVersion     mrjob/compat.py, to order Hadoop versions
    pipes.quote                        mrjob/util.py, bin.py, cloud.py, emr.py
"""

from __future__ import annotations

import functools
import importlib.util
import re
import shlex
import shutil
import sys
from types import ModuleType


@functools.total_ordering
class LooseVersion:
    """A version that orders as people expect: 2.10 after 2.9, 3.3.0-alpha1 after 3.3.0.

    Numbers compare as numbers and words as words; a number comes before a word, where distutils raised a
    TypeError.
    """

    def __init__(self, vstring: str) -> None:
        self.vstring = vstring
        parts = re.findall(r"\d+|[a-z]+", vstring.lower())
        self._key = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]

    def __str__(self) -> str:
        return self.vstring

    def __repr__(self) -> str:
        return f"LooseVersion({self.vstring!r})"

    def __hash__(self) -> int:
        return hash(tuple(self._key))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LooseVersion) and self._key == other._key

    def __lt__(self, other: LooseVersion) -> bool:
        return self._key < other._key


def find_executable(executable: str, path: str | None = None) -> str | None:
    """Where `executable` is, on `path` or else on `$PATH`; None if nowhere."""
    return shutil.which(executable, path=path)


def _distutils() -> dict[str, ModuleType]:
    package, spawn, version = (ModuleType(f"distutils{name}", __doc__) for name in ("", ".spawn", ".version"))
    package.__dict__.update(__path__=[], spawn=spawn, version=version)
    spawn.__dict__["find_executable"] = find_executable
    version.__dict__["LooseVersion"] = LooseVersion
    return {module.__name__: module for module in (package, spawn, version)}


def _pipes() -> dict[str, ModuleType]:
    module = ModuleType("pipes", __doc__)
    module.__dict__["quote"] = shlex.quote
    return {"pipes": module}


STAND_INS = {"distutils": _distutils, "pipes": _pipes}
"""By the module that may be lacking: what makes its stand-ins, by name."""


def install() -> list[str]:
    """Put stand-ins into `sys.modules` for what this Python lacks; returns the names of those. Idempotent."""
    # setuptools' import hook would load all of it, 0.15 CPU seconds a task, to lend us its distutils.
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "_distutils_hack"]
    lacking = [name for name in STAND_INS if name not in sys.modules and importlib.util.find_spec(name) is None]
    for name in lacking:
        sys.modules.update(STAND_INS[name]())
    return lacking


install()
