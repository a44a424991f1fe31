"""A page costs itself at most: time, memory, crashes; order; and no process is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawldb.errors import CobnutError, UsageError
from jobs.parsing import isolation
from jobs.parsing.isolation import Isolation

LIMIT = 128 << 20


def work(item: str) -> str:
    """Does to its process what the item says."""
    verb, _, value = item.partition(" ")
    if verb == "hang":
        while True:
            pass
    elif verb == "sleep":
        time.sleep(float(value))
    elif verb == "eat":
        hoard = [bytes(1 << 20) for _ in range(1 << 12)]
        assert hoard
    elif verb == "swallow":  # a library that takes being out of memory for a fault of the page
        bytearray(1 << 33)
    elif verb == "die":
        os.kill(os.getpid(), int(value))
    elif verb == "exit":
        os._exit(int(value))
    elif verb == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif verb == "raise":
        raise UsageError(value)
    elif verb == "break":
        raise RuntimeError(value)
    elif verb == "pid":
        return str(os.getpid())
    elif verb == "open":
        return " ".join(sorted(os.listdir("/dev/fd"), key=int))
    return item.upper()


@pytest.fixture
def isolated() -> Iterator[Isolation[str, str]]:
    one = Isolation(work, lambda item, detail: f"{item}: {detail}", len, 1.0, LIMIT)
    yield one
    one.close()


def test_results_come_in_order(isolated: Isolation[str, str]) -> None:
    items = [f"item {number}" for number in range(1000)]
    assert list(isolated.map(items)) == [item.upper() for item in items]
    assert list(isolated.map([])) == []


@pytest.mark.parametrize(
    ("item", "detail"),
    [
        ("hang", "timeout"),
        ("sleep 30", "timeout"),
        ("eat", "memory"),
        ("swallow", "memory"),
        (f"die {signal.SIGSEGV:d}", "crashed: SIGSEGV"),
        (f"die {signal.SIGKILL:d}", "memory"),
        ("exit 7", "crashed: exit code 7"),
        ("break x", "crashed: exit code 1"),
    ],
)
def test_one_page_is_lost_and_no_other(isolated: Isolation[str, str], item: str, detail: str) -> None:
    around = [f"a{number}" for number in range(5)]
    results = list(isolated.map([*around, item, *around, "z"]))
    assert results == [*(one.upper() for one in around), f"{item}: {detail}", *(one.upper() for one in around), "Z"]


def test_many_bad_pages_in_one_batch(isolated: Isolation[str, str]) -> None:
    items = ["exit 4", "exit 4", "a", "eat", "b", "exit 4", "sleep 0.15", "exit 4"]
    assert list(isolated.map(items)) == [
        "exit 4: crashed: exit code 4", "exit 4: crashed: exit code 4", "A", "eat: memory", "B",
        "exit 4: crashed: exit code 4", "SLEEP 0.15", "exit 4: crashed: exit code 4",
    ]  # fmt: skip


def test_a_process_that_is_stopped_is_replaced(isolated: Isolation[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its alarm kills it only when it runs again: the parent has one of its own."""
    monkeypatch.setattr(isolation, "_GRACE", 0.5)
    assert list(isolated.map(["a", "stop", "b"])) == ["A", "stop: timeout", "B"]


def test_a_signal_from_outside_is_no_fault_of_the_page(isolated: Isolation[str, str], tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    def once(item: str) -> str:
        if item == "x" and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGTERM)
        return item.upper()

    one = Isolation(once, lambda item, detail: detail, len, 5.0, 0)
    assert list(one.map(["a", "x", "b"])) == ["A", "X", "B"]
    one.close()


def test_an_error_of_ours_is_ours(isolated: Isolation[str, str]) -> None:
    with pytest.raises(UsageError, match=r"^wrong setting$"):
        list(isolated.map(["a", "raise wrong setting", "b"]))
    assert list(isolated.map(["c"])) == ["C"]


def test_what_asks_to_stop_stops_at_once_and_leaves_nothing(isolated: Isolation[str, str]) -> None:
    class Stop(Exception):
        pass

    looks = 0

    def beat() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise Stop

    (pid,) = isolated.map(["pid"])
    with pytest.raises(Stop):
        list(isolated.map(["hang"], beat))
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)
    assert list(isolated.map(["a"])) == ["A"]


def test_the_process_is_the_same_until_it_has_to_be_another(isolated: Isolation[str, str]) -> None:
    first, second = isolated.map(["pid", "pid"])
    assert first == second == next(iter(isolated.map(["pid"])))
    assert int(first) != os.getpid()
    list(isolated.map(["exit 1"]))
    assert list(isolated.map(["pid"])) != [first]
    isolated.close()
    isolated.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(first), 0)


def test_it_holds_none_of_our_files(isolated: Isolation[str, str], tmp_path: Path) -> None:
    """A lock or a socket that it kept would outlive us; three standard ones, the pipe, and listdir's own."""
    with (tmp_path / "lock").open("w"):
        (files,) = isolated.map(["open"])
    assert len(files.split()) == 5


def test_a_message_too_large_for_the_process_costs_its_page() -> None:
    one = Isolation(lambda item: len(item), lambda item, detail: detail, len, 5.0, 8 << 20)
    assert list(one.map([b"a", bytes(40 << 20), b"b"])) == [1, "memory", 1]
    one.close()


def test_a_process_that_never_starts_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_settle", lambda *_: os._exit(9))
    one = Isolation(work, lambda item, detail: detail, len, 5.0, 0)
    with pytest.raises(CobnutError, match="does not start"):
        list(one.map(["a"]))


PARENT = """
import os, signal, sys, time
from jobs.parsing.isolation import Isolation
def work(item):
    print(os.getpid(), file=open(sys.argv[1], "w"), flush=True)
    os.rename(sys.argv[1], sys.argv[1] + ".pid")
    while True: pass
list(Isolation(work, lambda item, detail: detail, len, 600.0, 0).map(["x"]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it ends with its page's time")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_dies_with_its_parent(number: signal.Signals, tmp_path: Path) -> None:
    """In an endless page, and with a time limit that is far off."""
    told = tmp_path / "told"
    root = str(Path(__file__).parents[3])
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(told)], env={**os.environ, "PYTHONPATH": root})
    pid_file = tmp_path / "told.pid"
    while not pid_file.exists():
        assert parent.poll() is None
        time.sleep(0.02)
    child = int(pid_file.read_text())
    parent.send_signal(number)
    parent.wait()
    while _runs(child):
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["a", "bb", "exit 2", "die 11", "sleep 0.11", "c" * 100]), max_size=12))
def test_whatever_happens_every_page_has_its_result(isolated: Isolation[str, str], items: list[str]) -> None:
    lost = {"exit 2": "exit 2: crashed: exit code 2", "die 11": "die 11: crashed: SIGSEGV"}
    assert list(isolated.map(items)) == [lost.get(item, item.upper()) for item in items]
