"""A large web for measurements, served from a process of its own: as cheaply as Python can.

    python -m benchmarks.bench_site --hosts 200 --pages 10000 --bytes 30000 --links 40 --port N

Owns the pages (made-up text in the markup of an ordinary site, navigation repeated on every page) and their server.
Only addresses 127.20.x.y are bound. robots.txt is a 404. It writes a file of seed lines, one for every page, prints
`ready<TAB>port<TAB>seeds file`, and ends by itself after --seconds or when its parent is gone.
`serve` starts it and ends it again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from crawldb.errors import CobnutError
from jobs.demo.words import Writer, slug

ROOT = Path(__file__).resolve().parent.parent

_NAVIGATION = 12
"""Links that every page of a host has, of all its links."""
_ELSEWHERE = 0.12
"""Share of a page's other links that lead to other hosts."""
_PARAGRAPHS = 200
"""Different ones; pages differ in which they have, in their links and titles."""
_BACKLOG = 1024
_POLL = 0.5
"""Seconds between two looks at whether the parent is alive."""

_MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nnot found\n"

Pages = dict[bytes, tuple[bytes, ...]]
"""Of one host: the request target, and the pieces of its whole answer; pages share most pieces."""


class Served(NamedTuple):
    """A running bench site."""

    port: int
    seeds: Path
    """Seed lines, one for every page, hosts taking turns."""
    process: subprocess.Popen[str]


@contextmanager
def serve(
    hosts: int = 200, pages: int = 10_000, size: int = 30_000, links: int = 40, port: int = 0
) -> Iterator[Served]:
    """The bench site in a process of its own for as long as the `with` block runs. RuntimeError if it can't start."""
    with tempfile.TemporaryDirectory(prefix="bench-site-") as directory:
        command = [sys.executable, "-m", "benchmarks.bench_site", f"--hosts={hosts}", f"--pages={pages}",
                   f"--bytes={size}", f"--links={links}", f"--port={port}", f"--seeds={directory}/seeds.txt"]  # fmt: skip
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                ready = process.stdout.readline().split("\t")
                if ready[0] != "ready":
                    raise RuntimeError("the bench site did not start; see its message above")
                yield Served(int(ready[1]), Path(ready[2].strip()), process)
            finally:
                process.terminate()


def address(host: int) -> str:
    """The address of a host by its number."""
    return f"127.20.{host // 250}.{host % 250 + 1}"


class BenchSite:
    """All pages, ready to be sent. Page p is on host p % hosts; the same arguments make the same site."""

    def __init__(self, hosts: int, pages: int, size: int, links: int, port: int, seed: int = 1) -> None:
        self.hosts = min(hosts, pages)
        self.port = port
        self._size = size
        self._links = links
        self._random = random.Random(seed)
        writer = Writer(str(seed))
        self._paragraphs = [_paragraph(writer) for _ in range(_PARAGRAPHS)]
        self._titles = [writer.headline() for _ in range(1000)]
        self._paths = [f"/{('archive', 'reports', 'guides')[page // self.hosts % 3]}/"
                       f"{slug(self._titles[page % 1000])}-{page}.html" for page in range(pages)]  # fmt: skip
        self._shared = _head().encode()
        navigation = [self._navigation(host) for host in range(self.hosts)]
        self.by_host: list[Pages] = [{} for _ in range(self.hosts)]
        for page, path in enumerate(self._paths):
            host = page % self.hosts
            self.by_host[host][path.encode()] = self._answer(page, navigation[host])

    def seeds(self) -> Iterator[str]:
        """The URL of every page."""
        return (self._url(page) for page in range(len(self._paths)))

    def _url(self, page: int) -> str:
        return f"http://{address(page % self.hosts)}:{self.port}{self._paths[page]}"

    def _own(self, host: int) -> int:
        """How many pages a host has."""
        return (len(self._paths) - host + self.hosts - 1) // self.hosts

    def _navigation(self, host: int) -> bytes:
        count = min(_NAVIGATION, self._links)
        places = [host + number % self._own(host) * self.hosts for number in range(count)]
        items = "".join(f'<li class="menu-item"><a class="menu-link" href="{self._paths[page]}">'
                        f"{self._titles[page % 1000]}</a></li>\n" for page in places)  # fmt: skip
        return f'<header class="site-header"><nav aria-label="Main"><ul class="menu">\n{items}</ul></nav></header>\n'.encode()

    def _answer(self, page: int, navigation: bytes) -> tuple[bytes, ...]:
        """Head and body, in pieces: title, what is shared, then paragraphs and links in turn."""
        title = self._titles[page % 1000]
        pieces = [f"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<title>{title} ({page})</title>\n".encode(), self._shared,
                  navigation, f'<main class="content">\n<article id="post-{page}">\n<h1>{title}</h1>\n'.encode()]  # fmt: skip
        end = b'</article>\n</main>\n<footer class="site-footer"><p>Made for measurements.</p></footer>\n</body>\n</html>\n'
        links = [self._link(page) for _ in range(max(0, self._links - _NAVIGATION))]
        wanted = int(self._size * (0.6 + 0.8 * self._random.random()))
        room = wanted - len(end) - sum(map(len, pieces)) - sum(map(len, links))
        text: list[bytes] = []
        while room > 0:
            text.append(self._paragraphs[int(self._random.random() * _PARAGRAPHS)])
            room -= len(text[-1])
        turns = max(len(text), 1)
        for turn in range(turns):
            pieces += text[turn : turn + 1]
            pieces.append(b"".join(links[len(links) * turn // turns : len(links) * (turn + 1) // turns]))
        pieces.append(end)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {sum(map(len, pieces))}\r\n\r\n"
        return (head.encode(), *pieces)

    def _link(self, page: int) -> bytes:
        """A link as pages have them: relative to the page, to the host, or absolute."""
        host = page % self.hosts
        if self._random.random() < _ELSEWHERE:
            target = int(self._random.random() * len(self._paths))
        else:
            target = host + int(self._random.random() * self._own(host)) * self.hosts
        path = self._paths[target]
        if target % self.hosts != host:
            href = self._url(target)
        else:
            way = self._random.random()
            href = f"..{path}" if way < 0.4 else path if way < 0.8 else f"{self._url(target)}#comments"
        return f'<div class="related"><a class="related-link" href="{href}">{self._titles[target % 1000]}</a></div>\n'.encode()


def _paragraph(writer: Writer) -> bytes:
    text = writer.paragraph("the valley", writer.number(3, 9))
    first, _, rest = text.partition(" ")
    return f'<div class="block block-text"><p class="para"><b>{first}</b> {rest} <em>{writer.person()}</em></p></div>\n'.encode()


def _head() -> str:
    """What every page of a site repeats before its body: styles, a script, metadata."""
    rules = "".join(
        f".block-{number} {{ margin: {number}px auto; color: #{number * 4369:06x}; }}\n" for number in range(40)
    )
    return (f'<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n<style>\n{rules}</style>\n'
            '<script>\nwindow.settings = {"menu": true, "columns": 3};\n'
            + "".join(f"function step{number}(value) {{ return value < {number} && value > 0; }}\n" for number in range(20))
            + '</script>\n<link rel="stylesheet" href="/assets/site.css">\n</head>\n<body class="home">\n')  # fmt: skip


class _Connection(asyncio.Protocol):
    """Answers GET requests with what is ready for them; a client's bodies are not expected."""

    __slots__ = ("_buffer", "_pages", "_transport")

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        *heads, self._buffer = data.split(b"\r\n\r\n")
        for head in heads:
            target = head[4 : head.find(b" ", 4)]
            pieces = self._pages.get(target)
            self._transport.write(_MISSING if pieces is None else b"".join(pieces))


def _listen(hosts: int, port: int) -> tuple[list[socket.socket], int]:
    """Sockets listening on every host's address, and their port. CobnutError if one can't be had."""
    listeners: list[socket.socket] = []
    try:
        for host in range(hosts):
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address(host), port))
            listener.listen(_BACKLOG)
            listener.setblocking(False)
            port = listener.getsockname()[1]
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise CobnutError(
            f"bench site: cannot listen on {address(len(listeners) - 1)}:{port}: {error.strerror}"
        ) from None
    return listeners, port


async def _run(site: BenchSite, listeners: list[socket.socket], ready: str, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    parent = os.getppid()
    servers = [
        await loop.create_server(lambda pages=pages: _Connection(pages), sock=listener, backlog=_BACKLOG)  # type: ignore[misc]
        for pages, listener in zip(site.by_host, listeners, strict=True)
    ]
    print(ready, flush=True)
    end = loop.time() + seconds
    while os.getppid() == parent and loop.time() < end:
        await asyncio.sleep(min(_POLL, max(0.0, end - loop.time())))
    for server in servers:
        server.close()


def main(arguments: list[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_site", description="Serve a large made-up web.")
    parser.add_argument("--hosts", type=int, default=200, help="addresses 127.20.x.y")
    parser.add_argument("--pages", type=int, default=10_000, help="of all hosts together")
    parser.add_argument("--bytes", type=int, default=30_000, help="of a page, on average")
    parser.add_argument("--links", type=int, default=40, help="of a page")
    parser.add_argument("--port", type=int, default=0, help="the one port of all hosts (default: a free one)")
    parser.add_argument("--seeds", type=Path, help="where to write the seeds (default: in the temporary directory)")
    parser.add_argument("--seconds", type=float, default=3600.0, help="after which it ends")
    options = parser.parse_args(arguments)
    if min(options.hosts, options.pages) < 1 or options.hosts > 60_000:
        parser.error("at least 1 page on 1 to 60,000 hosts")
    try:
        listeners, port = _listen(min(options.hosts, options.pages), options.port)
    except CobnutError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    site = BenchSite(options.hosts, options.pages, options.bytes, options.links, port)
    seeds = options.seeds or Path(tempfile.gettempdir(), f"bench-seeds-{port}.txt")
    seeds.write_text("".join(f"{url}\n" for url in site.seeds()))
    asyncio.run(_run(site, listeners, f"ready\t{port}\t{seeds}", options.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
