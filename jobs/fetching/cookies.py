"""One host's cookies during a fetch task (`fetch.cookies`).

Owns what is kept and sent back; http.cookiejar reads and matches (RFC 6265). Each host has a jar of its own, so a
cookie for a whole domain comes back to the host that set it alone. Nothing is written anywhere.
"""

from __future__ import annotations

import email.message
import http.cookiejar
import itertools
import threading
import urllib.request
from collections.abc import Sequence

from crawldb.urls import host_of, registrable_domain

_MAX_COOKIES = 50
_MAX_BYTES = 4096
"""Of a name and its value. RFC 6265 §6.1 asks for both as the least; Chromium has about the same."""
_MAX_FIELD = 2 * _MAX_BYTES
_TURN = "turn"
"""The attribute that holds a cookie's place among all that were stored; a server's own of that name is overwritten."""
_MAX_HEADER = 8192
"""Bytes in one request: servers refuse a longer line."""


class CookieJar:
    """The cookies of one host: the first whose answer stores any. Thread-safe; goes by the system's clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._host: str | None = None
        self._jar: http.cookiejar.CookieJar | None = None

    def header(self, url: str) -> str | None:
        """The value of Cookie for a request to `url` (canonical); None: there is nothing to send."""
        if self._jar is None or host_of(url) != self._host:
            return None
        request = urllib.request.Request(url)
        with self._lock:
            self._jar.add_cookie_header(request)
        value = request.get_header("Cookie")
        while value is not None and len(value) > _MAX_HEADER:
            value = value.rpartition("; ")[0] or None  # the cookies of the shortest paths stand last
        return value

    def store(self, url: str, fields: Sequence[tuple[str, str]]) -> None:
        """Keep what the Set-Cookie fields of an answer from `url` (canonical) say; `fields` are all its header fields.

        A cookie that makes no sense is none, and nothing raises.
        """
        answer = _Answer()
        host = host_of(url)
        for name, value in fields:
            if name.lower() == "set-cookie" and len(value) <= _MAX_FIELD and value.isascii() and value.isprintable():
                answer.fields["Set-Cookie"] = _without_idle_attributes(value, host)
        if not answer.fields:
            return
        with self._lock:
            if self._jar is None:
                self._host, self._jar = host, http.cookiejar.CookieJar(_Policy())
            if self._host != host:
                return
            self._jar.extract_cookies(answer, urllib.request.Request(url))  # type: ignore[arg-type]
            if len(self._jar) > _MAX_COOKIES:
                self._jar.clear_expired_cookies()
                # The jar itself goes by domain and path, not by age
                by_age = sorted(self._jar, key=lambda cookie: int(cookie.get_nonstandard_attr(_TURN) or 0))
                for oldest in by_age[: max(0, len(by_age) - _MAX_COOKIES)]:
                    self._jar.clear(oldest.domain, oldest.path, oldest.name)

    def __len__(self) -> int:
        return 0 if self._jar is None else len(self._jar)


class _Answer:
    """What http.cookiejar wants to see of an answer."""

    def __init__(self) -> None:
        self.fields = email.message.Message()

    def info(self) -> email.message.Message:
        return self.fields


class _Policy(http.cookiejar.DefaultCookiePolicy):
    """RFC 6265 where http.cookiejar is older; numbers what it lets in."""

    def __init__(self) -> None:
        super().__init__()
        self._turns = itertools.count(1)

    def set_ok(self, cookie: http.cookiejar.Cookie, request: urllib.request.Request) -> bool:
        if len(cookie.name) + len(cookie.value or "") > _MAX_BYTES:
            return False
        is_https = request.type == "https"
        if cookie.secure and not is_https:
            return False  # RFC 6265bis §5.7: nobody on the way may put one in
        name = cookie.name.lower()
        if name.startswith(("__secure-", "__host-")) and not cookie.secure:
            return False
        if name.startswith("__host-") and (cookie.domain_specified or cookie.path != "/"):
            return False
        if cookie.domain_specified and _is_public_suffix(cookie.domain.lstrip(".")):
            return False
        if not super().set_ok(cookie, request):
            return False
        cookie.set_nonstandard_attr(_TURN, str(next(self._turns)))
        return True


def _without_idle_attributes(field: str, host: str) -> str:
    """A Set-Cookie field without attributes that say nothing: a Domain that names `host` itself, which would be refused
    where the host is an address, a single label or a public suffix (RFC 6265 §5.3, step 5: such a cookie is the host's
    own), and a Max-Age that is no number (§5.2.2: to be ignored; http.cookiejar takes one without a value for a bug).
    """
    pair, *attributes = field.split(";")
    no_domain = (
        pair.lstrip().lower().startswith("__host-")
    )  # may have no Domain at all: it stays, and is refused for it
    others = [attribute for attribute in attributes if not _is_idle(attribute, host, no_domain)]
    return ";".join([pair, *others])


def _is_idle(attribute: str, host: str, no_domain: bool) -> bool:
    name, _, value = attribute.partition("=")
    name, value = name.strip().lower(), value.strip(' "')
    if name == "max-age":
        return not value.removeprefix("-").isdecimal()
    return name == "domain" and not no_domain and value.removeprefix(".").lower() == host


def _is_public_suffix(domain: str) -> bool:
    """True if others' domains are below it: then it is no domain of the host's own (RFC 6265 §5.3, step 5)."""
    return registrable_domain(f"x.{domain}") == f"x.{domain}"
