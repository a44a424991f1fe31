"""The rooms of the house: which module may import what. Read from the sources, so nothing has to run."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
SOURCES = sorted(
    path.relative_to(CHECKOUT).as_posix() for room in ("jobs", "crawldb") for path in (CHECKOUT / room).rglob("*.py")
)

ROOMS = {
    "mrjob": r"jobs/(hadoop/)?[a-z_]+\.py",
    "requests": r"jobs/(fetching|demo)/.+|jobs/hadoop/yarn\.py|crawldb/webhdfs\.py",
    "requests_kerberos": r"jobs/hadoop/yarn\.py",
    "urllib3": r"jobs/(fetching|demo)/.+|crawldb/webhdfs\.py",
    "socket": r"jobs/(fetching|demo)/.+",
    "socketserver": r"jobs/(fetching|demo)/.+",
    "socks": r"jobs/fetching/connections\.py",
    "pycurl": r"jobs/fetching/curl_engine\.py",
    "select": r"jobs/fetching/curl_engine\.py",
    "ssl": r"jobs/(fetching|demo)/.+",
    "asyncio": r"jobs/(fetching|demo)/.+",
    "http.client": r"jobs/(fetching|demo)/.+",
    "http.server": r"jobs/(fetching|demo)/.+",
    "urllib.request": r"jobs/(fetching|demo)/.+",
    "playwright": r"jobs/fetching/(chromium|tabs)\.py",
    "brotli": r"jobs/fetching/decoding\.py",
    "compression": r"jobs/fetching/decoding\.py",
    "backports": r"jobs/fetching/decoding\.py",
    "http.cookiejar": r"jobs/fetching/cookies\.py",
    "lxml": r"jobs/parsing/.+",
    "cchardet": r"jobs/parsing/.+",
    "html.parser": r"jobs/parsing/.+",
    "pypdf": r"jobs/parsing/pdf\.py",
    "py3langid": r"jobs/parsing/language\.py",
    "trafilatura": r"jobs/parsing/main_text\.py",
    "hdfs": r"crawldb/webhdfs\.py",
    "hdfs_native": r"crawldb/hdfs\.py",
    "can_ada": r"crawldb/(urls|fingerprint)\.py",
    "w3lib.url": r"crawldb/(urls|fingerprint)\.py",
    "w3lib.encoding": r"jobs/parsing/charset\.py",
    "publicsuffixlist": r"crawldb/(urls|fingerprint)\.py",
    "tqdm": r"jobs/control\.py",
    "isal": r"jobs/archiving/.+",
}
"""By module (and all below it): the only files that may import it."""

ANYWHERE = {"numpy", "pyarrow", "tomli", "tomllib", "jobs", "crawldb"}
"""What is no business of one room alone."""


def imports(source: str, package: str) -> Iterator[str]:
    """All modules that a source imports, anywhere in it, as absolute dotted names; `package` is where it stands.

    `from a import b` counts as `a.b`, for b may be a module. importlib.import_module with a literal counts too.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value


def is_within(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def trespasses(path: str, source: str) -> list[str]:
    """What `source`, standing in the file `path`, imports against the rules of the house."""
    found = []
    for module in imports(source, path.rpartition("/")[0].replace("/", ".")):
        if path.startswith("crawldb/") and is_within(module, "jobs"):
            found.append(f"{path} imports {module}: crawldb/ never imports jobs/")
        for room, allowed in ROOMS.items():
            if is_within(module, room) and not re.fullmatch(allowed, path):
                found.append(f"{path} imports {module}: only {allowed} may")
    return found


@pytest.mark.parametrize("path", SOURCES)
def test_imports_keep_to_their_room(path: str) -> None:
    assert not trespasses(path, (CHECKOUT / path).read_text("utf-8"))


@pytest.mark.parametrize("path", SOURCES)
def test_every_third_party_library_has_a_room(path: str) -> None:
    """A new dependency is given a room here before it can be used."""
    known = {name.partition(".")[0] for name in ROOMS} | ANYWHERE | sys.stdlib_module_names
    tops = {name.partition(".")[0] for name in imports((CHECKOUT / path).read_text("utf-8"), path.rpartition("/")[0])}
    assert not tops - known


@pytest.mark.parametrize("path", SOURCES)
def test_every_module_says_what_it_is(path: str) -> None:
    source = (CHECKOUT / path).read_text("utf-8")
    assert not source or ast.get_docstring(ast.parse(source)), f"{path} has no docstring"
    assert Path(path).stem not in ("utils", "util", "helpers", "helper", "manager", "common", "misc")


def test_there_are_sources() -> None:
    assert {"crawldb/schema.py", "crawldb/update.py", "jobs/base.py", "jobs/crawl.py"} <= set(SOURCES)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("crawldb/store.py", "import jobs"),
        ("crawldb/store.py", "from jobs.base import CrawlJob"),
        ("crawldb/store.py", "def late():\n    from jobs import base"),
        ("crawldb/store.py", "import importlib\nimportlib.import_module('jobs.base')"),
        ("crawldb/deep/store.py", "from ...jobs import base"),
        ("jobs/parsing/html.py", "from mrjob.job import MRJob"),
        ("jobs/parsing/html.py", "from http import client"),
        ("jobs/parsing/html.py", "import http.client as harmless"),
        ("jobs/base.py", "import requests.adapters"),
        ("jobs/base.py", "from urllib import request"),
        ("jobs/fetching/robots.py", "import lxml.etree"),
        ("crawldb/store.py", "import hdfs"),
        ("crawldb/store.py", "from w3lib.url import canonicalize_url"),
    ],
)
def test_a_trespass_is_found(path: str, source: str) -> None:
    assert len(trespasses(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("jobs/base.py", "from mrjob.job import MRJob\nfrom crawldb.store import Store"),
        ("jobs/fetching/engines.py", "import socket, requests, urllib3\nfrom http import client"),
        ("jobs/parsing/html.py", "from lxml import etree\nfrom http import HTTPStatus"),
        ("jobs/fetching/robots.py", "from . import politeness\nfrom urllib.parse import urlsplit"),
    ],
)
def test_what_is_allowed_passes(path: str, source: str) -> None:
    assert trespasses(path, source) == []
