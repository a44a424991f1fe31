"""CDXJ, the index beside a WARC file that pywb and OpenWayback read: `key time {json}` a line, sorted.

Owns the key, a URL's SURT (Sort-friendly URI Reordering Transform) as the `surt` library canonicalizes, so that what
looks a URL up by that library finds it.
"""

from __future__ import annotations

import json
import re

_URL = re.compile(r"(https?)://([^/?#]*)([^?#]*)(?:\?([^#]*))?", re.DOTALL)
_WWW = re.compile(r"^www\d*\.")
_SESSIONS = (
    re.compile(r"^(.*)(?:sid=[0-9a-zA-Z]{32})(?:&(.*))?$"),
    re.compile(r"^(.*)(?:jsessionid=[0-9a-zA-Z$]{10,})(?:&(.*))?$", re.IGNORECASE),
    re.compile(r"^(.*)(?:phpsessid=[0-9a-zA-Z]{16,})(?:&(.*))?$", re.IGNORECASE),
    re.compile(r"^(.*)(?:aspsessionid[a-zA-Z]{8}=[a-zA-Z]{24})(?:&(.*))?$", re.IGNORECASE),
    re.compile(r"^(.*)(?:cfid=[^&]+&cftoken=[^&]+)(?:&(.*))?$", re.IGNORECASE),
)
"""What identifies a visitor and not a page; group 1 stands before it, group 2 after it."""
_PATH_SESSIONS = (
    re.compile(r"^(.*/)(\((?:[a-z]\([0-9a-z]{24}\))+\)/)([^?]+\.aspx.*)$", re.IGNORECASE),
    re.compile(r"^(.*/)(\([0-9a-z]{24}\)/)([^?]+\.aspx.*)$", re.IGNORECASE),
)
_PATH_PARAMETER = re.compile(r"^(.+?);jsessionid=[0-9a-z$]{32,}(.*)$", re.IGNORECASE | re.DOTALL)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def surt(url: str) -> str:
    """The key of a canonical URL.

    >>> surt("https://www.Example.com:8080/A/?b=2&a=1")
    'com,example:8080)/a?a=1&b=2'
    """
    match = _URL.fullmatch(url)
    if match is None:
        return url
    scheme, authority, path, query = match.groups()
    host, port = (
        (authority, "")
        if authority.endswith("]")
        else (authority.rpartition(":")[::2] if ":" in authority else (authority, ""))
    )
    host = _WWW.sub("", host.lower().rstrip("."))
    if not (host.startswith("[") or host.replace(".", "").isdigit()):
        host = ",".join(reversed(host.split(".")))
    if port and port != _DEFAULT_PORTS[scheme]:
        host += f":{port}"
    path = path.lower()
    for pattern in _PATH_SESSIONS:
        if found := pattern.match(path):
            path = found[1] + found[3]
    if found := _PATH_PARAMETER.match(path):
        path = found[1] + found[2]
    path = path.rstrip("/") if len(path) > 1 and path.endswith("/") and not path.endswith("//") else path
    text = f"{host}){path or '/'}"
    if query:
        query = query.lower()
        for pattern in _SESSIONS:
            if found := pattern.match(query):
                query = found[1] + (found[2] or "")
        fields = sorted(field for field in query.split("&"))
        query = "&".join(fields).strip("&") if fields else ""
    return f"{text}?{query}" if query else text


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
    """Key, time and values of a line."""
    key, time, values = text.split(" ", 2)
    return key, time, json.loads(values)
