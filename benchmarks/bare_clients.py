"""The cheapest way to fetch many pages with a library: what an engine that is built on it is measured against.

Owns one loop a library, over the pages of a seeds file: keep-alive, one connection a host, bodies and header fields
collected in memory and dropped. No robots.txt, no politeness, no time-outs, no records.
"""

from __future__ import annotations

import importlib
import json
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_THREADS = 50
"""As fetch.threads."""
_PARALLEL = 200
"""Hosts at once."""

Queues = list[deque[str]]
"""URLs by host."""


def curl(queues: Queues) -> int:
    """pycurl's CurlMulti, told of ready sockets (socket_action) by epoll: bytes fetched."""
    import pycurl

    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_MAXCONNECTS, len(queues))
    ready = select.epoll()
    watched: dict[int, int] = {}
    masks = {pycurl.POLL_IN: select.EPOLLIN, pycurl.POLL_OUT: select.EPOLLOUT,
             pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT}  # fmt: skip
    alarm: list[float | None] = [None]

    def on_socket(event: int, file: int, _multi: Any, _data: Any) -> None:
        if event == pycurl.POLL_REMOVE:
            if watched.pop(file, None) is not None:
                ready.unregister(file)
        elif file in watched:
            ready.modify(file, masks[event])
        else:
            watched[file] = event
            ready.register(file, masks[event])

    def on_timer(milliseconds: int) -> None:
        alarm[0] = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000

    multi.setopt(pycurl.M_SOCKETFUNCTION, on_socket)
    multi.setopt(pycurl.M_TIMERFUNCTION, on_timer)
    waiting = deque(queues)
    total = 0

    def start(easy: Any) -> None:
        easy.setopt(pycurl.URL, easy.queue.popleft())
        easy.body, easy.head = [], []
        easy.setopt(pycurl.WRITEFUNCTION, easy.body.append)
        easy.setopt(pycurl.HEADERFUNCTION, easy.head.append)
        multi.add_handle(easy)

    for _ in range(min(_PARALLEL, len(waiting))):
        easy = pycurl.Curl()
        easy.setopt(pycurl.NOSIGNAL, 1)
        easy.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        easy.setopt(pycurl.BUFFERSIZE, 1 << 16)
        easy.queue = waiting.popleft()
        start(easy)
    running = 1
    while running:
        due = alarm[0]
        wait = 1.0 if due is None else max(0.0, due - time.monotonic())
        events = ready.poll(wait) if wait else ()
        if not events:
            alarm[0] = None
            _, running = multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        for file, event in events:
            flags = (pycurl.CSELECT_IN if event & ~select.EPOLLOUT else 0) | (
                pycurl.CSELECT_OUT if event & select.EPOLLOUT else 0
            )
            _, running = multi.socket_action(file, flags)
        while True:
            more, done, failed = multi.info_read()
            if failed:
                raise RuntimeError(f"the bench site did not answer: {failed[0][2]}")
            for easy in done:
                multi.remove_handle(easy)
                total += len(b"".join(easy.body))
                if not easy.queue and waiting:
                    easy.queue = waiting.popleft()
                if easy.queue:
                    start(easy)
                    running += 1
            if not more:
                break
    multi.close()
    ready.close()
    return total


def requests(queues: Queues) -> int:
    """requests' adapter, given hand-made PreparedRequests in threads: bytes fetched."""
    from requests.adapters import HTTPAdapter
    from requests.models import PreparedRequest
    from requests.structures import CaseInsensitiveDict

    adapter = HTTPAdapter(pool_connections=len(queues), pool_maxsize=1)
    waiting = deque(queues)
    sizes: list[int] = []
    headers = CaseInsensitiveDict({"User-Agent": "cobnut-bench", "Accept-Encoding": "gzip, deflate"})

    def work() -> None:
        size = 0
        while True:
            try:
                queue = waiting.popleft()
            except IndexError:
                break
            for url in queue:
                request = PreparedRequest()
                request.method, request.url, request.headers, request.body = "GET", url, headers, None
                answer = adapter.send(request, stream=True).raw
                size += len(answer.read())
                answer.release_conn()
        sizes.append(size)

    threads = [threading.Thread(target=work) for _ in range(min(_THREADS, len(queues)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    adapter.close()
    return sum(sizes)


LOOPS: dict[str, Callable[[Queues], int]] = {"curl": curl, "requests": requests}
"""By the name of the engine that is built on the library."""


def main(arguments: list[str] | None = None) -> None:
    """NAME SEEDS: run a loop over the pages of a seeds file, print its CPU seconds and bytes as JSON."""
    name, seeds = sys.argv[1:] if arguments is None else arguments
    importlib.import_module("pycurl" if name == "curl" else "requests.adapters")  # not counted
    queues: dict[str, deque[str]] = {}
    for url in Path(seeds).read_text().split():
        queues.setdefault(urlsplit(url).netloc, deque()).append(url)
    began, cpu = time.monotonic(), time.process_time()
    size = LOOPS[name](list(queues.values()))
    print(json.dumps({"cpu": time.process_time() - cpu, "wall": time.monotonic() - began, "bytes": size}))


if __name__ == "__main__":
    main()
