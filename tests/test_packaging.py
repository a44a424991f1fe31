"""What gets installed: the wheel's content and metadata, and that the dependencies are what the code imports."""

from __future__ import annotations

import ast
import email.message
import email.parser
import importlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

IMPORTED_AS = {"faust-cchardet": "cchardet", "can_ada": "can_ada", "backports.zstd": "backports", "PySocks": "socks"}
"""Where a distribution's module is called otherwise."""

OPTIONAL = {"trafilatura", "hdfs_native", "playwright", "requests_kerberos"}
"""Of the extras; what imports them does without."""


@pytest.fixture(scope="session")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this checkout, built in a copy that has more folders than should get in."""
    copy = tmp_path_factory.mktemp("wheel") / "cobnut"
    copy.mkdir()
    for name in ("setup.py", "pyproject.toml", "LICENSE", "NOTICE"):
        shutil.copy(checkout / name, copy)
    for name in ("jobs", "crawldb", "tests", "benchmarks", "conf", "scripts"):
        shutil.copytree(checkout / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    done = subprocess.run(
        [sys.executable, "-c", build],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(copy / "dist" / done.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return email.parser.Parser().parsestr(wheel.read(name).decode("utf-8"))


def test_the_wheel_has_exactly_two_trees(wheel: zipfile.ZipFile, checkout: Path) -> None:
    """All files of jobs/ and crawldb/, whatever their kind, and nothing else."""
    installed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    sources = {
        path.relative_to(checkout).as_posix()
        for room in ("jobs", "crawldb")
        for path in (checkout / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert installed == sources


def test_the_wheel_carries_licence_and_notice(wheel: zipfile.ZipFile, checkout: Path) -> None:
    names = {name.rpartition("/")[2]: name for name in wheel.namelist() if ".dist-info/" in name}
    for file in ("LICENSE", "NOTICE"):
        assert wheel.read(names[file]) == (checkout / file).read_bytes()
    assert b"Apache License" in (checkout / "LICENSE").read_bytes()


def test_metadata(metadata: email.message.Message) -> None:
    assert metadata["Name"] == "cobnut"
    assert metadata["Requires-Python"] == ">=3.10"
    assert "Apache-2.0" in (metadata["License-Expression"], metadata["License"])


def test_the_command(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt")]
    assert wheel.read(name).decode().split() == ["[console_scripts]", "cobnut", "=", "jobs.cli:main"]
    assert callable(importlib.import_module("jobs.cli").main)


def test_requirements_are_bounded(requirements: dict[str, list[str]], metadata: email.message.Message) -> None:
    """Each has a lowest version that was tested and, but for tools without an interface of ours, a highest."""
    for requirement in requirements["RUN"]:
        assert re.match(
            r"[\w.-]+(==[\d.]+|>=[\d.]+,<[\d.]+|>=[\d.]+(,<[\d.]+)?; python_version < '3\.\d+')$", requirement
        )
    for requirement in (
        requirements["HDFS_NATIVE"]
        + requirements["BROWSER"]
        + requirements["KERBEROS"]
        + requirements["TEXT"]
        + requirements["TEST"]
    ):
        assert re.match(r"[\w.-]+>=[\d.]+(,<[\d.]+)?$", requirement)
    assert set(requirements["HDFS_NATIVE"] + requirements["BROWSER"] + requirements["TEXT"]) <= set(
        requirements["TEST"]
    )
    assert len(metadata.get_all("Requires-Dist", [])) == sum(map(len, requirements.values()))


def test_what_is_imported_is_what_is_required(requirements: dict[str, list[str]], checkout: Path) -> None:
    """No dependency that nobody uses, and none that only happens to be there."""
    imported = set()
    for room in ("jobs", "crawldb"):
        for path in (checkout / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    imported.add((node.module or "").partition(".")[0])
    third_party = imported - sys.stdlib_module_names - {"jobs", "crawldb", "tomllib", "compression"}
    names = [re.split(r"[=<>;]", requirement)[0] for requirement in requirements["RUN"]]
    assert third_party - OPTIONAL == {IMPORTED_AS.get(name, name) for name in names}
