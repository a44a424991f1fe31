"""By which way requests leave: source addresses and proxies.

Owns the choice for each host, the proxies file, and the proxies' health. A host stays on one source address and one
proxy, by rendezvous hashing: another address or proxy in the pool moves only the hosts that go to it. Connects to
nothing; the engines do, and say with `failed` and `worked` how it went.

A line of the proxies file is `URL [HOST_PATTERN …]`. Lines with patterns serve those hosts alone, and the first line
that matches decides; lines without are the pool for all other hosts. No message shows a line's text: it may hold a
password.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import ipaddress
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import unquote, urlsplit

from crawldb.errors import UsageError
from crawldb.settings import Settings
from crawldb.urls import canonicalize, host_of

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_DIRECT = "direct"
_TRIAL_SECONDS = 1.0
"""While one host tries a proxy anew, its others ask again after this."""
_BIND_ADDRESS_NO_PORT = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24) if sys.platform == "linux" else None
"""linux/in.h; Python has the name from 3.11 or 3.12 on, where the system's headers have it."""


@dataclass(frozen=True)
class Proxy:
    """A proxy. Neither str nor repr shows its password."""

    scheme: str
    """http, https (TLS to the proxy itself), socks5 or socks5h."""
    host: str
    """Without brackets."""
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Without credentials; an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_socks(self) -> bool:
        return self.scheme.startswith("socks")

    @property
    def resolves(self) -> bool:
        """True if the proxy looks names up, so that what it connects to is out of our sight: all but socks5."""
        return self.scheme != "socks5"

    def fields(self) -> dict[str, str]:
        """Header fields for a proxy that speaks HTTP: Proxy-Authorization, if it has a user."""
        if self.user is None or self.is_socks:
            return {}
        pair = f"{self.user}:{self.password or ''}"
        return {"Proxy-Authorization": "Basic " + base64.b64encode(pair.encode()).decode("ascii")}

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True)
class Route:
    """The way to a host. Its source address depends on where the connection goes: `Egress.source_for`."""

    proxy: Proxy | None = None
    """None: directly."""
    wait: float = 0.0
    """Seconds after which to ask again, for all of the host's proxies are out; until then nothing can be sent."""


@dataclass
class _Health:
    """What is known of one proxy."""

    out_until: float | None = None
    """Of the clock; None: it works, as far as anybody knows."""
    trial: str | None = None
    """The host that tries it anew."""
    trial_until: float = 0.0
    failures: int = 0
    """In a row."""
    detail: str | None = None


Member = Proxy | None
"""Of a pool; None goes without a proxy."""
Chosen = TypeVar("Chosen")


class _Rendezvous(Generic[Chosen]):
    """Members of which each host has its own order, by the highest hash of host and member (Thaler and Ravishankar,
    "Using name-based mappings to increase hit rates", 1998): a member more or less moves its own hosts alone.
    """

    def __init__(self, members: Iterable[tuple[str, Chosen]]) -> None:
        self._members = list(members)
        self.first: Callable[[str], Chosen] = functools.lru_cache(1 << 16)(self._first)

    def _first(self, host: str) -> Chosen:
        return max(self._members, key=lambda member: _score(host, member[0]))[1]

    def ranked(self, host: str) -> list[Chosen]:
        """All members in the host's order."""
        order = sorted(self._members, key=lambda member: _score(host, member[0]), reverse=True)
        return [member for _, member in order]


def _score(host: str, name: str) -> bytes:
    return hashlib.blake2b(f"{host}\0{name}".encode(), digest_size=8).digest()


def _proxies(members: Iterable[Member]) -> _Rendezvous[Member]:
    """By name and user, not by password: a new one moves no host."""
    return _Rendezvous(
        (_DIRECT if member is None else f"{member.user or ''}@{member.url}", member) for member in members
    )


class Egress:
    """The ways out of one fetch task. Thread-safe; nothing waits.

    Raises UsageError for a source address that is none of this machine's, and for a bad proxies file.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        egress = settings.egress
        self._clock = clock
        self._pause = egress.proxy_pause
        self._sources = _source_addresses(egress.source_addresses, settings.fetch.ip_version)
        file = egress.proxies_file
        self._pool, self._exact, self._below = _read(Path(file)) if file else (None, {}, {})
        self._lock = threading.Lock()
        self._health: dict[Proxy, _Health] = {}

    # -- source addresses -----------------------------------------------------------------------------------------

    def source_for(self, host: str, address: str) -> str | None:
        """The address to connect from for `host`, when the connection goes to `address` (the host's, or its proxy's).

        None: the system chooses. Where there are source addresses, but none of that family: `can_reach`.
        """
        sources = self._sources.get(6 if ":" in address else 4)
        return sources.first(host) if sources is not None else None

    def can_reach(self, address: str) -> bool:
        """False if there are source addresses, but none of this one's family: then the system would choose one that
        nobody named.
        """
        return not self._sources or (6 if ":" in address else 4) in self._sources

    # -- proxies --------------------------------------------------------------------------------------------------

    def route(self, host: str) -> Route:
        """The way to `host` (as `crawldb.urls.host_of` gives it) now."""
        pool = self._pool_of(host)
        if pool is None:
            return Route()
        first = pool.first(host)
        if first is None or first not in self._health:  # as nearly always
            return Route(first)
        waits: list[tuple[float, int, Proxy]] = []
        now = self._clock()
        with self._lock:
            for place, member in enumerate(pool.ranked(host)):
                if member is None:
                    return Route(None)
                wait = self._wait(member, host, now)
                if wait <= 0:
                    return Route(member)
                waits.append((wait, place, member))
        wait, _, soonest = min(waits)
        return Route(soonest, wait)

    def failed(self, proxy: Proxy | None, detail: str | None = None) -> None:
        """A request failed because of its proxy: it is left out for `egress.proxy_pause` seconds."""
        if proxy is not None:
            with self._lock:
                health = self._health.setdefault(proxy, _Health())
                health.out_until, health.trial = self._clock() + self._pause, None
                health.failures += 1
                health.detail = detail

    def worked(self, proxy: Proxy | None) -> None:
        """A request through this proxy had an answer, whatever its status, of the server's."""
        if proxy is not None and proxy in self._health:
            with self._lock:
                self._health.pop(proxy, None)

    def notes(self) -> list[str]:
        """A line for the user about each proxy that does not work now."""
        with self._lock:
            return [
                f"the proxy {proxy} failed {health.failures} times in a row" + (f": {health.detail}" if health.detail else "")
                for proxy, health in self._health.items()
            ]  # fmt: skip

    def _pool_of(self, host: str) -> _Rendezvous[Member] | None:
        """None: directly."""
        if not self._exact and not self._below:
            return self._pool
        matches = [self._exact[host]] if host in self._exact else []
        matches += [self._below[name] for name in _above(host) if name in self._below]
        return min(matches, key=lambda match: match[0])[1] if matches else self._pool

    def _wait(self, proxy: Proxy, host: str, now: float) -> float:
        """Seconds until `host` may use this proxy; 0: now. After the pause one host tries it, the others wait."""
        health = self._health.get(proxy)
        if health is None or health.out_until is None:
            return 0.0
        if now < health.out_until:
            return health.out_until - now
        if health.trial in (None, host) or now >= health.trial_until:
            # A trial that nobody reports on (its request was cut off, say) does not last for ever
            health.trial, health.trial_until = host, now + max(self._pause, _TRIAL_SECONDS)
            return 0.0
        return _TRIAL_SECONDS


def bind(connection: socket.socket, source: str) -> None:
    """Bind a socket that is about to connect to the address `source`, IPv4 or IPv6 like the socket.

    The port is chosen when it connects, so that it needs to be free only towards that destination: thousands of
    connections to many servers can have the same one. Raises OSError.
    """
    if _BIND_ADDRESS_NO_PORT is not None:
        # Of this level for IPv6 sockets too (Linux: net/ipv6/ipv6_sockglue.c hands SOL_IP on). A kernel before 4.2
        # does not know it: the port is chosen now, so there are fewer.
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
    connection.bind((source, 0))


def _source_addresses(texts: list[str], ip_version: str) -> dict[int, _Rendezvous[str]]:
    """The addresses by IP version, each tried out."""
    setting = "egress.source_addresses"
    sources: dict[int, dict[str, str]] = {}
    for text in texts:
        try:
            address = ipaddress.ip_address(text.strip("[]"))
        except ValueError:
            raise UsageError(f"{setting}: {text}: expected an IPv4 or IPv6 address") from None
        if address.is_unspecified or address.is_multicast:
            raise UsageError(f"{setting}: {text}: no address to connect from")
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.bind((str(address), 0))
        except OSError as error:
            raise UsageError(f"{setting}: {text} is no address of this machine ({error.strerror})") from None
        sources.setdefault(address.version, {})[str(address)] = str(address)
    if sources and ip_version != "any" and int(ip_version) not in sources:
        raise UsageError(f"{setting} has no IPv{ip_version} address, and fetch.ip_version is {ip_version}")
    return {version: _Rendezvous(addresses.items()) for version, addresses in sources.items()}


# -- the file --------------------------------------------------------------------------------------------------------

Match = tuple[int, _Rendezvous[Member]]
"""Line number, and what serves its hosts."""


def _read(file: Path) -> tuple[_Rendezvous[Member] | None, dict[str, Match], dict[str, Match]]:
    """The pool (None: others go directly), the lines by exact host, and those by the name that they serve all names below of."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"egress.proxies_file: {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file}: not UTF-8") from None
    pool: list[Member] = []
    exact: dict[str, Match] = {}
    below: dict[str, Match] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        words = words[: next((place for place, word in enumerate(words) if word.startswith("#")), len(words))]
        if not words:
            continue
        try:
            member = None if words[0] == _DIRECT else parse_proxy(words[0])
            patterns = [_pattern(word) for word in words[1:]]
        except ValueError as error:
            raise UsageError(f"{file}:{number}: {error}") from None
        match = number, _proxies([member])
        for is_below, host in patterns:
            (below if is_below else exact).setdefault(host, match)
        if not patterns and member not in pool:
            pool.append(member)
    if not pool and not exact and not below:
        raise UsageError(f"{file}: no proxy in it")
    return _proxies(pool) if pool else None, exact, below


def parse_proxy(text: str) -> Proxy:
    """`scheme://[user:password@]host[:port]`. Raises ValueError, whose message shows nothing of `text`."""
    expected = f"expected a proxy's URL ({', '.join(_PORTS)}) as scheme://[user:password@]host:port, or {_DIRECT}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(expected) from None
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise ValueError(expected)
    if parts.path.strip("/") or parts.query or parts.fragment or "?" in text or "#" in text:
        raise ValueError(f"{expected}; in user and password / ? # @ : are written %2F %3F %23 %40 %3A")
    url = canonicalize(f"http://[{parts.hostname}]/" if ":" in parts.hostname else f"http://{parts.hostname}/")
    if url is None:
        raise ValueError(f"{expected}: this host is none")
    user, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
    if not all(part is None or part.isprintable() for part in (user, password)):
        raise ValueError("user and password of a proxy are printable text")
    return Proxy(parts.scheme, host_of(url).strip("[]"), port or _PORTS[parts.scheme], user or None, password)


def _pattern(word: str) -> tuple[bool, str]:
    """`example.org` → (False, host); `*.example.org` → (True, host), for all below it; `*` → (True, "")."""
    if word == "*":
        return True, ""
    is_below = word.startswith("*.")
    name = word[2:] if is_below else word
    url = canonicalize(f"http://{name}/")
    if url is None or not set("/?#@\\*").isdisjoint(name) or (":" in name and not name.startswith("[")):
        raise ValueError("after the URL expected hosts, as example.org or *.example.org")
    return is_below, host_of(url)


def _above(host: str) -> Iterator[str]:
    """The names that `host` is below of, and at last the empty one, for `*`."""
    if not host.startswith("["):
        while "." in host:
            host = host.partition(".")[2]
            yield host
    yield ""
