"""Look-ups without waiting: the cache, its ages, the threads, and whose failure a failed look-up is."""

from __future__ import annotations

import queue
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb.settings import Settings
from crawldb.urls import host_of
from jobs.fetching.dns import Addresses, Resolver, interleaved

AGAIN = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
NO_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


class Names:
    """A name server, a clock and the notifications that came."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        """host → addresses or an exception; a callable is asked each time."""
        self.asked: Counter[str] = Counter()
        self.families: set[int] = set()
        self.now = 1000.0
        self.notified: queue.Queue[str] = queue.Queue()
        self.gate = threading.Event()
        self.gate.set()
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def getaddrinfo(self, host: str, port: object, family: int = 0, kind: int = 0, *_: object) -> list[Any]:
        with self.lock:
            self.asked[host] += 1
            self.families.add(family)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            assert self.gate.wait(30)
            answer = self.answers.get(host, NO_NAME)
            answer = answer() if callable(answer) else answer
            if isinstance(answer, Exception):
                raise answer
            return [
                (socket.AF_INET6, kind, 6, "", (address, 0, 0, 0)) if ":" in address
                else (socket.AF_INET, kind, 6, "", (address, 0))
                for address in answer
            ]  # fmt: skip
        finally:
            with self.lock:
                self.at_once -= 1


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    return names


Make = Callable[..., Resolver]


@pytest.fixture
def resolver(names: Names) -> Iterator[Make]:
    made = []

    def make(max_hosts: int = 1000, **fetch: Any) -> Resolver:
        settings = Settings()
        for key, value in fetch.items():
            setattr(settings.fetch, key, value)
        made.append(Resolver(settings, names.notified.put, max_hosts=max_hosts, clock=lambda: names.now))
        return made[-1]

    yield make
    names.gate.set()
    for one in made:
        one.close()


def learn(resolver: Resolver, names: Names, host: str) -> Addresses:
    assert resolver.ask(host) is None
    assert names.notified.get(timeout=30) == host
    found = resolver.ask(host)
    assert found is not None
    return found


def test_an_answer_is_kept_as_long_as_the_setting_says(resolver: Make, names: Names) -> None:
    names.answers["a.example"] = ["192.0.2.1", "192.0.2.2", "192.0.2.1"]
    ours = resolver(dns_max_age=100.0)
    assert learn(ours, names, "a.example") == (("192.0.2.1", "192.0.2.2"), None, False, 0, 1000.0)
    names.now += 99
    assert ours.ask("a.example") is not None
    assert names.asked["a.example"] == 1
    names.now += 1
    names.answers["a.example"] = ["192.0.2.3"]
    assert learn(ours, names, "a.example").addresses == ("192.0.2.3",)


def test_a_name_that_does_not_exist(resolver: Make, names: Names) -> None:
    ours = resolver()
    found = learn(ours, names, "none.example")
    assert found == ((), "none.example: Name or service not known", False, 0, 1000.0)
    names.now += 59
    assert ours.ask("none.example") == found
    names.now += 1
    assert ours.ask("none.example") is None


@pytest.mark.parametrize("error", [AGAIN, OSError(24, "Too many open files"), TimeoutError("timed out")])
def test_what_nobody_could_tell_is_asked_again_soon(resolver: Make, names: Names, error: Exception) -> None:
    ours = resolver()
    names.answers["a.example"] = error
    found = learn(ours, names, "a.example")
    assert found.temporary
    assert not found.addresses
    assert (found.error or "").startswith("a.example: ")
    names.now += 4
    assert ours.ask("a.example") is not None
    names.now += 1
    names.answers["a.example"] = ["192.0.2.1"]
    assert learn(ours, names, "a.example").addresses == ("192.0.2.1",)


def test_a_host_that_fails_while_others_do_not_is_at_fault(resolver: Make, names: Names) -> None:
    ours = resolver()
    names.answers |= {"bad.example": AGAIN, "good.example": ["192.0.2.1"]}
    verdicts = []
    for _ in range(3):
        verdicts.append(learn(ours, names, "bad.example").temporary)
        learn(ours, names, "good.example") if len(verdicts) == 1 else None
        names.now += 10
    assert verdicts == [True, True, False]


def test_an_outage_is_no_hosts_fault(resolver: Make, names: Names) -> None:
    ours = resolver()
    names.answers |= {"a.example": AGAIN, "b.example": AGAIN}
    for _ in range(20):
        assert learn(ours, names, "a.example").temporary
        assert learn(ours, names, "b.example").temporary
        names.now += 10


def test_in_an_outage_old_addresses_are_better_than_none(resolver: Make, names: Names) -> None:
    ours = resolver(dns_max_age=100.0)
    names.answers["a.example"] = ["192.0.2.1"]
    learn(ours, names, "a.example")
    names.now += 100
    names.answers["a.example"] = AGAIN
    found = learn(ours, names, "a.example")
    assert (found.addresses, found.error, found.temporary) == (("192.0.2.1",), None, False)
    names.now += 60
    names.answers["a.example"] = NO_NAME
    assert learn(ours, names, "a.example").addresses == ()


@pytest.mark.parametrize(
    ("url", "version", "addresses"),
    [
        ("http://127.0.0.1:8080/", "any", ("127.0.0.1",)),
        ("http://127.0.0.1/", "4", ("127.0.0.1",)),
        ("http://127.0.0.1/", "6", ()),
        ("http://[::1]:8080/", "any", ("::1",)),
        ("https://[2001:db8::1]/", "6", ("2001:db8::1",)),
        ("https://[2001:db8::1]/", "4", ()),
    ],
)
def test_an_address_needs_no_look_up(
    resolver: Make, names: Names, url: str, version: str, addresses: tuple[str, ...]
) -> None:
    found = resolver(ip_version=version).ask(host_of(url))
    assert found is not None
    assert found.addresses == addresses
    assert (found.error is None) == bool(addresses)
    assert not found.temporary
    assert not names.asked


@pytest.mark.parametrize(
    ("version", "family"), [("any", socket.AF_UNSPEC), ("4", socket.AF_INET), ("6", socket.AF_INET6)]
)
def test_the_family_that_the_setting_names(resolver: Make, names: Names, version: str, family: int) -> None:
    learn(resolver(ip_version=version), names, "a.example")
    assert names.families == {family}


def test_the_address_that_worked_stands_first(resolver: Make, names: Names) -> None:
    ours = resolver(dns_max_age=100.0)
    names.answers["a.example"] = ["2001:db8::1", "2001:db8::2", "192.0.2.1"]
    assert learn(ours, names, "a.example").addresses == ("2001:db8::1", "192.0.2.1", "2001:db8::2")
    ours.prefer("a.example", "192.0.2.1")
    ours.prefer("a.example", "192.0.2.1")
    ours.prefer("other.example", "192.0.2.1")
    found = ours.ask("a.example")
    assert found is not None
    assert found.addresses == ("192.0.2.1", "2001:db8::1", "2001:db8::2")
    names.now += 100
    assert learn(ours, names, "a.example").addresses[0] == "192.0.2.1", "after the next look-up too"
    names.now += 100
    names.answers["a.example"] = ["2001:db8::1"]
    assert learn(ours, names, "a.example").addresses == ("2001:db8::1",)


def test_each_host_is_looked_up_once_by_so_many_threads(resolver: Make, names: Names) -> None:
    ours = resolver(dns_threads=3)
    names.gate.clear()
    hosts = [f"h{number}.example" for number in range(20)]
    for host in hosts * 5:
        assert ours.ask(host) is None
    names.gate.set()
    assert sorted(names.notified.get(timeout=30) for _ in hosts) == sorted(hosts)
    assert names.notified.empty()
    assert set(names.asked.values()) == {1}
    assert 1 <= names.most_at_once <= 3


def test_no_thread_before_the_first_name(resolver: Make, names: Names) -> None:
    before = threading.active_count()
    ours = resolver()
    ours.ask("127.0.0.1")
    assert threading.active_count() == before
    for number in range(10):
        learn(ours, names, f"h{number}.example")
    assert threading.active_count() <= before + 2, "one after the other needs no more threads"


def test_a_machine_without_threads_to_spare(resolver: Make, names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ours = resolver()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        found = ours.ask("a.example")
    assert found is not None
    assert found.temporary
    names.answers["a.example"] = ["192.0.2.1"]
    assert learn(ours, names, "a.example").addresses == ("192.0.2.1",)


def test_the_cache_is_bounded_and_keeps_what_is_used(resolver: Make, names: Names) -> None:
    ours = resolver(max_hosts=3)
    for host in ("a.example", "b.example", "c.example"):
        learn(ours, names, host)
    ours.ask("a.example")
    learn(ours, names, "d.example")
    assert ours.ask("a.example") is not None
    assert ours.ask("b.example") is None


@pytest.mark.parametrize("host", ["x" * 64 + ".example", "a..example", ".example", "\x00.example"])
def test_what_is_no_name_is_data(host: str) -> None:
    """By the real getaddrinfo."""
    notified: queue.Queue[str] = queue.Queue()
    ours = Resolver(Settings(), notified.put)
    assert ours.ask(host) is None
    assert notified.get(timeout=60) == host
    found = ours.ask(host)
    ours.close()
    assert found is not None
    assert found.error
    assert not found.addresses


def test_a_name_that_getaddrinfo_cannot_take_costs_no_thread(resolver: Make, names: Names) -> None:
    ours = resolver(dns_threads=1)
    names.answers |= {"bad.example": ValueError("embedded null character"), "a.example": ["192.0.2.1"]}
    found = learn(ours, names, "bad.example")
    assert not found.temporary
    assert "bad.example" in (found.error or "")
    assert learn(ours, names, "a.example").addresses == ("192.0.2.1",)


def test_the_real_localhost() -> None:
    notified: queue.Queue[str] = queue.Queue()
    ours = Resolver(Settings(), notified.put)
    ours.ask("localhost")
    notified.get(timeout=60)
    found = ours.ask("localhost")
    ours.close()
    assert found is not None
    assert set(found.addresses) <= {"127.0.0.1", "::1"}
    assert found.addresses


def test_after_close_nothing_is_looked_up(resolver: Make, names: Names) -> None:
    ours = resolver(dns_threads=1)
    names.gate.clear()
    ours.ask("a.example")
    ours.ask("b.example")
    ours.close()
    names.gate.set()
    found = ours.ask("c.example")
    assert found is not None
    assert found.temporary
    assert not names.asked["b.example"] + names.asked["c.example"]


def test_a_look_up_that_hangs_does_not_keep_the_process() -> None:
    code = """
import socket, time
socket.getaddrinfo = lambda *_, **__: time.sleep(600)
from crawldb.settings import Settings
from jobs.fetching.dns import Resolver
ours = Resolver(Settings(), print)
for number in range(40):
    ours.ask(f"h{number}.example")
ours.close()
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@given(st.lists(st.ip_addresses().map(str), max_size=8))
def test_interleaving(addresses: list[str]) -> None:
    result = interleaved(addresses)
    assert sorted(result) == sorted(set(addresses))
    assert result[:1] == tuple(addresses[:1])
    families = [":" in address for address in result]
    both = min(families.count(True), families.count(False))
    assert all(families[place] != families[place + 1] for place in range(2 * both - 1))
    for family in (True, False):
        order = [address for address in dict.fromkeys(addresses) if (":" in address) == family]
        assert [address for address in result if (":" in address) == family] == order
