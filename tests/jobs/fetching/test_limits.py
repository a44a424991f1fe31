"""What is this machine's own failure, its limit on open files, and the throttle's invariants."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.fetching.limits import Throttle, is_local, raise_open_files

LOCAL = [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRINUSE, errno.EADDRNOTAVAIL]
REMOTE = [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.ECONNRESET, errno.EPIPE, 0]


@pytest.mark.parametrize("number", LOCAL)
def test_what_this_machine_lacks(number: int) -> None:
    assert is_local(number)
    assert is_local(OSError(number, "x"))
    assert is_local(OSError(number, "x"), "192.0.2.1")


@pytest.mark.parametrize("number", REMOTE)
def test_what_is_the_servers_or_the_networks(number: int) -> None:
    assert not is_local(number)
    assert not is_local(OSError(number, "x"), "192.0.2.1")
    assert not is_local(OSError("without a number"))


def test_no_ipv6_is_no_shortage() -> None:
    assert not is_local(errno.EADDRNOTAVAIL, "2606:4700::1111")
    assert is_local(errno.EMFILE, "2606:4700::1111")


def test_look_ups() -> None:
    assert is_local(socket.gaierror(socket.EAI_AGAIN, "x"))
    assert is_local(socket.gaierror(socket.EAI_MEMORY, "x"))
    assert not is_local(socket.gaierror(socket.EAI_NONAME, "x"))


def test_a_port_that_is_taken_is_recognised() -> None:
    """A second connection with the same two ends: what connect() says when no other port is left."""
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.9.41", 0))
        server.listen()
        for client in (first, second):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first.bind(("127.0.9.42", 0))
        second.bind(first.getsockname())
        first.connect(server.getsockname())
        with pytest.raises(OSError) as caught:  # noqa: PT011
            second.connect(server.getsockname())
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert is_local(caught.value, "127.0.9.41")


def in_a_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_open_files_are_raised_to_what_is_needed() -> None:
    code = """
import resource
from jobs.fetching.limits import raise_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 256))
assert raise_open_files(10) == (64, None)
assert raise_open_files(200) == (200, None)
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (200, 256)
for needed in (10, 64, 200):
    assert raise_open_files(needed) == (200, None)
files = [open("/dev/null") for _ in range(150)]
"""
    assert in_a_process(code) == ""


def test_a_limit_that_cannot_be_raised_is_told() -> None:
    """As somebody else than root, or beyond what the system gives to anybody."""
    code = """
import os, resource
from jobs.fetching.limits import raise_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 256))
if os.getuid() == 0:
    os.setuid(65534)
now, note = raise_open_files(5000)
assert now == 256 == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
print(note)
"""
    note = in_a_process(code)
    assert "256 files" in note
    assert "5,000" in note
    assert "ulimit -n 5000" in note
    assert len(note.splitlines()) == 1


def test_far_too_much_is_told_too() -> None:
    before, note = raise_open_files(1)
    assert note is None
    code = """
import resource
from jobs.fetching.limits import raise_open_files
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
now, note = raise_open_files(1 << 40)
assert note and now == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
assert hard < 0 or now >= hard
"""
    assert in_a_process(code) == ""
    assert raise_open_files(1)[0] == before


def test_a_throttle_halves_once_a_second() -> None:
    throttle = Throttle(1000)
    assert throttle.allowed == 1000
    assert throttle.slow_down(10.0) == 0.5
    assert throttle.allowed == 500
    assert throttle.slow_down(10.25) == 0.25
    assert throttle.slow_down(10.9) == 0.0
    assert throttle.allowed == 500
    assert throttle.slow_down(11.0) == 1.0, "the second halving pauses for longer"
    assert throttle.allowed == 250


def test_a_throttle_starts_from_what_was_under_way() -> None:
    throttle = Throttle(1000)
    throttle.slow_down(0.0, under_way=100)
    assert throttle.allowed == 50
    throttle.slow_down(5.0, under_way=5000)
    assert throttle.allowed == 25


def test_a_throttle_recovers() -> None:
    throttle = Throttle(1000)
    throttle.slow_down(0.0)
    throttle.succeeded(100)
    assert 500 < throttle.allowed < 510, "slowly"
    throttle.succeeded(40_000)
    assert throttle.allowed == 1000
    assert throttle.slow_down(0.1) == 0.5, "as if for the first time"


@given(
    st.integers(-3, 5000),
    st.lists(st.tuples(st.sampled_from(["slow", "ok"]), st.floats(0, 10), st.integers(0, 100))),
)
def test_a_throttle_keeps_its_bounds(maximum: int, events: list[tuple[str, float, int]]) -> None:
    throttle = Throttle(maximum)
    now = 0.0
    for what, seconds, number in events:
        now += seconds
        before = throttle.allowed
        if what == "slow":
            assert 0 <= throttle.slow_down(now, number) <= 8
            assert throttle.allowed <= before
        else:
            throttle.succeeded(number)
            assert throttle.allowed >= before
        assert 1 <= throttle.allowed <= max(1, maximum)
    throttle.succeeded(10**9)
    assert throttle.allowed == max(1, maximum)
