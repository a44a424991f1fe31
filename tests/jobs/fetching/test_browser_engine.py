"""The `browser` engine with a real Chromium against real pages: which are rendered, what their parts obey, what fails.

Needs Chromium, as test_rendering.py does.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crawldb.errors import CobnutError, UsageError
from crawldb.settings import Settings
from jobs.fetching import ENGINES, FetchReport, FetchResult, addresses, curl_engine, tabs
from jobs.fetching.rendering import Renderer
from jobs.fetching.tabs import Rules

pytestmark = pytest.mark.slow

HTML = "Content-Type: text/html; charset=utf-8"
SCRIPT = "Content-Type: text/javascript"
OTHER, THIRD, TRACKER = "127.0.9.2", "127.0.9.3", "127.0.9.4"
SHELL = "<!doctype html><div id=root></div><script src=/app.js></script>"
APP = b"document.querySelector('#root').innerHTML = '<a href=/built>built</a>'"
BUILT = b'<a href="/built">built</a>'


class Lent(Renderer):
    """One for many runs of the engine, which all close it: to start Chromium takes longer than most tests."""

    def lend(self, settings: Settings) -> Renderer:
        self._rules = Rules.of(settings)
        return self

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def lent() -> Iterator[Lent]:
    settings = Settings()
    settings.http.agent_name = "testbot"
    made = Lent(settings)
    yield made
    Renderer.close(made)


@dataclasses.dataclass
class Crawl:
    """Runs the engine with the pages of one server."""

    server: Any
    tools: Any
    lent: Lent | None = None

    def page(self, path: str, html: str = SHELL, host: str = "127.0.9.1") -> str:
        self.server.on(path, self.tools.answer(200, html.encode(), HTML), host)
        return str(self.server.url(path, host))

    def script(self, path: str, content: bytes = APP, host: str | None = None, *fields: str) -> None:
        self.server.on(path, self.tools.answer(200, content, SCRIPT, *fields), host)

    def settings(self, fetch: dict[str, Any] | None = None, **browser: Any) -> Settings:
        made: Settings = self.tools.polite(**(fetch or {}))
        made.browser.wait, made.browser.max_seconds = "load", 20.0
        for name, value in browser.items():
            assert hasattr(made.browser, name)
            setattr(made.browser, name, value)
        return made

    def run(
        self, pages: list[str], settings: Settings | None = None, engine: str = "browser",
        stop: threading.Event | None = None, emit: Callable[[FetchResult], None] | None = None, **more: Any,
    ) -> tuple[FetchReport, dict[str, FetchResult]]:  # fmt: skip
        results: dict[str, FetchResult] = {}

        def keep(result: FetchResult) -> None:
            assert result.request.url not in results
            results[result.request.url] = result
            if emit is not None:
                emit(result)

        fetch: Any = ENGINES[engine]
        if self.lent is not None and engine == "browser":
            fetch = functools.partial(curl_engine.fetch, renderer=self.lent.lend)
        report = fetch([self.tools.request(url) for url in pages], settings or self.settings(**more), keep,
                                 stop or threading.Event(), ())  # fmt: skip
        assert report.fetched + sum(report.left.values()) == len(pages)
        return report, results

    def targets(self, host: str = "127.0.9.1") -> list[str]:
        """What a host was asked for, in order."""
        return [arrival.target for arrival in self.server.arrivals if arrival.host == host]


@pytest.fixture
def crawl(server: Any, tools: Any) -> Crawl:
    made = Crawl(server, tools)
    for host in ("127.0.9.1", OTHER, THIRD, TRACKER):
        server.url("/", host)
    made.script("/app.js")
    return made


@pytest.fixture
def quick(crawl: Crawl, lent: Lent) -> Crawl:
    """The same with a browser that runs already."""
    crawl.lent = lent
    return crawl


def children() -> set[int]:
    """The processes below this one."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state not in "ZX":
                parents[int(entry.name)] = int(parent)
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def browsers() -> list[int]:
    """The main processes of Chromium below this one."""
    found = []
    for pid in children():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"--remote-debugging-pipe" in command and b"--type=" not in command:
            found.append(pid)
    return found


def until(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


# Which pages, and their rows


def test_rendered_rows_are_the_raw_rows_and_a_dom(crawl: Crawl) -> None:
    """By host, by URL, and as an empty shell; all that the raw answer says is what `curl` says of it."""
    full = "<p>So much text that nobody takes it for a shell.<a href=/x>x</a><div id=root></div><script src=/app.js></script>"
    by_host, by_url = crawl.page("/page", full, OTHER), crawl.page("/spa/page", full)
    shell, static = crawl.page("/shell"), crawl.page("/static", full)
    data = crawl.server.url("/spa/data")
    crawl.server.on("/spa/data", crawl.tools.answer(200, b"{}", "Content-Type: application/json"))
    moved = crawl.server.url("/spa/moved")
    crawl.server.on("/spa/moved", crawl.tools.answer(302, b"", "Location: /shell"))
    urls = [by_host, by_url, shell, static, data, moved]
    _, raw = crawl.run(urls, engine="curl")
    _, made = crawl.run(urls, hosts=[OTHER], urls=["/spa/"])
    for url in (by_host, by_url, shell):
        assert made[url].rendered is not None
        assert BUILT in (made[url].rendered or b"")
        assert made[url].rendered_url == url
    times = {"fetched_at", "elapsed", "dns_time", "connect_time", "tls_time", "first_byte_time"}
    for url in urls:
        for field in dataclasses.fields(FetchResult):
            if field.name not in times | {"request", "rendered", "rendered_url"}:
                assert getattr(made[url], field.name) == getattr(raw[url], field.name), (url, field.name)
    assert [made[url].rendered for url in (static, data, moved)] == [None] * 3
    _, made = crawl.run([shell], empty_pages=False)
    assert made[shell].rendered is None


def test_a_page_of_fetched_data_with_cookies_credentials_and_ways_of_its_own(quick: Crawl, tmp_path: Path) -> None:
    """What the page means reaches the server, with our own name; credentials go to parts of its own origin alone."""
    url = quick.page("/list", """<!doctype html><ul id=root></ul><script>(async () => {
        history.pushState({}, '', '/list/all');
        const made = await fetch('/api', {method: 'POST', headers: {'X-Page': '2'}, body: '{"a": 1}'});
        for (const item of (await made.json())) root.innerHTML += `<li><a href="item/${item}">${item}</a>`;
        fetch('/empty', {method: 'POST'});
        fetch('http://ELSEWHERE/elsewhere', {mode: 'no-cors'});
    })()</script>""".replace("ELSEWHERE", f"{OTHER}:{quick.server.port}"))  # fmt: skip
    quick.server.on(
        "/api", quick.tools.answer(200, json.dumps(["eins", "zwölf"]).encode(), "Content-Type: application/json")
    )
    secrets = tmp_path / "credentials.toml"
    origins = [f"http://{host}:{quick.server.port}" for host in ("127.0.9.1", OTHER)]
    secrets.write_text("".join(f'["{origin}"]\nbearer = "secret"\n' for origin in origins))
    secrets.chmod(0o600)
    settings = quick.settings(wait="networkidle")
    settings.fetch.credentials_file = str(secrets)
    _, made = quick.run([url], settings)
    assert '<a href="item/zwölf">zwölf</a>' in (made[url].rendered or b"").decode()
    assert made[url].rendered_url == quick.server.url("/list/all")
    (api,), (empty,), (elsewhere,) = map(quick.server.asked, ("/api", "/empty", "/elsewhere"))
    assert (api.method, api.body, api.headers["X-Page"]) == ("POST", b'{"a": 1}', "2")
    assert api.headers["User-Agent"] == quick.server.asked("/list")[0].headers["User-Agent"]
    assert api.headers["Authorization"] == "Bearer secret"
    assert empty.headers["Content-Length"] == "0"
    assert "Authorization" not in elsewhere.headers
    assert "Sec-Fetch-Mode" not in api.headers


# What parts obey


def test_robots_txt_blocks_and_trackers(quick: Crawl) -> None:
    """What is denied or blocked no server ever sees; of another host robots.txt is asked first, once."""
    cdn, tracker = (f"http://{host}:{quick.server.port}" for host in (THIRD, TRACKER))
    rules = b"User-agent: *\nDisallow: /private\n"
    for host in ("127.0.9.1", THIRD):
        quick.server.on("/robots.txt", quick.tools.answer(200, rules, "Content-Type: text/plain"), host)
    quick.server.on("/robots.txt", quick.tools.answer(503), OTHER)
    scripts = "".join(f"<script src={cdn}/lib{n}.js></script>" for n in range(4))
    url = quick.page("/", f"""<!doctype html><div id=root></div>{scripts}<script src={cdn}/private.js></script>
      <script src=/private/a.js></script><script src=http://{OTHER}:{quick.server.port}/unavailable.js></script>
      <script src=/app.js></script><img src=/image.png><link rel=icon href=/icon.png><script src={tracker}/track.js>
      </script><style>@font-face {{font-family: f; src: url(/font)}} body {{font: 1em f}}</style>text
      <script>fetch('/private/data'); fetch('/data'); new WebSocket('ws://127.0.9.1:{quick.server.port}/socket');
      navigator.sendBeacon('/beacon', 'x')</script>""")  # fmt: skip
    for number in range(4):
        quick.script(f"/lib{number}.js", f"root.dataset.lib{number} = ''".encode())
    _, made = quick.run([url], wait="networkidle", block_urls=[TRACKER])
    dom = made[url].rendered or b""
    assert all(f"data-lib{number}".encode() in dom for number in range(4))
    assert BUILT in dom
    assert sorted(quick.targets()) == ["/", "/app.js", "/data", "/robots.txt"]
    assert quick.targets(OTHER) == ["/robots.txt"]
    assert quick.targets(THIRD)[0] == "/robots.txt"
    assert sorted(quick.targets(THIRD)[1:]) == [f"/lib{number}.js" for number in range(4)]
    assert quick.targets(TRACKER) == []


def test_parts_at_private_addresses_are_refused(quick: Crawl, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's own address passes for a public one here, and no other does: directly, and where a redirect leads."""
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.9.1")
    monkeypatch.setattr(curl_engine, "is_public", lambda address: address == "127.0.9.1")
    away = f"http://{OTHER}:{quick.server.port}"
    url = quick.page("/", f"<!doctype html><div id=root></div><script src={away}/a.js></script><script src=/moved.js>"
                     f"</script><script src=http://localhost/b.js></script><script src=/app.js></script>"
                     f"<script>location = '{away}/c'</script>")  # fmt: skip
    quick.server.on("/moved.js", quick.tools.answer(302, b"", f"Location: {away}/d.js"))
    _, made = quick.run([url], quick.settings({"allow_private_addresses": False}))
    assert BUILT in (made[url].rendered or b"")
    assert made[url].detail == f"rendering: its way to {away}/c was refused"
    assert quick.targets(OTHER) == []
    monkeypatch.undo()
    quick.server.arrivals.clear()
    _, made = quick.run([url], quick.settings({"allow_private_addresses": False}))
    assert made[url].reason == "private_address"
    assert quick.server.arrivals == []


def test_bounds_and_the_shared_cache(quick: Crawl) -> None:
    """A bundle of ten pages is asked for once; a part beyond max_bytes is none; the DOM's end is told."""
    quick.script("/large.js", b"root.dataset.large = '';" + b" " * 30_000)
    shared = [quick.page(f"/{number}") for number in range(10)]
    many = quick.page("/many", "<!doctype html><div id=root></div><script src=/large.js></script><script src=/app.js></script>"
                      + "".join(f"<script src=/n{n}.js></script>" for n in range(9)))  # fmt: skip
    long = quick.page(
        "/long",
        "<!doctype html><div id=root></div><script>for (let n = 0; n < 9000; n++) root.append('ten bytes.')</script>",
    )
    _, made = quick.run([*shared, many, long], max_requests=5, max_bytes=20_000)
    assert all(BUILT in (made[url].rendered or b"") for url in shared)
    assert len(quick.server.asked("/app.js")) == 1
    assert made[many].detail == "rendering: more than 5 parts"
    assert b"data-large" not in (made[many].rendered or b"")
    assert BUILT in (made[many].rendered or b"")
    assert sum(target.startswith("/n") for target in quick.targets()) in (3, 4)  # app.js may have been there
    assert made[long].detail == "rendering: cut off after 20000 bytes"
    assert len(made[long].rendered or b"") == 20_000


# Politeness


def test_the_gap_counts_from_the_last_part_and_six_go_at_once(quick: Crawl) -> None:
    slow = quick.tools.after(0.15, quick.tools.says(quick.tools.answer(200, b"", SCRIPT)))
    html = "<!doctype html><div id=root></div>" + "".join(f"<script src=/s{n}.js async></script>" for n in range(15))
    for number in range(15):
        quick.server.on(f"/s{number}.js", slow)
    urls = [quick.page("/a", html), quick.page("/b", html.replace(".js", ".js?b")), quick.page("/c", "<p>text")]
    quick.run(urls, quick.settings({"delay": 1.0}))
    assert quick.server.most_at_once["127.0.9.1"] == 6
    assert len(quick.server.asked()) == 33
    # In order of arrival: before every page, a second in which nothing of its host was asked for
    ordered = sorted(quick.server.arrivals, key=lambda arrival: arrival.time)
    gaps = {
        later.target: later.time - before.time
        for before, later in itertools.pairwise(ordered) if later.target in ("/a", "/b", "/c")
    }  # fmt: skip
    assert set(gaps) == {"/a", "/b", "/c"}
    assert all(gap >= 0.97 for gap in gaps.values()), gaps


def test_a_host_that_wants_no_more_parts_gets_none(quick: Crawl) -> None:
    """429 with Retry-After: neither further parts nor pages within that time."""
    quick.server.on("/busy", quick.tools.answer(429, b"", "Retry-After: 2"), OTHER)
    away = f"http://{OTHER}:{quick.server.port}"
    url = quick.page("/", f"""<!doctype html><div id=root></div><script>(async () => {{
        await fetch('{away}/busy', {{mode: 'no-cors'}});
        try {{ await fetch('{away}/more', {{mode: 'no-cors'}}) }} catch (error) {{ root.textContent = 'refused' }}
    }})()</script>""")  # fmt: skip
    _, made = quick.run([url], wait="networkidle")
    assert b">refused<" in (made[url].rendered or b"")
    assert quick.targets(OTHER) == ["/robots.txt", "/busy"]


def test_a_part_on_a_connection_that_was_closed_is_asked_for_again(quick: Crawl) -> None:
    good = quick.tools.says(quick.tools.answer(200, APP, SCRIPT))

    async def react(exchange: Any) -> None:
        if len(quick.server.asked("/once.js")) == 1:
            exchange.reset()
        else:
            await good(exchange)

    quick.server.on("/once.js", react)
    url = quick.page("/", SHELL.replace("app", "once"))
    _, made = quick.run([url])
    assert BUILT in (made[url].rendered or b"")


# What ends early


def test_stop_leaves_pages_under_rendering(crawl: Crawl) -> None:
    """They are not failed but left; no part is waited for, nothing remains running."""
    before = children()
    crawl.server.on("/hangs.js", crawl.tools.after(60, crawl.tools.says(b"")))
    urls = [crawl.page(f"/{n}", f"<!doctype html><script src=/hangs.js?{n}></script>") for n in range(6)]
    stop = threading.Event()

    def watch() -> None:
        until(lambda: any(target.startswith("/hangs") for target in crawl.targets()))
        stop.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    report, made = crawl.run(urls, crawl.settings({"shutdown_seconds": 30.0, "max_seconds": 100.0}), stop=stop)
    watcher.join()
    assert report.left == {"stopped": 6}
    assert made == {}
    assert time.monotonic() - began < 25
    assert until(lambda: children() <= before)


def test_the_time_limit_lets_pages_under_rendering_end(crawl: Crawl) -> None:
    """What is in a tab comes, its parts' host unknown before or not; what has not been fetched is left."""
    late = crawl.tools.after(3, crawl.tools.says(crawl.tools.answer(200, APP, SCRIPT)))
    crawl.server.on("/late.js", late)
    url = crawl.page("/", SHELL.replace("app", "late"))
    settings = crawl.settings({"time_limit": 2.5, "delay": 60.0})
    second = crawl.page("/second")
    known = crawl.tools.no_robots(url)
    results: list[FetchResult] = []
    requests = [crawl.tools.request(url), crawl.tools.request(second)]
    report = ENGINES["browser"](requests, settings, results.append, threading.Event(), known)
    assert report.left == {"time_limit": 1}
    (made,) = results
    assert BUILT in (made.rendered or b"")


def test_a_killed_chromium_costs_no_page(crawl: Crawl) -> None:
    before = children()
    crawl.server.on(
        "/slow", crawl.tools.after(0.5, crawl.tools.says(crawl.tools.answer(200, b"data", "Content-Type: text/plain")))
    )
    html = "<!doctype html><div id=root></div><script>fetch('/slow?%d').then(a => a.text()).then(t => {root.append(t); root.className = 'done'})</script>"
    urls = [crawl.page(f"/{number}", html % number) for number in range(4)]

    def kill() -> None:
        until(lambda: any(target.startswith("/slow") for target in crawl.targets()))
        for pid in browsers():
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    report, made = crawl.run(urls, wait="selector:.done", tabs=2)
    killer.join()
    assert report.fetched == 4
    assert all(b">data<" in (made[url].rendered or b"") for url in urls), [made[url].detail for url in urls]
    assert until(lambda: children() <= before)


def test_an_endless_script_fails_its_page_alone_and_its_raw_content_comes(
    crawl: Crawl, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless, fine = crawl.page("/endless", "<!doctype html><script>while (true) {}</script>"), crawl.page("/fine")
    monkeypatch.setattr(tabs, "GRACE", 3.0)
    _, made = crawl.run([endless, fine], max_seconds=6.0)
    assert made[endless].outcome.name == "success"
    assert made[endless].content == b"<!doctype html><script>while (true) {}</script>"
    assert made[endless].rendered is None
    assert made[endless].rendered_url is None
    assert made[endless].detail == "rendering: its script did not yield"
    assert BUILT in (made[fine].rendered or b"")


def test_a_browser_that_is_missing_is_told_before_anything_is_asked_for(crawl: Crawl) -> None:
    url = crawl.page("/")
    with pytest.raises(UsageError, match=r"browser\.executable = /nonexistent: no such program"):
        crawl.run([url], executable="/nonexistent")
    with pytest.raises(UsageError, match=r"browser\.urls: \(: not a regular expression"):
        crawl.run([url], urls=["("])
    assert crawl.server.arrivals == []
    with pytest.raises(CobnutError, match="does not start"):
        crawl.run([url], executable="false")
