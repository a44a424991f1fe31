"""What the tasks need on the nodes, packed: Python with the packages that Cobnut depends on, and our own code.

Each archive is kept in HDFS under the hash of what is in it, so it is made and uploaded once, and YARN unpacks it once
on every node. The code travels apart from the environment: a change of it ships kilobytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import io
import platform
import py_compile
import re
import shutil
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO

from crawldb.errors import UsageError
from crawldb.filesystem import FileSystem, unfinished
from jobs.command import say

PACKAGES = "packages"
"""Directory of the environment's archive for PYTHONPATH."""

PYTHON = "python/bin/python3"
"""The interpreter in the environment's archive, if it carries one."""

LIBRARIES = "env/python/lib"
"""Where the tasks' dynamic loader finds the interpreter's own library, if it is a shared one."""

_FORMAT = "1"
"""Part of the hashes; a change of the archives' layout changes it."""

_ROOT = Path(__file__).resolve().parent.parent.parent

_LEFT_OUT = re.compile(r"(^|/)(tests?|includes?|idlelib|tkinter|turtledemo|ensurepip|lib2to3|site-packages|dist-packages"
                       r"|config-[^/]*)/|\.(pxd|pyx|pxi|h|hpp|c|cpp|a|exe)$")  # fmt: skip
"""Of packages and the standard library: what no task needs."""


def requirements(extras: Collection[str] = ()) -> list[importlib.metadata.Distribution]:
    """The installed distributions that Cobnut (with some of setup.py's extras) depends on, by name; not Cobnut itself."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting: list[tuple[str, Collection[str]]] = [("cobnut", extras)]
    while waiting:
        name, wanted = waiting.pop()
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another Python, or optional
        if name != "cobnut":
            if _normal(name) in found:
                continue
            found[_normal(name)] = distribution
        for line in distribution.requires or ():
            requirement, _, marker = line.partition(";")
            of_extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
            if of_extra and of_extra[1] not in wanted:
                continue
            match = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
            if match:
                waiting.append((match[0], ()))
    return [found[name] for name in sorted(found)]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def environment(fs: FileSystem, stage: str, with_python: bool, extras: Collection[str] = ()) -> str:
    """The environment's archive in `stage`, made and uploaded if it is not there yet."""
    distributions = requirements(extras)
    content = [
        _FORMAT,
        sys.version,
        platform.system(),
        platform.machine(),
        *platform.libc_ver(),
        str(with_python),
        sys.prefix if with_python else "",
    ]
    content += [f"{one.metadata['Name']}=={one.version}" for one in distributions]
    name = f"environment-{hashlib.sha256(chr(10).join(content).encode()).hexdigest()[:20]}.tar.gz"
    if not fs.exists(f"{stage}/{name}"):
        say(f"hadoop    packing Python's packages for the nodes into {stage}: once, about half a minute")
    return _in_stage(fs, f"{stage}/{name}", lambda archive: _pack_environment(archive, distributions, with_python))


def code(fs: FileSystem, stage: str, extra_files: list[str]) -> str:
    """The archive of `jobs`, `crawldb` and the user's own Python files in `stage`, uploaded if it is not there yet."""
    sources: dict[str, bytes] = {}
    for room in ("jobs", "crawldb"):
        for path in sorted((_ROOT / room).rglob("*.py")):
            sources[path.relative_to(_ROOT).as_posix()] = path.read_bytes()
    for extra in extra_files:
        path = Path(extra).absolute()
        if not path.exists():
            raise UsageError(f"hadoop.py_files: {extra}: no such file or directory")
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*.py"))
        sources.update({file.relative_to(path.parent).as_posix(): file.read_bytes() for file in files})
    digest = hashlib.sha256(f"{_FORMAT} {sys.version}".encode())
    for name, source in sources.items():
        digest.update(f"\n{name} {len(source)}\n".encode() + source)
    return _in_stage(
        fs, f"{stage}/code-{digest.hexdigest()[:20]}.tar.gz", lambda archive: _pack_sources(archive, sources)
    )


def _in_stage(fs: FileSystem, path: str, pack: Callable[[tarfile.TarFile], None]) -> str:
    if not fs.exists(path):
        with tempfile.TemporaryFile() as spool:
            with tarfile.open(fileobj=spool, mode="w:gz", compresslevel=1) as archive:
                pack(archive)
            spool.seek(0)
            upload(fs, spool, path)
    return path


def upload(fs: FileSystem, source: IO[bytes], path: str) -> None:
    """A file of the command's machine to `path`, whole or not at all; one that is there already stays."""
    written = unfinished(path)
    with fs.open_output(written) as output:
        shutil.copyfileobj(source, output, 4 << 20)
    try:
        fs.publish(written, path)
    except FileExistsError:
        fs.remove(written)


def _pack_sources(archive: tarfile.TarFile, sources: dict[str, bytes]) -> None:
    """Sources with their byte code, which the interpreter takes without a look at times: unpacking changes those."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, source in sources.items():
            _add_bytes(archive, name, source)
            path = Path(scratch, "source.py")
            path.write_bytes(source)
            with contextlib.suppress(py_compile.PyCompileError):
                compiled = py_compile.compile(
                    str(path),
                    f"{path}c",
                    name,
                    doraise=True,
                    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
                )
                assert compiled is not None
                _add_bytes(archive, importlib.util.cache_from_source(name), Path(compiled).read_bytes())


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(content), 0o644, 1_000_000_000
    archive.addfile(member, io.BytesIO(content))


def _pack_environment(
    archive: tarfile.TarFile, distributions: list[importlib.metadata.Distribution], with_python: bool
) -> None:
    for distribution in distributions:
        for file in distribution.files or ():
            name = file.as_posix()
            if not name.startswith("..") and not _LEFT_OUT.search(name):
                path = Path(str(distribution.locate_file(file)))
                if path.is_file():
                    archive.add(path, f"{PACKAGES}/{name}", recursive=False)
    if with_python:
        for path, name in _interpreter():
            archive.add(path.resolve(), f"python/{name}", recursive=False)


def _interpreter() -> Iterator[tuple[Path, str]]:
    """(file, name below `python/`) of this interpreter, such that it finds its library beside itself."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    executable = Path(getattr(sys, "_base_executable", None) or sys.executable)
    yield executable, "bin/python3"
    library = Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix}))
    for path in sorted(library.rglob("*")):
        name = path.relative_to(library).as_posix()
        if path.is_file() and not _LEFT_OUT.search(name):
            yield path, f"lib/{version}/{name}"
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        shared = Path(sysconfig.get_config_var("LIBDIR") or "", sysconfig.get_config_var("INSTSONAME") or "")
        if shared.is_file():
            yield shared, f"lib/{shared.name}"
