"""mrjob works on every Python found on this machine, whatever that Python lacks.

The other Pythons get mrjob (which is Python only) from the environment that runs the tests, and run without their own
site-packages, so that no setuptools lends them its `distutils`.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import compat

PROBE = "import sys; print(sys.executable if (3, 10) <= sys.version_info < (3, 15) else '')"


def pythons() -> list[str]:
    """One interpreter of each version from 3.10 to 3.14 in PATH and under pyenv, this one among them."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = {f"{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    for minor in range(10, 15):
        for candidate in (f"python3.{minor}", *sorted(map(str, pyenv.glob(f"3.{minor}.*/bin/python")))):
            try:
                answer = subprocess.run(
                    [candidate, "-I", "-S", "-c", PROBE], capture_output=True, text=True, check=False
                )
            except OSError:
                continue
            if answer.stdout.strip():
                found.setdefault(f"3.{minor}", answer.stdout.strip())
    return [found[version] for version in sorted(found, key=lambda v: int(v.partition(".")[2]))]


@pytest.fixture(scope="module", params=pythons())
def bare_python(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, checkout: Path
) -> Callable[..., str]:
    """Runs an interpreter that sees the checkout and mrjob, but no other package. Returns its stdout."""
    packages = tmp_path_factory.mktemp("packages")
    for name in ("mrjob", "yaml"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        (packages / name).symlink_to(Path(spec.origin).parent)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(checkout), str(packages)]),
        "PYTHONPYCACHEPREFIX": str(packages),  # no bytecode into the packages of another Python
    }

    def run(*arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            [request.param, "-S", *arguments], input=stdin, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_mrjob_can_be_imported(bare_python: Callable[..., str]) -> None:
    code = "import jobs.compat, mrjob.job, mrjob.inline, mrjob.local, mrjob.hadoop; print(mrjob.__version__)"
    assert bare_python("-c", code) == "0.7.4\n"


def test_only_what_is_lacking_has_a_stand_in(bare_python: Callable[..., str]) -> None:
    code = (
        "import sys; from importlib.util import find_spec\n"
        "lacking = [name for name in ('distutils', 'pipes') if find_spec(name) is None]\n"
        "assert lacking == ['distutils'] * (sys.version_info >= (3, 12)) + ['pipes'] * (sys.version_info >= (3, 13))\n"
        "before = set(sys.modules)\n"
        "import jobs.compat\n"
        "assert {'distutils', 'pipes'} & set(sys.modules) - before == set(lacking)\n"
        "assert jobs.compat.install() == []\n"
    )
    assert bare_python("-W", "error", "-c", code) == ""


WORD_COUNT = """
import jobs.compat
from mrjob.job import MRJob
class WordCount(MRJob):
    def mapper(self, _, line):
        for word in line.split():
            yield word, 1
    def reducer(self, word, counts):
        yield word, sum(counts)
if __name__ == "__main__":
    WordCount.run()
"""


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["inline", "local"])
def test_a_job_runs(bare_python: Callable[..., str], runner: str, tmp_path: Path) -> None:
    """Inline, and local: there every task is a process of its own, which must have the stand-ins too."""
    script = tmp_path / "word_count.py"
    script.write_text(WORD_COUNT)
    for name, text in (("a", "one two\n" * 50), ("b", "two\n" * 50)):
        (tmp_path / name).write_text(text)
    python = bare_python("-c", "import sys; print(sys.executable)").strip()
    output = bare_python(
        str(script), "-r", runner, "--no-conf", "--quiet", "--local-tmp-dir", str(tmp_path),
        "--jobconf", "mapreduce.job.maps=2", "--jobconf", "mapreduce.job.reduces=2",
        *(["--python-bin", f"'{python}' -S"] if runner == "local" else []),
        str(tmp_path / "a"), str(tmp_path / "b"),
    )  # fmt: skip
    assert sorted(output.splitlines()) == ['"one"\t50', '"two"\t100']


def stand_in(module: str, attribute: str) -> object:
    return getattr(next(made[module] for make in compat.STAND_INS.values() if module in (made := make())), attribute)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
def test_quoted_text_is_one_word_to_a_shell(text: str) -> None:
    import shlex

    quote = stand_in("pipes", "quote")
    assert shlex.split(quote(text)) == [text]  # type: ignore[operator]


def test_find_executable(tmp_path: Path) -> None:
    find = compat.find_executable
    assert stand_in("distutils.spawn", "find_executable") is find
    tool = tmp_path / "a-tool-of-this-test"
    tool.touch(0o755)
    assert find(tool.name, path=str(tmp_path)) == str(tool)
    assert find(tool.name) is None
    assert find(tool.name, path=str(tmp_path / "elsewhere")) is None


def test_versions_of_hadoop_are_in_order() -> None:
    """The versions that mrjob compares, oldest first; `cdh` and other words come after the bare number."""
    assert stand_in("distutils.version", "LooseVersion") is compat.LooseVersion
    ordered = ["0", "0.18", "0.20", "0.20.203", "0.20.205", "1.0", "1.0.3", "1.2.1", "2.0", "2.0.0-cdh4", "2.7.1", "2.9", "2.10",
               "3.3.0", "3.3.0-alpha1", "3.4.2", "10"]  # fmt: skip
    versions = [compat.LooseVersion(text) for text in ordered]
    for (i, low), (j, high) in itertools.product(enumerate(versions), repeat=2):
        assert (low < high, low == high, low >= high) == (i < j, i == j, i >= j), (low, high)


@given(st.text("0123456789.-rcalphb", max_size=12), st.text("0123456789.-rcalphb", max_size=12))
def test_versions_are_totally_ordered(one: str, other: str) -> None:
    a, b = compat.LooseVersion(one), compat.LooseVersion(other)
    assert (a < b) + (a == b) + (a > b) == 1
    assert (a == b) <= (hash(a) == hash(b))
    assert str(a) == one
    assert a != one
