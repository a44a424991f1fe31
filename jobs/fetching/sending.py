"""What goes out: our own header fields, those of one request, and what must never be sent.

Pure functions, for every engine; they open no socket.
"""

from __future__ import annotations

import re

from crawldb.errors import UsageError
from crawldb.settings import Settings
from jobs.fetching.contract import FetchRequest
from jobs.fetching.decoding import ACCEPTED

_URL = re.compile(r"https?://[^\s/?#\x00-\x1f\x7f-\U0010ffff]+/[!-~]*").fullmatch
_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+").fullmatch
_FRAMING_HEADERS = {"content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "expect", "te"}
"""Ours to set: with others the server and we would not agree where a message ends."""


def user_agent(settings: Settings) -> str:
    """The User-Agent header: `name/version (description; url; email)`.

    Raises UsageError when http.agent_name is empty or not a product token (RFC 9110 §10.1.5), or when another part
    cannot stand in a header.
    """
    http = settings.http
    name = http.agent_name.strip()
    if not name:
        raise UsageError(
            "http.agent_name is not set: choose a name that webmasters can find you by and put "
            'agent_name = "…" under [http] in conf/crawl-site.toml, or give --set http.agent_name=…'
        )
    product = f"{name}/{http.agent_version.strip()}" if http.agent_version.strip() else name
    if not all(_TOKEN(part) for part in product.split("/")):
        raise UsageError(f"http.agent_name, http.agent_version = {product}: expected letters, digits, - and _ only")
    comments = [part.strip() for part in (http.agent_description, http.agent_url, http.agent_email) if part.strip()]
    agent = f"{product} ({'; '.join(comments)})" if comments else product
    if not (agent.isascii() and agent.isprintable()):
        raise UsageError(f"http.agent_description, agent_url, agent_email = {agent!r}: expected printable ASCII")
    return agent


def own_headers(settings: Settings) -> dict[str, str]:
    """What every request carries. Raises UsageError if a setting cannot stand in a header."""
    headers = {
        "User-Agent": user_agent(settings),
        "Accept": settings.http.accept.strip(),
        "Accept-Language": settings.http.accept_language.strip(),
        "Accept-Encoding": ACCEPTED,
    }
    for name, value in headers.items():
        if not _sendable(value):
            setting = f"http.{name.lower().replace('-', '_')}"
            raise UsageError(f"{setting} = {value!r}: expected Latin-1 text in one line")
    return {name: value for name, value in headers.items() if value}


def page_headers(request: FetchRequest, own: dict[str, str], conditional: bool) -> dict[str, str]:
    """The header fields of one request: ours, the validators of an earlier answer if `conditional`, and its own."""
    headers = dict(own)
    if conditional:
        if request.etag and _sendable(request.etag):
            headers["If-None-Match"] = request.etag
        if request.last_modified and _sendable(request.last_modified):
            headers["If-Modified-Since"] = request.last_modified
    if request.headers:
        ours = {name.lower(): name for name in headers}
        for name, value in request.headers.items():
            if name.lower() not in _FRAMING_HEADERS:
                headers.pop(ours.get(name.lower(), ""), None)
                headers[name] = value
    if request.body is not None:
        headers["Content-Length"] = str(len(request.body))
    return headers


def unsendable(request: FetchRequest) -> str | None:
    """What is wrong with a request that must not be sent as it is; None if it may be."""
    if not _URL(request.url):
        return f"not a canonical URL: {request.url[:200]}"
    if request.method is not None and not _TOKEN(request.method):
        return f"not a method: {request.method[:100]!r}"
    for name, value in (request.headers or {}).items():
        if not _TOKEN(name) or not _sendable(value):
            return f"not a header field: {name[:100]!r}: {value[:100]!r}"
    return None


def _sendable(value: str) -> bool:
    """True if it can be a header's value (RFC 9110 §5.5): no CR, LF or NUL, one octet a character."""
    return not any(character in "\r\n\0" or character > "\xff" for character in value)
