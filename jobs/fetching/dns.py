"""A host's addresses: looked up by a few threads, remembered for a while, and asked for without waiting.

Owns the cache of one fetch task, its threads, and what a failed look-up means. Connects to nothing; whether an
address may be connected to, `addresses` says.

A look-up that failed because the name servers could not be reached or this machine lacked something is `temporary`.
A name server that is broken for one domain alone looks the same (SERVFAIL comes out as EAI_AGAIN). So a host whose
look-up failed thrice in a row, while other names were answered in between, is at fault itself.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from crawldb.settings import Settings
from jobs.fetching.limits import is_local

_MAX_HOSTS = 100_000
_NEGATIVE_SECONDS = 60.0
"""A name that does not exist, at most as long as one that does."""
_TEMPORARY_SECONDS = 5.0
_PATIENCE = 3
"""Temporary failures of a host in a row, with other hosts' answers in between, that are its own."""
_FAMILIES = {"any": socket.AF_UNSPEC, "4": socket.AF_INET, "6": socket.AF_INET6}
_NAMES = {4: "IPv4", 6: "IPv6"}


class Addresses(NamedTuple):
    """What is known of a host."""

    addresses: tuple[str, ...]
    """In the order to try: IPv6 and IPv4 in turns (RFC 8305 §4), beginning with what the system prefers; the one that
    worked last stands first. Without brackets. Empty: there is none."""
    error: str | None
    """Why there is none, for `detail`."""
    temporary: bool
    """True: nobody could tell. It says nothing about the page; ask again in some seconds."""
    took: int
    """Milliseconds of the look-up; 0 for what needed none."""
    looked_up: float
    """When it ended, of the resolver's clock (time.monotonic)."""


class _Known:
    """A host's cache entry."""

    __slots__ = ("answered_before", "expires", "failures", "found", "preferred")

    def __init__(self) -> None:
        self.found: Addresses | None = None
        self.expires = 0.0
        self.preferred: str | None = None
        self.failures = 0
        """Temporary ones in a row."""
        self.answered_before = 0
        """How many look-ups had been answered at the first of them."""


class Resolver:
    """Looks names up with `fetch.dns_threads` threads. All methods are thread-safe and none waits for the network.

    `notify(host)` is called from one of its threads when `ask(host)` has something new to say; it must neither block
    nor raise.
    """

    def __init__(
        self,
        settings: Settings,
        notify: Callable[[str], None],
        *,
        max_hosts: int = _MAX_HOSTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        fetch = settings.fetch
        self._version, self._max_age, self._max_threads = fetch.ip_version, fetch.dns_max_age, fetch.dns_threads
        self._notify = notify
        self._max_hosts = max_hosts
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._waiting: deque[str] = deque()
        self._under_way: set[str] = set()
        """Those waiting too."""
        self._changed = threading.Condition()
        self._threads = self._idle = 0
        self._answered = 0
        self._closed = False

    def ask(self, host: str) -> Addresses | None:
        """A host's addresses if they are known and fresh; else None, and `notify(host)` will be called.

        `host` as `crawldb.urls.host_of` gives it: a name in A-labels, or an address (IPv6 in brackets), which needs
        no look-up.
        """
        literal = _literal(host)
        if literal is not None:
            return self._of_literal(literal)
        with self._changed:
            known = self._known.get(host)
            if known is not None:
                self._known.move_to_end(host)
                if known.found is not None and self._clock() < known.expires:
                    return known.found
            if self._closed:
                return Addresses((), f"{host}: not looked up, for the run ends", True, 0, self._clock())
            if host not in self._under_way:
                self._under_way.add(host)
                self._waiting.append(host)
                if self._idle >= len(self._waiting) or self._threads >= self._max_threads:
                    self._changed.notify()
                elif not self._start_thread():
                    self._under_way.discard(host)
                    self._waiting.remove(host)
                    return Addresses(
                        (), f"{host}: not looked up, for no thread could be started", True, 0, self._clock()
                    )
        return None

    def prefer(self, host: str, address: str) -> None:
        """`address` worked: it stands first from now on, also after the next look-up if it is still there."""
        with self._changed:
            known = self._known.get(host)
            if known is not None and known.preferred != address:
                known.preferred = address
                if known.found is not None:
                    known.found = known.found._replace(addresses=_preferred(known.found.addresses, address))

    def close(self) -> None:
        """Look nothing up any more. Threads within a look-up end with it; they keep no process from ending."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _of_literal(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Addresses:
        if self._version not in ("any", str(address.version)):
            error = f"{address} is {_NAMES[address.version]}, and fetch.ip_version is {self._version}"
            return Addresses((), error, False, 0, self._clock())
        return Addresses((str(address),), None, False, 0, self._clock())

    def _start_thread(self) -> bool:
        """One more, if the system lets us; False: there is none to do the work."""
        try:
            threading.Thread(target=self._work, name="dns", daemon=True).start()
        except RuntimeError:
            return self._threads > 0
        self._threads += 1
        return True

    def _work(self) -> None:
        try:
            while (host := self._next()) is not None:
                found = self._look_up(host)
                self._remember(host, found)
                self._notify(host)
        finally:
            with self._changed:
                self._threads -= 1

    def _next(self) -> str | None:
        with self._changed:
            while not self._waiting and not self._closed:
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            return self._waiting.popleft() if self._waiting and not self._closed else None

    def _look_up(self, host: str) -> Addresses:
        began = self._clock()
        addresses: tuple[str, ...] = ()
        error: str | None = None
        temporary = False
        try:
            answers = socket.getaddrinfo(host, None, _FAMILIES[self._version], socket.SOCK_STREAM)
            addresses = interleaved(str(answer[4][0]) for answer in answers)
            error = None if addresses else f"{host}: no address"
        except ValueError:  # UnicodeError: a label of more than 63 characters, or an empty one; or a NUL
            error = f"{host[:200]}: no name that could be looked up"
        except OSError as caught:
            error = f"{host}: {caught.strerror or caught}"
            # An error that is not getaddrinfo's own came from the system: a time-out, no socket, no network
            temporary = not isinstance(caught, socket.gaierror) or is_local(caught)
        now = self._clock()
        return Addresses(addresses, error, temporary, round((now - began) * 1000), now)

    def _remember(self, host: str, found: Addresses) -> None:
        with self._changed:
            self._under_way.discard(host)
            known = self._known.setdefault(host, _Known())
            self._known.move_to_end(host)
            if found.temporary:
                found = self._weigh(known, found)
            else:
                known.failures = 0
                self._answered += 1
            if found.addresses:
                age = self._max_age if not found.temporary else _NEGATIVE_SECONDS
                if known.preferred is not None:
                    found = found._replace(addresses=_preferred(found.addresses, known.preferred))
            else:
                age = _TEMPORARY_SECONDS if found.temporary else min(_NEGATIVE_SECONDS, self._max_age)
            # Even with dns_max_age = 0 whoever was notified gets to see it
            known.found = found._replace(temporary=found.temporary and not found.addresses)
            known.expires = found.looked_up + max(age, 1.0)
            while len(self._known) > self._max_hosts:
                self._known.popitem(last=False)

    def _weigh(self, known: _Known, found: Addresses) -> Addresses:
        """What a temporary failure means after those before it."""
        if known.found is not None and known.found.addresses:
            return found._replace(addresses=known.found.addresses, error=None)  # RFC 8767: better stale than none
        if known.failures == 0:
            known.answered_before = self._answered
        known.failures += 1
        if known.failures >= _PATIENCE and self._answered > known.answered_before:
            return found._replace(temporary=False)
        return found


def interleaved(addresses: Iterable[str]) -> tuple[str, ...]:
    """The addresses, each once, IPv6 and IPv4 in turns as long as there are both, beginning with the first's family.

    >>> interleaved(["2001:db8::1", "2001:db8::2", "192.0.2.1"])
    ('2001:db8::1', '192.0.2.1', '2001:db8::2')
    """
    distinct = list(dict.fromkeys(addresses))
    if not distinct:
        return ()
    first_is_ipv6 = ":" in distinct[0]
    ours = [address for address in distinct if (":" in address) == first_is_ipv6]
    others = [address for address in distinct if (":" in address) != first_is_ipv6]
    both = min(len(ours), len(others))
    turns = [address for pair in zip(ours, others, strict=False) for address in pair]
    return (*turns, *ours[both:], *others[both:])


def _preferred(addresses: tuple[str, ...], first: str) -> tuple[str, ...]:
    if first not in addresses or addresses[0] == first:
        return addresses
    return (first, *(address for address in addresses if address != first))


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that `host` is; None for a name."""
    if not host or (host[0] != "[" and not host[-1].isdigit()):
        return None  # WHATWG: an IPv4 address ends in a digit, and a name's last label is no number
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
