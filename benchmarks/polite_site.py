"""A web of thousands of hosts that watches how politely it is crawled, in a process of its own.

    python -m benchmarks.polite_site --hosts 5000 --latency 0.05 --delay 0.2 --bytes 500 [--bad]

Owns the hosts (good ones on 127.30.x.y, misbehaving ones on 127.31.0.x, all on one port) and the record of what came:
gaps from start to start, requests at once, paths that robots.txt denies, requests a second. It judges nothing and
does not know what a crawler is: soak.py and fetch.py do.

A request's moment is when the kernel had it, not when this process came to read it: however busy the process is, the
gaps are those that the crawler left. It prints `ready<TAB>port` and, when its standard input ends, what it saw as one
line of JSON. `watch` starts it and ends it again.

Every good host denies /private/ in its robots.txt; every fiftieth also asks for a Crawl-delay of twice --delay.
The misbehaving ones (--bad), by name:
    dead    refuses connections
    mute    takes requests and never answers
    drip    allows all, begins each answer and then sends a byte every half second
    busy    allows all and answers 429 with Retry-After
    closed  answers 503 to robots.txt
"""

from __future__ import annotations

import argparse
import contextlib
import json
import select
import socket
import struct
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crawldb.errors import CobnutError

ROOT = Path(__file__).resolve().parent.parent

BAD = {"dead": "127.31.0.1", "mute": "127.31.0.2", "drip": "127.31.0.3", "busy": "127.31.0.4", "closed": "127.31.0.5"}
RETRY_AFTER = 3
"""Seconds that the busy host asks for."""
_SLOW = 50
"""Every so many good hosts, one names a Crawl-delay."""
_BACKLOG = 64
_DRIP = 0.5
_SO_TIMESTAMPNS = getattr(socket, "SO_TIMESTAMPNS", 35)
"""Linux stamps what arrives when it arrives; Python's socket module does not know the name everywhere."""
_TIMESPEC = struct.Struct("qq")
_ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1000000\r\n\r\n"
"""How an answer that drips begins."""
_MOST_BYTES = 30_000
"""Of a page: more might not fit into a socket at once, and one process has to serve thousands of them."""


def address(host: int) -> str:
    """The address of a good host by its number."""
    return f"127.30.{host // 250}.{host % 250 + 1}"


def delay_of(host: int, delay: float) -> float:
    """What a good host asks for, by its number: its Crawl-delay, else the crawler's own delay."""
    return 2 * delay if _is_slow(host) else delay


def _is_slow(host: int) -> bool:
    return host % _SLOW == _SLOW - 1


class Watched:
    """A running polite site."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    def report(self) -> dict[str, Any]:
        """End it and get what it saw; see `PoliteSite.report`."""
        said, _ = self.process.communicate()
        report: dict[str, Any] = json.loads(said)
        return report


@contextmanager
def watch(hosts: int, latency: float, delay: float, size: int = 500, bad: bool = False) -> Iterator[Watched]:
    """The polite site in a process of its own, for as long as the `with` block runs. RuntimeError if it can't start."""
    command = [sys.executable, "-m", "benchmarks.polite_site", f"--hosts={hosts}", f"--latency={latency}",
               f"--delay={delay}", f"--bytes={size}", *(["--bad"] if bad else [])]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            ready = process.stdout.readline().split("\t")
            if ready[0] != "ready":
                raise RuntimeError("the polite site did not start; see its message above")
            yield Watched(process, int(ready[1]))
        finally:
            if process.poll() is None:
                process.terminate()


class Host:
    """One host: what it answers, and what was seen of its visitors."""

    __slots__ = ("address", "delay", "early", "gaps", "kind", "last", "most", "quiet_until", "requests", "robots", "under_way")  # fmt: skip

    def __init__(self, kind: str, address: str, delay: float) -> None:
        self.kind, self.address, self.delay = kind, address, delay
        self.robots = b"User-agent: *\nDisallow: /private/\n" if kind == "good" else b""
        self.last = 0.0
        """When the last request came, seconds since the epoch."""
        self.gaps: list[float] = []
        """From one request to the next."""
        self.under_way = self.most = 0
        """Requests without a whole answer: now, and the most at once."""
        self.requests = 0
        self.quiet_until = 0.0
        """The end of the Retry-After in force."""
        self.early = 0
        """Requests that came before it."""


class Connection:
    """One connection of a crawler."""

    __slots__ = ("buffer", "host", "open", "socket", "under_way")

    def __init__(self, connection: socket.socket, host: Host) -> None:
        self.socket, self.host = connection, host
        self.buffer = b""
        self.open = True
        self.under_way = 0


class PoliteSite:
    """The hosts and their one event loop: constant latency, so answers leave in the order in which requests came."""

    def __init__(self, hosts: int, latency: float, delay: float, size: int, bad: bool) -> None:
        self.hosts = [Host("good", address(number), delay_of(number, delay)) for number in range(hosts)]
        for number, host in enumerate(self.hosts):
            if _is_slow(number):
                host.robots = f"User-agent: *\nCrawl-delay: {host.delay}\nDisallow: /private/\n".encode()
        if bad:
            self.hosts += [Host(kind, place, delay) for kind, place in BAD.items() if kind != "dead"]
        self._latency = latency
        self._page = _answer(b"200 OK", b"x" * size)
        self._loop = select.epoll()
        self._listeners: dict[int, tuple[socket.socket, Host]] = {}
        self._connections: dict[int, Connection] = {}
        self._answers: deque[tuple[float, Connection, bytes]] = deque()
        self._drips: list[Connection] = []
        self._seconds: Counter[int] = Counter()
        """Requests to good hosts by second."""
        self._denied = 0

    def listen(self) -> int:
        """Bind every host's address; the port of them all. CobnutError if that can't be had."""
        port = 0
        for host in self.hosts:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
                listener.bind((host.address, port))
                listener.listen(_BACKLOG)
            except OSError as error:
                raise CobnutError(f"polite site: cannot listen on {host.address}:{port}: {error.strerror}") from None
            listener.setblocking(False)
            port = listener.getsockname()[1]
            self._listeners[listener.fileno()] = listener, host
            self._loop.register(listener.fileno(), select.EPOLLIN)
        return port

    def run(self, until: int) -> None:
        """Serve until the file `until` has an end to read."""
        self._loop.register(until, select.EPOLLIN)
        next_drip = 0.0
        while True:
            wait = max(0.0, self._answers[0][0] - time.monotonic()) if self._answers else _DRIP
            for file, _ in self._loop.poll(min(wait, _DRIP)):
                connection = self._connections.get(file)
                if connection is not None:
                    self._receive(connection)
                elif file == until:
                    return
                else:
                    self._accept(*self._listeners[file])
            now = time.monotonic()
            while self._answers and self._answers[0][0] <= now:
                _, connection, answer = self._answers.popleft()
                self._send(connection, answer)
            if now >= next_drip:
                next_drip = now + _DRIP
                for connection in list(self._drips):
                    self._write(connection, b".")

    def report(self) -> dict[str, Any]:
        """What was seen. `gaps`: of good hosts, shares of the gap that was due; `bad`: by name of the host."""
        good = [host for host in self.hosts if host.kind == "good"]
        shares = sorted(gap / host.delay if host.delay else 1.0 for host in good for gap in host.gaps)
        first = min(self._seconds, default=0)
        rates = [self._seconds[second] for second in range(first, max(self._seconds, default=-1) + 1)]
        return {
            "requests": sum(host.requests for host in good),
            "hosts": sum(host.requests > 0 for host in good),
            "first_second": first,
            "rates": rates,
            "gaps": {
                "number": len(shares),
                "lowest": shares[0] if shares else None,
                "percentile": shares[len(shares) // 100] if shares else None,
                "median": shares[len(shares) // 2] if shares else None,
            },
            "shortfall": max((host.delay - gap for host in self.hosts for gap in host.gaps), default=0.0),
            "most_at_once": max((host.most for host in self.hosts), default=0),
            "denied": self._denied,
            "early": sum(host.early for host in self.hosts),
            "bad": {host.kind: host.requests for host in self.hosts if host.kind != "good"},
        }

    def close(self) -> None:
        """Let go of all sockets."""
        for connection in self._connections.values():
            connection.socket.close()
        for listener, _ in self._listeners.values():
            listener.close()
        self._loop.close()

    def _accept(self, listener: socket.socket, host: Host) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while True:
                accepted, _ = listener.accept()
                accepted.setblocking(False)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections[accepted.fileno()] = Connection(accepted, host)
                self._loop.register(accepted.fileno(), select.EPOLLIN)

    def _receive(self, connection: Connection) -> None:
        try:
            data, stamps, _, _ = connection.socket.recvmsg(4096, 64)
        except BlockingIOError:
            return
        except OSError:
            data, stamps = b"", []
        if not data:
            self._drop(connection)
            return
        if connection.buffer:
            data = connection.buffer + data
        *heads, connection.buffer = data.split(b"\r\n\r\n")
        if heads:
            seconds, nanoseconds = _TIMESPEC.unpack(stamps[0][2]) if stamps else (time.time(), 0)
            for head in heads:  # without a body: whoever watches politeness is asked with GET
                self._request(connection, head[head.find(b" ") + 1 :].partition(b" ")[0], seconds + nanoseconds / 1e9)

    def _request(self, connection: Connection, target: bytes, at: float) -> None:
        host = connection.host
        if host.requests:
            host.gaps.append(at - host.last)
        host.last = at
        host.requests += 1
        host.under_way += 1
        connection.under_way += 1
        if host.under_way > host.most:
            host.most = host.under_way
        if target.startswith(b"/private/") or (host.kind == "closed" and target != b"/robots.txt"):
            self._denied += 1
        if at < host.quiet_until:
            host.early += 1
        if host.kind == "good":
            self._seconds[int(at)] += 1
        answer = self._answer(host, target, at)
        if answer:
            self._answers.append((time.monotonic() + self._latency, connection, answer))

    def _answer(self, host: Host, target: bytes, at: float) -> bytes:
        """What this host says; nothing is said by one that never answers."""
        if host.kind == "mute":
            return b""
        if target == b"/robots.txt":
            if host.kind == "closed":
                return _answer(b"503 Service Unavailable", b"")
            return _answer(b"200 OK", host.robots, b"text/plain")
        if host.kind == "drip":
            return _ENDLESS
        if host.kind == "busy":
            host.quiet_until = max(host.quiet_until, at + RETRY_AFTER)
            return _answer(b"429 Too Many Requests", b"", retry=f"Retry-After: {RETRY_AFTER}\r\n".encode())
        return self._page

    def _send(self, connection: Connection, answer: bytes) -> None:
        if connection.open and self._write(connection, answer):
            if answer is _ENDLESS:
                self._drips.append(connection)
            else:  # before the crawler can have read it and ask again
                connection.host.under_way -= 1
                connection.under_way -= 1

    def _write(self, connection: Connection, piece: bytes) -> bool:
        """True if all of it went out; otherwise the connection has ended."""
        try:
            if connection.socket.send(piece) == len(piece):
                return True
        except OSError:
            pass
        self._drop(connection)
        return False

    def _drop(self, connection: Connection) -> None:
        if connection.open:
            connection.open = False
            connection.host.under_way -= connection.under_way
            if connection in self._drips:
                self._drips.remove(connection)
            del self._connections[connection.socket.fileno()]
            connection.socket.close()  # epoll forgets it by itself


def _answer(status: bytes, body: bytes, kind: bytes = b"text/html", retry: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, kind, retry, len(body), body)


def main(arguments: list[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.polite_site", description=__doc__)
    parser.add_argument("--hosts", type=int, default=5000, help="good ones")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds before an answer")
    parser.add_argument("--delay", type=float, default=0.2, help="seconds that the crawler keeps by itself")
    parser.add_argument("--bytes", type=int, default=500, help="of a page")
    parser.add_argument("--bad", action="store_true", help="with the misbehaving hosts")
    options = parser.parse_args(arguments)
    if not 1 <= options.hosts <= 60_000 or not 0 <= options.bytes <= _MOST_BYTES:
        parser.error(f"1 to 60,000 hosts, pages of at most {_MOST_BYTES:,} bytes")
    site = PoliteSite(options.hosts, options.latency, options.delay, options.bytes, options.bad)
    try:
        print(f"ready\t{site.listen()}", flush=True)
        site.run(sys.stdin.fileno())
    except CobnutError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    finally:
        site.close()
    print(json.dumps(site.report()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
