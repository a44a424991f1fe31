"""The polite site answers as it says, sees every rule that is broken, and charges nobody for what was kept."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

from benchmarks import polite_site
from benchmarks.polite_site import BAD, Watched, address, watch


def ask(site: Watched, place: str, path: str, connection: socket.socket | None = None) -> tuple[socket.socket, bytes]:
    """Send a request; the connection and the first bytes of the answer."""
    connection = connection or socket.create_connection((place, site.port), timeout=5)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
    return connection, connection.recv(4096)


def test_a_polite_visit() -> None:
    with contextlib.ExitStack() as stack, watch(51, latency=0.01, delay=0.1) as site:
        connection, answer = ask(site, address(49), "/robots.txt")
        stack.enter_context(connection)
        assert b"Crawl-delay: 0.2\nDisallow: /private/" in answer
        time.sleep(0.22)
        assert ask(site, address(49), "/page/1", connection)[1].endswith(b"Content-Length: 500\r\n\r\n" + b"x" * 500)
        other, answer = ask(site, address(50), "/robots.txt")
        stack.enter_context(other)
        assert b"Crawl-delay" not in answer
        seen = site.report()
    assert (seen["requests"], seen["hosts"], sum(seen["rates"])) == (3, 2, 3)
    assert (seen["denied"], seen["early"], seen["most_at_once"], seen["bad"]) == (0, 0, 1, {})
    assert seen["shortfall"] < 0
    assert seen["gaps"]["number"] == 1
    assert seen["gaps"]["lowest"] > 1


def test_what_is_impolite_is_seen() -> None:
    """Two requests at once, too soon, one of them for a denied path."""
    with contextlib.ExitStack() as stack, watch(1, latency=0.1, delay=5.0) as site:
        one, two = (stack.enter_context(socket.create_connection((address(0), site.port), timeout=5)) for _ in "12")
        for connection, path in ((one, "/page/1"), (two, "/private/1")):
            connection.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        assert one.recv(20) == two.recv(20) == b"HTTP/1.1 200 OK\r\nCon"
        seen = site.report()
    assert (seen["most_at_once"], seen["denied"]) == (2, 1)
    assert 4 < seen["shortfall"] <= 5


def test_the_moment_of_a_request_is_when_it_came() -> None:
    """The process is busy (stopped) while the second one comes: the gap is the crawler's all the same."""
    import signal

    with contextlib.ExitStack() as stack, watch(1, latency=0.0, delay=1.0) as site:
        connection, _ = ask(site, address(0), "/page/1")
        stack.enter_context(connection)
        site.process.send_signal(signal.SIGSTOP)
        connection.sendall(b"GET /page/2 HTTP/1.1\r\n\r\n")
        time.sleep(1.0)
        site.process.send_signal(signal.SIGCONT)
        connection.recv(4096)
        seen = site.report()
    assert seen["shortfall"] > 0.5


def test_misbehaving_hosts() -> None:
    with contextlib.ExitStack() as stack, watch(1, latency=0.0, delay=0.0, bad=True) as site:
        with pytest.raises(ConnectionRefusedError):
            ask(site, BAD["dead"], "/")
        closed, answer = ask(site, BAD["closed"], "/robots.txt")
        stack.enter_context(closed)
        assert answer.startswith(b"HTTP/1.1 503 ")
        busy, answer = ask(site, BAD["busy"], "/page/1")
        stack.enter_context(busy)
        assert b"429 Too Many Requests" in answer
        assert b"Retry-After: 3\r\n" in answer
        ask(site, BAD["busy"], "/page/2", busy)
        drip, answer = ask(site, BAD["drip"], "/page/1")
        stack.enter_context(drip)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert drip.recv(10)[:1] == b"."
        mute = stack.enter_context(socket.create_connection((BAD["mute"], site.port), timeout=0.2))
        mute.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(TimeoutError):
            mute.recv(10)
        ask(site, BAD["closed"], "/page/1", closed)
        seen = site.report()
    assert (seen["early"], seen["denied"]) == (1, 1)
    assert seen["bad"] == {"mute": 1, "drip": 1, "busy": 2, "closed": 2}


def test_it_ends_with_its_parent_and_says_when_it_cannot_start(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind((address(1), 0))
        taken.listen()
        site = polite_site.PoliteSite(2, 0.0, 0.0, 10, bad=False)
        with pytest.raises(SystemExit):
            polite_site.main(["--hosts=0"])
        assert "1 to 60,000 hosts" in capsys.readouterr().err
        site.close()
