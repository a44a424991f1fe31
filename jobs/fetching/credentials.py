"""Passwords and header fields by origin: `fetch.credentials_file`.

Owns that file's format, and that what it holds goes to the origin it names and nowhere else: scheme, host and port all
alike, so never to another host, another port, or down to http. Nothing of it is ever printed.

    ["https://intranet.example"]
    basic = "user:password"                     # or: bearer = "…"
    headers = { X-Api-Key = "…" }
"""

from __future__ import annotations

import base64
import os
import re
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crawldb.errors import UsageError
from crawldb.settings import Settings
from crawldb.urls import canonicalize, origin_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+").fullmatch
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch
_BEARER = re.compile(r"[-A-Za-z0-9._~+/]+=*").fullmatch
"""b64token (RFC 6750 §2.1)."""
_NOT_THESE = {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "expect", "te", "trailer"}  # fmt: skip
"""Ours to set: with others the server and we would not agree where a message ends, or whom it is for."""
_KEYS = ("basic", "bearer", "headers")


class Credentials:
    """What to send to which origin. True if there is anything at all. Its repr shows origins alone."""

    def __init__(self, by_origin: Mapping[str, Mapping[str, str]] | None = None, notes: tuple[str, ...] = ()) -> None:
        self._by_origin = {origin: dict(fields) for origin, fields in (by_origin or {}).items()}
        self.notes = notes
        """For the user."""

    @classmethod
    def load(cls, settings: Settings) -> Credentials:
        """Those of `fetch.credentials_file`; none if it is not set. Raises UsageError, which never shows a secret."""
        name = settings.fetch.credentials_file
        return _read(Path(name)) if name else cls()

    def fields(self, origin: str) -> dict[str, str]:
        """Header fields for requests to `origin`, as `crawldb.urls.origin_of` gives it."""
        return dict(self._by_origin.get(origin, ()))

    def __bool__(self) -> bool:
        return bool(self._by_origin)

    def __repr__(self) -> str:
        return f"<Credentials for {', '.join(self._by_origin) or 'nobody'}>"


def _read(file: Path) -> Credentials:
    try:
        text = file.read_text("utf-8")
        mode = file.stat().st_mode
    except OSError as error:
        raise UsageError(f"fetch.credentials_file: {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file}: not UTF-8") from None
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Its own words may quote the file
        place = re.search(r"at line \d+, column \d+", str(error))
        raise UsageError(f"{file}: not TOML{' ' + place[0] if place else ''}") from None
    except RecursionError:
        raise UsageError(f"{file}: nested too deeply") from None
    by_origin: dict[str, dict[str, str]] = {}
    for key, table in tree.items():
        origin = _origin(file, key)
        if origin in by_origin:
            raise UsageError(f"{file}: {origin} is there twice")
        by_origin[origin] = _fields(file, origin, table)
    return Credentials(by_origin, _notes(file, mode))


def _notes(file: Path, mode: int) -> tuple[str, ...]:
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        return (f"{file} holds passwords and other users of this machine may read it: chmod 600 {file}",)
    return ()


def _origin(file: Path, key: str) -> str:
    """The canonical origin that a table's name means."""
    if "@" in key:
        raise UsageError(f"{file}: a table's name has a user in it: expected an origin, and basic = … under it")
    url = canonicalize(key) if key.startswith(("http://", "https://")) else None
    if url is None or url != origin_of(url) + "/" or "?" in key or "#" in key:
        raise UsageError(f'{file}: [{key[:200]!r}]: expected an origin, such as ["https://intranet.example"]')
    return origin_of(url)


def _fields(file: Path, origin: str, table: Any) -> dict[str, str]:
    where = f"{file}: {origin}"
    if not isinstance(table, dict) or not table or not set(table) <= set(_KEYS):
        raise UsageError(f"{where}: expected a table with one or more of {', '.join(_KEYS)}")
    if "basic" in table and "bearer" in table:
        raise UsageError(f"{where}: basic and bearer exclude each other")
    fields: dict[str, str] = {}
    headers = table.get("headers", {})
    if not isinstance(headers, dict):
        raise UsageError(f"{where}: headers: expected a table of names and strings")
    for name, value in headers.items():
        if not _TOKEN(name) or name.lower() in _NOT_THESE or name.lower() in {known.lower() for known in fields}:
            raise UsageError(f"{where}: headers: {name[:100]!r} cannot be set")
        if not isinstance(value, str) or not _VALUE(value):
            raise UsageError(f"{where}: headers: {name}: expected Latin-1 text in one line")
        fields[name] = value.strip()
    authorization = _authorization(where, table)
    if authorization is not None:
        if "authorization" in {name.lower() for name in fields}:
            raise UsageError(f"{where}: headers: Authorization, besides basic or bearer")
        fields["Authorization"] = authorization
    return fields


def _authorization(where: str, table: dict[str, Any]) -> str | None:
    if "basic" in table:
        pair = table["basic"]
        if not isinstance(pair, str) or ":" not in pair or not pair.isprintable():
            raise UsageError(f'{where}: basic: expected "user:password"')
        return "Basic " + base64.b64encode(pair.encode()).decode("ascii")  # RFC 7617 §2.1: UTF-8
    if "bearer" in table:
        token = table["bearer"]
        if not isinstance(token, str) or not _BEARER(token):
            raise UsageError(f"{where}: bearer: expected a token")
        return "Bearer " + token
    return None
