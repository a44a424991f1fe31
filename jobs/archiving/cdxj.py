"""CDXJ, the index beside a WARC file that pywb and OpenWayback read: `key time {json}` a line, sorted.

Owns the key, a URL's SURT (Sort-friendly URI Reordering Transform) as the `surt` library canonicalizes, so that what
looks a URL up by that library finds it.
"""

from __future__ import annotations

import json
import re
from urllib.parse import unquote_to_bytes

_URL = re.compile(r"(https?)://([^/?#]*)([^?#]*)(?:\?([^#]*))?", re.DOTALL)
_WWW = re.compile(r"www\d*\.")
_SESSIONS = tuple(
    re.compile(rf"^(.*){session}(?:&(.*))?$", re.IGNORECASE)
    for session in (
        "(?:jsessionid=[0-9a-z]{32})", "(?:phpsessid=[0-9a-z]{32})", "(?:sid=[0-9a-z]{32})",
        "(?:aspsessionid[a-z]{8}=[a-z]{24})", "(?:cfid=[^&]+&cftoken=[^&]+)",
    )
)  # fmt: skip
"""What identifies a visitor and not a page, in a query; group 1 stands before it, group 2 after it."""
_PATH_SESSIONS = tuple(
    re.compile(rf"^(.*/)({session}/)([^?]+\.aspx.*)$", re.IGNORECASE)
    for session in (r"\((?:[a-z]\([0-9a-z]{24}\))+\)", r"\([0-9a-z]{24}\)")
)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_UNSAFE = re.compile(rb"[\0-\x20\x7f-\xff#%]")


def surt(url: str) -> str:
    """The key of a canonical URL.

    >>> surt("https://www.example.com:8080/A/?a=1&b=2")
    'com,example:8080)/a?a=1&b=2'
    """
    match = _URL.fullmatch(url)
    if match is None:
        return url
    scheme, authority, path, query = match.groups()
    host, port = authority, ""
    if host[-1:] == "]":
        host = host[1:-1]
    elif ":" in host:
        host, _, port = host.rpartition(":")
        host = host.strip("[]")
    if host.startswith("www"):
        host = _WWW.sub("", host, count=1)
    host = ",".join(reversed(host.split(".")))
    if port and port != _DEFAULT_PORTS[scheme]:
        host += f":{port}"
    path = _escaped_once(path).lower()
    if "//" in path or "/." in path:
        path = _without_dots(path)
    if path.find(".aspx") > 0:
        for pattern in _PATH_SESSIONS:
            if found := pattern.match(path):
                path = found[1] + found[3]
    if len(path) > 1 and path[-1] == "/":
        path = path[:-1]
    if not query:
        return f"{host}){path}"
    query = _escaped_once(query)
    for pattern in _SESSIONS:
        if found := pattern.match(query):
            query = found[1] + (found[2] or "")
    query = query.lower()
    if len(query) > 1:
        query = "&".join("=".join(field) for field in sorted(field.split("=", 1) for field in query.split("&")))
    return f"{host}){path}?{query}" if query else f"{host}){path}"


def _escaped_once(text: str) -> str:
    """The text with all its escapes undone, however deep, and only those made anew that there must be."""
    if "%" not in text:
        return text
    plain = text.encode("utf-8", "surrogatepass")
    while (again := unquote_to_bytes(plain)) != plain:
        plain = again
    return _UNSAFE.sub(lambda found: b"%%%02X" % found[0][0], plain).decode()


def _without_dots(path: str) -> str:
    """The path without empty segments, . and .. in it."""
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            kept = kept[:-1]
        elif segment not in ("", "."):
            kept.append(segment)
    return "/" + "/".join(kept) + ("/" if kept and segments[-1] in ("", ".", "..") else "")


def line(url: str, date: str, values: dict[str, str], method: str | None = None, body: bytes | None = None) -> str:
    """A line of the index. `date`: as in WARC-Date. A request that is no GET has its method and form in the key."""
    key = surt(url)
    if method not in (None, "GET"):
        form = (body or b"").decode("utf-8", "replace")
        more = f"__wb_method={method}" + (f"&{form}" if form and "\n" not in form and " " not in form else "")
        key += ("&" if "?" in key else "?") + more.lower()
        values = {**values, "method": str(method)}
    digits = "".join(character for character in date[:19] if character.isdigit())
    return f"{key} {digits} {json.dumps({'url': url, **values})}"


def read(text: str) -> tuple[str, str, dict[str, str]]:
    """Key, time and values of a line. Raises ValueError for what is none."""
    key, time, values = text.split(" ", 2)
    try:
        return key, time, json.loads(values)
    except RecursionError:
        raise ValueError("nested too deeply") from None
