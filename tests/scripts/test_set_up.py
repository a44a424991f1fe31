"""`scripts/venv.sh` and `scripts/crawl.sh`: what happens on first use, ever after, and when it goes wrong.

They run in small checkouts with scripts of ours and a project of two files, so that no dependency has to be fetched;
the one thing pip needs to install a project, setuptools, lies in a directory of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

TOOLS = (
    "bash",
    "basename",
    "cat",
    "cksum",
    "cp",
    "dirname",
    "grep",
    "ls",
    "mkdir",
    "mv",
    "readlink",
    "rm",
    "sed",
    "sleep",
    "tail",
)

SETUP = """
from setuptools import setup
setup(name="small", version="1", package_dir={"": "."}, packages=["jobs"], extras_require={"test": []})
"""
CRAWL = """
import json, os, sys
print(json.dumps({
    "arguments": sys.argv[1:], "pid": os.getpid(), "folder": os.getcwd(), "file": os.path.realpath(__file__),
    "prefix": os.path.realpath(sys.prefix), "conf": os.environ["COBNUT_CONF_DIR"], "path": sys.path,
}))
sys.exit(int(os.environ.get("EXIT", "0")))
"""


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with all that pip needs to install a project without dependencies."""
    directory = tmp_path_factory.mktemp("wheels")
    download = ["download", "--quiet", "--no-deps", "--dest", str(directory), "setuptools>=77"]
    subprocess.run([sys.executable, "-m", "pip", *download], check=True)
    return directory


def make_checkout(directory: Path, original: Path) -> Path:
    """A small project with the scripts under test."""
    shutil.copytree(original / "scripts", directory / "scripts")
    shutil.copy(original / "pyproject.toml", directory)
    (directory / "setup.py").write_text(SETUP)
    (directory / "jobs").mkdir()
    (directory / "jobs/__init__.py").touch()
    (directory / "jobs/crawl.py").write_text(CRAWL)
    return directory


def environment(wheels: Path | None, **more: str) -> dict[str, str]:
    """What the scripts see: no settings of whoever runs the tests, no package index but the wheels."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "COBNUT_", "PYTHON"))}
    return {
        **ours, "COBNUT_PYTHON": sys.executable, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels or "/nowhere"), **more,
    }  # fmt: skip


def crawl(
    checkout: Path, *arguments: str, wheels: Path | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Call crawl.sh; without `wheels` nothing can be installed."""
    more = options.pop("more", {})
    return subprocess.run(
        [str(options.pop("script", checkout / "scripts/crawl.sh")), *arguments],
        env=environment(wheels, **more), capture_output=True, text=True, check=False, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, checkout: Path, wheels: Path) -> Path:
    """A checkout in a folder with an ugly name, after its first use; nothing can be installed any more."""
    small = make_checkout(tmp_path_factory.mktemp("set up") / 'it\'s a "größer" $HOME & co', checkout)
    first = crawl(small, wheels=wheels)
    assert first.returncode == 0, first.stderr
    assert f"cobnut: making {small}/.venv" in first.stderr
    assert first.stderr.count("\n") == 1
    shutil.rmtree(next((small / ".venv").glob("lib/python*/site-packages/pip")))
    return small


def test_later_calls_only_run(ready: Path) -> None:
    """pip is gone from this environment, so any use of it would fail."""
    done = crawl(ready, "CRAWL DIR", '"3"', "", "--set=a b")
    assert done.stderr == ""
    said = json.loads(done.stdout)
    assert said["arguments"] == ["CRAWL DIR", '"3"', "", "--set=a b"]
    assert said["prefix"] == os.path.realpath(ready / ".venv")
    assert said["file"] == os.path.realpath(ready / "jobs/crawl.py")
    assert said["conf"] == str(ready.resolve() / "conf")


def test_exit_codes_pass_through(ready: Path) -> None:
    assert crawl(ready, more={"EXIT": "143"}).returncode == 143


def test_it_becomes_python_so_that_signals_arrive(ready: Path) -> None:
    with subprocess.Popen([ready / "scripts/crawl.sh"], env=environment(None), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.load(process.stdout)["pid"] == process.pid


def test_from_anywhere_through_a_symlink(ready: Path, tmp_path: Path) -> None:
    """The folder it is called from keeps its relative paths, but lends no code, whatever its folders are called."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/__init__.py").write_text("raise SystemExit('the wrong jobs')")
    (tmp_path / "link").symlink_to(os.path.relpath(ready / "scripts", tmp_path))
    (tmp_path / "crawl").symlink_to("link/crawl.sh")
    done = crawl(ready, script=tmp_path / "crawl", cwd=tmp_path)
    said = json.loads(done.stdout)
    assert said["folder"] == str(tmp_path.resolve())
    assert said["file"] == os.path.realpath(ready / "jobs/crawl.py")
    assert crawl(ready, script="./crawl", cwd=tmp_path).returncode == 0


def test_the_users_own_conf_directory_stays(ready: Path) -> None:
    assert json.loads(crawl(ready, more={"COBNUT_CONF_DIR": "/my/conf"}).stdout)["conf"] == "/my/conf"


def test_other_modules_of_the_user_can_be_found(ready: Path, tmp_path: Path) -> None:
    """PYTHONPATH is how `module:function` in the settings reaches code from outside."""
    assert str(tmp_path) in json.loads(crawl(ready, more={"PYTHONPATH": str(tmp_path)}).stdout)["path"]


def test_a_changed_setup_is_installed(checkout: Path, wheels: Path, tmp_path: Path) -> None:
    """Also when only the extra is new; and what was made for the extra serves without it."""
    small = make_checkout(tmp_path / "small", checkout)
    venv = [str(small / "scripts/venv.sh")]
    made = subprocess.run([*venv, "test"], env=environment(wheels), capture_output=True, text=True, check=True)
    assert made.stdout == f"{small.resolve()}/.venv/bin/python\n"
    assert subprocess.run(venv, env=environment(None), capture_output=True, check=True).stderr == b""
    (small / "setup.py").write_text(SETUP.replace('"1"', '"2"'))
    kept = small / ".venv/kept"
    kept.touch()
    assert "updating" in crawl(small, wheels=wheels).stderr
    assert next(small.glob(".venv/lib/python*/site-packages/small-2.dist-info")).is_dir()
    assert kept.exists()
    assert crawl(small).stderr == ""
    assert (
        "updating"
        in subprocess.run([*venv, "test"], env=environment(wheels), capture_output=True, text=True, check=True).stderr
    )


def test_first_calls_at_once_make_one_environment(checkout: Path, wheels: Path, tmp_path: Path) -> None:
    small = make_checkout(tmp_path / "small", checkout)
    calls = [
        subprocess.Popen([small / "scripts/crawl.sh", str(number)], env=environment(wheels),
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for number in range(3)
    ]  # fmt: skip
    results = [call.communicate() for call in calls]
    assert [json.loads(output)["arguments"] for output, _ in results] == [["0"], ["1"], ["2"]]
    assert sum("making" in error for _, error in results) == 1
    assert not (small / ".venv/cobnut-unfinished").exists()


def test_a_killed_set_up_is_done_again(checkout: Path, wheels: Path, tmp_path: Path) -> None:
    """kill -9 of the whole process group at several moments, each time deeper into the set-up."""
    small = make_checkout(tmp_path / "small", checkout)
    seen = set()
    for wait_for in (
        ".venv/cobnut-unfinished",
        ".venv/pyvenv.cfg",
        ".venv/lib/python*/site-packages/pip*",
    ):
        process = subprocess.Popen(
            [small / "scripts/crawl.sh"], env=environment(wheels), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while process.poll() is None and not any(small.glob(wait_for)):
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        seen.add((small / ".venv/cobnut-ready").exists() and not (small / ".venv/cobnut-unfinished").exists())
    assert seen == {False}
    done = crawl(small, "at last", wheels=wheels)
    assert json.loads(done.stdout)["arguments"] == ["at last"]
    assert crawl(small).stderr == ""


def test_a_moved_checkout_sets_itself_up_again(ready: Path, wheels: Path, tmp_path: Path) -> None:
    """Environments do not relocate: nothing of the old place may be used."""
    moved = tmp_path / "moved"
    shutil.copytree(ready, moved, symlinks=True)
    done = crawl(moved, wheels=wheels)
    assert "making" in done.stderr
    said = json.loads(done.stdout)
    assert said["file"] == os.path.realpath(moved / "jobs/crawl.py")
    assert said["prefix"] == os.path.realpath(moved / ".venv")


# -- what goes wrong -----------------------------------------------------------------------------------------


def the_one_line(done: subprocess.CompletedProcess[str], lines: int = 1) -> str:
    """The last line of stderr of a call that failed with exit code 1 and said no more than `lines`."""
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == lines, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("cobnut: ")
    return last


@pytest.fixture
def small(checkout: Path, tmp_path: Path) -> Path:
    return make_checkout(tmp_path / "small", checkout)


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A directory for PATH with the tools a shell script needs, and no Python."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for tool in ("env", *TOOLS):
        found = shutil.which(tool)
        assert found, tool
        (directory / tool).symlink_to(found)
    return directory


def test_no_python_at_all(small: Path, bare_path: Path) -> None:
    line = the_one_line(crawl(small, more={"PATH": str(bare_path), "COBNUT_PYTHON": ""}))
    assert "no Python 3.10 or newer in PATH: install one" in line
    assert not (small / ".venv").exists()


def fake_python(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


def test_an_old_python_is_passed_over(small: Path, bare_path: Path) -> None:
    """python3.12 does not start (as pyenv's do when not chosen), python3.11 is too old; python3.10 is used."""
    fake_python(bare_path / "python3.12", "exit 127")
    fake_python(bare_path / "python3.11", "exit 3")
    fake_python(
        bare_path / "python3.10", f'[ "$2" != -m ] || {{ echo Error: used; exit 1; }}; exec "{sys.executable}" "$@"'
    )
    line = the_one_line(crawl(small, more={"PATH": str(bare_path), "COBNUT_PYTHON": ""}), lines=2)
    assert "failed: Error: used" in line


def test_a_python_without_venv(small: Path, bare_path: Path) -> None:
    fake_python(bare_path / "python3.11", '[ "$2" != -c ] || exit 4; echo 3.11')
    line = the_one_line(crawl(small, more={"PATH": str(bare_path), "COBNUT_PYTHON": ""}))
    assert "python3.11 lacks the venv module: install it" in line
    assert "apt install python3.11-venv" in line


@pytest.mark.parametrize("value", ["/bin/false", "no-such-python"])
def test_a_wrong_choice_of_python(small: Path, value: str) -> None:
    line = the_one_line(crawl(small, more={"COBNUT_PYTHON": value}))
    assert line == f"cobnut: COBNUT_PYTHON={value} is no Python 3.10 or newer that runs"


def test_no_network(small: Path) -> None:
    """The index refuses the connection; the next call tries again."""
    index = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    line = the_one_line(crawl(small, more=index), lines=2)
    assert "the package index cannot be reached, and the first use needs it" in line
    assert (small / ".venv/cobnut-unfinished").exists()


def test_a_package_that_cannot_be_had(small: Path, wheels: Path) -> None:
    (small / "setup.py").write_text(SETUP.replace("packages=", 'install_requires=["no-such-package-here"], packages='))
    line = the_one_line(crawl(small, wheels=wheels), lines=2)
    assert "No matching distribution found for no-such-package-here" in line
    log = small.resolve() / ".venv.log"
    assert line.endswith(f"(details: {log})")
    assert "no-such-package-here" in log.read_text()


def test_a_place_that_is_taken(small: Path, tmp_path: Path) -> None:
    """Nothing is deleted that is no environment."""
    place = tmp_path / "documents"
    place.mkdir()
    (place / "letter").touch()
    line = the_one_line(crawl(small, more={"COBNUT_VENV": str(place)}))
    assert f"{place} exists and is no Python environment" in line
    assert (place / "letter").exists()


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """One that every user may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_a_read_only_checkout(checkout: Path, public_directory: Path) -> None:
    small = make_checkout(public_directory / "small", checkout)
    small.chmod(0o555)
    user: dict[str, Any] = {"user": 65534} if os.geteuid() == 0 else {}
    try:
        line = the_one_line(crawl(small, cwd="/", **user))
    finally:
        small.chmod(0o755)
    assert line.startswith(f"cobnut: {small} is not writable")
    assert "COBNUT_VENV" in line


# -- dump.py -------------------------------------------------------------------------------------------------


def test_dump_hands_over_to_the_environment(ready: Path, tmp_path: Path) -> None:
    """An interpreter without the dependencies starts it again in .venv, with all arguments and the exit code."""
    (ready / "crawldb").mkdir(exist_ok=True)
    (ready / "crawldb/__init__.py").touch()
    (ready / "crawldb/dump.py").write_text(
        "import sys\nif sys.prefix == sys.base_prefix: raise ImportError('no pyarrow')\n"
        "def main():\n    print(sys.argv[1:], sys.prefix)\n    return 5\n"
    )
    base = os.path.realpath(sys.executable)
    done = subprocess.run(
        [base, str(ready / "scripts/dump.py"), "a b", "--stats"], env=environment(None), capture_output=True, text=True,
        check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (5, "")
    assert done.stdout == f"['a b', '--stats'] {ready}/.venv\n"
    none = subprocess.run(
        [base, str(ready / "scripts/dump.py")], env=environment(None, COBNUT_VENV=str(tmp_path / "none")),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert none.returncode == 1
    assert none.stderr.startswith("dump.py: no pyarrow: run ")
    assert none.stderr.count("\n") == 1
