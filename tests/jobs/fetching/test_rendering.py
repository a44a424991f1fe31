"""Pages in a real Chromium: what scripts build, what a page may ask for, and what dies alone.

Needs Chromium (scripts/test.sh installs it where it can): without it these tests fail and say so.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from crawldb.errors import CobnutError, UsageError
from crawldb.settings import Settings
from jobs.fetching import tabs
from jobs.fetching.rendering import Page, Part, PartAnswer, Rendered, Renderer

pytestmark = pytest.mark.slow

HOST = "http://site.example"


class Site:
    """Answers parts in place of an engine, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Part] = []
        self.answers: dict[str, PartAnswer | Callable[[Part], Future[PartAnswer | None]]] = {}

    def on(self, path: str, content: str | bytes = b"", kind: str = "text/javascript", status: int = 200,
           **fields: str) -> None:  # fmt: skip
        url = path if "://" in path else HOST + path
        headers = [("Content-Type", kind), *((name.replace("_", "-"), value) for name, value in fields.items())]
        self.answers[url] = PartAnswer(status, headers, content.encode() if isinstance(content, str) else content)

    def fetch(self, part: Part) -> Future[PartAnswer | None]:
        self.asked.append(part)
        answer = self.answers.get(part.url)
        if callable(answer):
            return answer(part)
        done: Future[PartAnswer | None] = Future()
        done.set_result(answer)
        return done

    @property
    def urls(self) -> list[str]:
        return [part.url.removeprefix(HOST) for part in self.asked]


def settings(**browser: Any) -> Settings:
    made = Settings()
    made.http.agent_name = "testbot"
    made.browser.max_seconds = 20.0
    for name, value in browser.items():
        assert hasattr(made.browser, name)
        setattr(made.browser, name, value)
    return made


def page(html: str | bytes, url: str = f"{HOST}/", **fields: str) -> Page:
    content = html.encode() if isinstance(html, str) else html
    headers = [("Content-Type", "text/html; charset=utf-8"), *fields.items()]
    return Page(url, 200, headers, content)


def descendants(of: int) -> dict[int, str]:
    """Command lines of all processes below one, those that have ended left out."""
    parents: dict[int, int] = {}
    commands: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if state not in "ZX":
                parents[int(entry.name)], commands[int(entry.name)] = int(parent), command
    found = {of}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: commands[pid] for pid in found - {of} if pid in commands}


class Processes:
    """What was started since this was made: the browser that the tests share is none of it."""

    def __init__(self) -> None:
        self._before = set(descendants(os.getpid()))

    @property
    def new(self) -> dict[int, str]:
        return {pid: command for pid, command in descendants(os.getpid()).items() if pid not in self._before}

    @property
    def browsers(self) -> list[int]:
        """The main processes of Chromium."""
        return [pid for pid, command in self.new.items()
                if "--remote-debugging-pipe" in command and "--type=" not in command]  # fmt: skip


@pytest.fixture
def processes() -> Processes:
    return Processes()


def until(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    """One for all tests that do not hurt it."""
    with Renderer(settings()) as shared:
        yield shared


@pytest.fixture
def with_rules(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Renderer]:
    """The same with other settings for pages: to start a browser for them takes longer than the pages."""

    def change(**browser: Any) -> Renderer:
        monkeypatch.setattr(renderer, "_rules", tabs.Rules.of(settings(**browser)))
        return renderer

    return change


@pytest.fixture
def site() -> Site:
    return Site()


def dom(rendered: Rendered) -> str:
    assert rendered.dom is not None, rendered.detail
    return rendered.dom.decode("utf-8")


def rendered(renderer: Renderer, html: str | bytes, site: Site, **fields: str) -> Rendered:
    return renderer.render(page(html, **fields), site.fetch).result(60)


# What scripts build


def test_document_write(renderer: Renderer, site: Site) -> None:
    made = rendered(renderer, "<!doctype html><script>for(const n of [1,2])document.write(`<a href=/p${n}>${n}</a>`)"
                    "</script>", site)  # fmt: skip
    assert '<a href="/p1">1</a><a href="/p2">2</a>' in dom(made)
    assert dom(made).startswith("<!DOCTYPE html>\n<html>")
    assert made[0] == f"{HOST}/"
    assert made[2:] == (None, False)
    assert site.asked == []


def test_data_fetched_then_shown(renderer: Renderer, site: Site) -> None:
    """A preflighted POST and an XMLHttpRequest: what the page means arrives, who asks is left to the engine."""
    site.on("/app.js", """
      fetch('/api/items?page=1').then(answer => answer.json()).then(data => {
        document.querySelector('#root').innerHTML = data.map(one => `<a href="/item/${one}">${one}</a>`).join('');
        const more = new XMLHttpRequest();
        more.open('POST', 'http://api.example/more'); more.setRequestHeader('X-Page', '2');
        more.setRequestHeader('Content-Type', 'application/json');
        more.onload = () => root.insertAdjacentHTML('beforeend', more.responseText);
        more.send('{"a": 1}');
      });
    """)  # fmt: skip
    site.on("/api/items?page=1", json.dumps(["one", "zwölf"]), "application/json")
    allow = {"Access_Control_Allow_Origin": "*", "Access_Control_Allow_Headers": "content-type, x-page"}
    site.on("http://api.example/more", "<a href=/more>", "text/html", **allow)
    made = rendered(renderer, "<!doctype html><div id=root></div><script src=/app.js></script>", site)
    assert '<a href="/item/zwölf">zwölf</a><a href="/more"></a></div>' in dom(made)
    assert [(part.method, part.kind) for part in site.asked] == [
        ("GET", "script"), ("GET", "xhr"), ("OPTIONS", "xhr"), ("POST", "xhr"),
    ]  # fmt: skip
    post = site.asked[-1]
    fields = {name.lower(): value for name, value in post.headers.items()}
    assert post.body == b'{"a": 1}'
    assert fields["x-page"] == "2"
    assert fields["origin"] == HOST
    assert not fields.keys() & {"user-agent", "cookie", "accept-encoding", "sec-ch-ua"}


def test_modules(renderer: Renderer, site: Site) -> None:
    """Imports are resolved against the address that a redirect led to."""
    site.on("/main.js", status=302, Location="/assets/main.js")
    site.on("/assets/main.js", "import {show} from './show.js'; show(await (await import('./late.js')).links());")
    site.on("/assets/show.js", "export const show = links => document.body.append(...links)")
    site.on("/assets/late.js", "export const links = async () => { const a = document.createElement('a');"
            " a.href = '/from-module'; return [a]; }")  # fmt: skip
    made = rendered(renderer, "<body><script type=module src=/main.js></script>", site)
    assert '<a href="/from-module"></a>' in dom(made)
    assert site.urls == ["/main.js", "/assets/main.js", "/assets/show.js", "/assets/late.js"]


def test_routes_by_history(renderer: Renderer, site: Site) -> None:
    made = rendered(renderer, "<div id=app></div><script>history.pushState({}, '', '/route/7?a=b#c');"
                    "app.textContent = location.pathname</script>", site)  # fmt: skip
    assert made.url == f"{HOST}/route/7?a=b#c"
    assert '<div id="app">/route/7</div>' in dom(made)
    assert site.asked == []


def test_shadow_trees(renderer: Renderer, site: Site) -> None:
    """Open ones are written as declarative ones, nested too; closed ones nobody can read."""
    made = rendered(renderer, """
      <my-list><template shadowrootmode=open><a href=/declared>d</a></template></my-list><my-box></my-box><p id=c></p>
      <script>
        customElements.define('my-in', class extends HTMLElement {
          constructor() { super(); this.attachShadow({mode: 'open'}).innerHTML = '<a href=/inner>i</a>' } });
        customElements.define('my-box', class extends HTMLElement {
          constructor() { super(); this.attachShadow({mode: 'open'}).innerHTML = '<my-in></my-in>' } });
        c.attachShadow({mode: 'closed'}).innerHTML = '<a href=/closed>';
      </script>""", site)  # fmt: skip
    assert '<my-list><template shadowrootmode="open"><a href="/declared">d</a></template></my-list>' in dom(made)
    assert '<my-in><template shadowrootmode="open"><a href="/inner">i</a></template></my-in>' in dom(made)
    assert '<a href="/closed">' not in dom(made).partition("<script>")[0]


def test_hydration(renderer: Renderer, site: Site) -> None:
    """The server's HTML is taken over, its state read, its buttons become links."""
    site.on("/bundle.js", """
      const state = JSON.parse(document.getElementById('__STATE__').textContent);
      const h = (tag, props, ...children) => { const e = document.createElement(tag);
        for (const [k, v] of Object.entries(props)) e.setAttribute(k, v); e.append(...children); return e; };
      queueMicrotask(() => requestIdleCallback(() =>
        document.getElementById('root').replaceChildren(...state.items.map(i => h('a', {href: '/i/' + i}, i)))));
    """)  # fmt: skip
    made = rendered(renderer, '<div id=root><span data-reactroot>…</span></div><script type="application/json" '
                    'id=__STATE__>{"items":["a","ö"]}</script><script defer src=/bundle.js></script>', site)  # fmt: skip
    assert '<div id="root"><a href="/i/a">a</a><a href="/i/ö">ö</a></div>' in dom(made)


def test_what_scripts_did_to_javascript_does_not_reach_the_serialisation(renderer: Renderer, site: Site) -> None:
    made = rendered(renderer, """<form name=documentElement><input name=shadowRoot></form><img name=querySelectorAll>
      <a href=/kept>x</a><script>Element.prototype.getHTML = () => 'forged'; String.prototype.slice = () => 'forged';
      Object.defineProperty(Document.prototype, 'documentElement', {get: () => null}); Array.prototype.push = null;
      </script>""", site)  # fmt: skip
    assert '<a href="/kept">x</a>' in dom(made)


def test_the_page_is_read_as_its_header_fields_say(renderer: Renderer, site: Site) -> None:
    """The charset counts; what held for the coded answer does not, nor what would make it a download."""
    made = renderer.render(Page(f"{HOST}/", 200, [
        ("content-type", "text/html; charset=windows-1251"), ("Content-Encoding", "gzip"), ("Content-Length", "3"),
        ("Content-Disposition", "attachment"), ("X-Bad", "a\r\nb"), ("Bad Name", "x"), ("X-Latin", "grün"),
    ], "<p>Привет".encode("cp1251")), site.fetch).result(60)  # fmt: skip
    assert "<p>Привет</p>" in dom(made)


def test_dialogs_do_not_hold_a_page(renderer: Renderer, site: Site) -> None:
    made = rendered(renderer, "<script>alert(1); document.write(confirm(2), prompt(3)); onbeforeunload = () => 'no';"
                    "print(); close()</script>", site)  # fmt: skip
    assert "falsenull" in dom(made)


def test_every_page_is_a_stranger(renderer: Renderer, site: Site) -> None:
    """Neither cookies nor storage pass from one page to the next; a page itself may use them."""
    script = ("<script>document.write(`[${document.cookie}|${localStorage.seen || ''}]`); document.cookie = 'a=b';"
              "localStorage.seen = 'yes'; document.write(`[${document.cookie}|${localStorage.seen}]`)</script>")  # fmt: skip
    for _ in range(2):
        assert "[|][a=b|yes]" in dom(rendered(renderer, script, site)).replace("`", "")


def test_who_we_are(renderer: Renderer, site: Site) -> None:
    made = rendered(renderer, "<script>document.write(navigator.userAgent, '|', navigator.language, '|',"
                    "Intl.DateTimeFormat().resolvedOptions().timeZone)</script>", site)  # fmt: skip
    assert "compatible; testbot) Chrome/" in dom(made)
    assert "Safari/537.36|en|UTC" in dom(made)


# Where scripts lead


def test_a_way_to_another_document_of_the_host(renderer: Renderer, site: Site) -> None:
    site.on("/old", status=301, Location="/new")
    site.on("/new", "<!doctype html><a href=/there>there</a>", "text/html")
    for html in ("<script>location = '/old'</script>", "<meta http-equiv=refresh content='0; url=/old'>"):
        made = rendered(renderer, html, site)
        assert made.url == f"{HOST}/new"
        assert '<a href="/there">there</a>' in dom(made)
        assert made.detail is None
    assert site.urls == ["/old", "/new"] * 2
    assert {part.kind for part in site.asked} == {"document"}


def test_a_way_that_is_refused(renderer: Renderer, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page stays as it is."""
    monkeypatch.setattr(tabs, "_COMMIT_SECONDS", 0.5)
    details = {
        "setTimeout(() => location = 'http://else.example/x')": "its way to http://else.example/x was refused",
        "location = 'http://else.example/x'": "its way to http://else.example/x was refused",
        "location = '/away'": "its way to http://else.example/y was refused",
        "setTimeout(() => location.reload())": "its reload was refused",
        "setTimeout(() => location = '/missing')": None,
        "setTimeout(() => location = '/file')": None,
        "setTimeout(() => form.submit())": None,
        "setTimeout(() => location = 'mailto:a@b.example')": None,
        "location = 'tel:1'": None,
        "setTimeout(() => location = 'file:///etc/passwd')": None,
    }
    site.on("/away", status=302, Location="http://else.example/y")
    site.on("/file", b"PK", "application/zip")
    html = "<p id=here>here<form id=form method=post action=/post></form><script>"
    pages = {script: renderer.render(page(f"{html}{script}</script>"), site.fetch) for script in details}
    for script, one in pages.items():
        made = one.result(60)
        assert made.url == f"{HOST}/"
        assert '<p id="here">here' in dom(made)
        assert made.detail == details[script], script
    assert sorted(site.urls) == ["/away", "/file", "/missing"]


def test_a_page_that_leaves_for_nowhere_is_lost(renderer: Renderer, site: Site) -> None:
    assert rendered(renderer, "<script>location = 'about:blank'</script>", site) == (
        None, None, "it went to about:blank", False,
    )  # fmt: skip


# What may be asked for


def test_what_is_blocked_is_never_asked_for(renderer: Renderer, site: Site) -> None:
    made = rendered(renderer, """<link rel=prefetch href=/prefetch><link rel=icon href=/icon><img src=/image>
      <link rel=manifest href=/manifest><video src=/video></video><style>@font-face {font-family: f; src: url(/font)}
      p {font-family: f}</style><p>x</p><script src=http://www.google-analytics.com/a.js></script>
      <script src=http://xgoogle-analytics.com/b.js></script>
      <script>new EventSource('/events'); navigator.sendBeacon('/beacon', 'x'); fetch('/put', {method: 'PUT'});
      fetch('/blob', {method: 'POST', body: new Blob(['x'])}); new WebSocket('ws://site.example/socket')</script>""",
                    site)  # fmt: skip
    assert made.dom is not None
    assert set(site.urls) <= {"http://xgoogle-analytics.com/b.js", "/blob"}


def test_frames_and_workers_ask_through_us(renderer: Renderer, site: Site) -> None:
    site.on("http://other.example/frame", "<script src=/in-frame.js></script>", "text/html")
    site.on("/sandboxed", "<script src=/in-sandbox.js></script>", "text/html")
    site.on("/worker.js", "fetch('/from-worker').then(a => a.text()).then(postMessage)")
    site.on("/from-worker", "worker's answer", "text/plain")
    made = rendered(renderer, """<iframe src=http://other.example/frame></iframe><iframe sandbox=allow-scripts
      src=/sandboxed></iframe><script>new Worker('/worker.js').onmessage = e => document.body.append(e.data)</script>
      """, site)  # fmt: skip
    assert "worker's answer" in dom(made)
    assert sorted(site.urls) == ["/from-worker", "/in-sandbox.js", "/sandboxed", "/worker.js",
                                 "http://other.example/frame", "http://other.example/in-frame.js"]  # fmt: skip


def test_scripts_are_asked_for_once(renderer: Renderer, site: Site) -> None:
    """Pages side by side wait for one answer, later ones take it from the cache; data is asked for each time."""
    waiting: list[Future[PartAnswer | None]] = []

    def slow(part: Part) -> Future[PartAnswer | None]:
        future: Future[PartAnswer | None] = Future()
        waiting.append(future)
        return future

    site.answers[f"{HOST}/shared.js"] = slow
    site.on("/data", "d", "text/plain")
    html = "<script src=/shared.js></script><script>fetch('/data')</script>"
    pages = [renderer.render(page(html), site.fetch) for _ in range(3)]
    assert until(lambda: len(waiting) == 1)
    time.sleep(0.3)  # for the others to ask, if they were to
    waiting[0].set_result(PartAnswer(200, [("Content-Type", "text/javascript")], b"document.write('shared')"))
    assert all("shared</" in dom(one.result(60)) or "shared<script" in dom(one.result(60)) for one in pages)
    assert rendered(renderer, html, site).dom is not None
    assert sorted(site.urls) == ["/data"] * 4 + ["/shared.js"]


def test_limits(site: Site, with_rules: Callable[..., Renderer]) -> None:
    """So many parts, so many bytes of one, so many of the DOM, so many seconds."""
    site.on("/large.js", "x" * 5000)
    renderer = with_rules(max_requests=3, max_bytes=4000, wait="load")
    many = renderer.render(page("<script src=/1.js></script><script src=/2.js></script><script src=/large.js>"
                                "</script><script src=/4.js></script>"), site.fetch)  # fmt: skip
    long = renderer.render(page(f"<p>{'ö' * 6000}"), site.fetch)
    assert many.result(60).detail == "more than 3 parts"
    assert len(site.asked) == 3
    cut = long.result(60)
    assert cut.truncated
    assert cut.dom is not None
    assert 3998 <= len(cut.dom) <= 4000
    assert cut.dom.decode("utf-8").endswith("ö")
    renderer = with_rules(max_seconds=3.0)
    late = renderer.render(page("<a href=/there>x</a><script src=/hangs.js></script>"), lambda part: Future()).result(
        60
    )
    assert late.detail == "taken after 3 s, not yet complete"
    assert '<a href="/there">' in dom(late)


def test_parts_that_nobody_needs_any_more_are_cancelled(with_rules: Callable[..., Renderer]) -> None:
    asked: list[Future[PartAnswer | None]] = []

    def never(part: Part) -> Future[PartAnswer | None]:
        asked.append(Future())
        return asked[-1]

    html = "<p>x<script>fetch('/a')</script>"
    assert "<p>x" in dom(with_rules(wait="load").render(page(html), never).result(60))
    assert until(lambda: all(future.cancelled() for future in asked))


def test_an_engine_that_raises_is_not_hidden(renderer: Renderer) -> None:
    def broken(part: Part) -> Future[PartAnswer | None]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        renderer.render(page("<script>fetch('/x')</script>"), broken).result(60)


@pytest.mark.parametrize("wait", ["selector:#app a.late", "seconds:1.5"])
def test_waiting_for_late_content(site: Site, with_rules: Callable[..., Renderer], wait: str) -> None:
    made = rendered(with_rules(wait=wait), "<div id=app></div><script>setTimeout(() => app.innerHTML = "
                    "'<a class=late href=/late>', 1000)</script>", site)  # fmt: skip
    assert '<a class="late" href="/late">' in dom(made)


# No way out


def test_chromium_connects_nowhere(renderer: Renderer, site: Site) -> None:
    """Every way that a page has to reach a server, aimed at real ones: none sees a connection or a packet."""
    address = "127.0.7.7"
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with socket.create_server((address, 0)) as tcp, udp:
        port = tcp.getsockname()[1]
        udp.bind((address, port))
        away = f"http://{address}:{port}"
        site.on("/private", status=302, Location=f"{away}/redirected")
        site.on("/private.js", status=302, Location=f"{away}/redirected.js")
        site.on("/worker.js", f"fetch('{away}/worker'); try {{ importScripts('{away}/imported') }} catch (e) {{}};"
                f"new WebSocket('ws://{address}:{port}/worker')")  # fmt: skip
        html = f"""<!doctype html><link rel=preconnect href={away}><link rel=dns-prefetch href={away}>
          <link rel=prefetch href={away}/1><link rel=preload as=script href={away}/2><link rel=prerender href={away}/3>
          <link rel=modulepreload href={away}/4><link rel=stylesheet href={away}/5><link rel=manifest href={away}/6>
          <script type=speculationrules>{{"prefetch": [{{"urls": ["{away}/7"], "eagerness": "immediate"}}],
            "prerender": [{{"urls": ["{away}/8", "/8"], "eagerness": "immediate"}}]}}</script>
          <img src={away}/9><iframe src={away}/10></iframe><iframe name=target></iframe><object data={away}/11></object>
          <embed src={away}/12><video src={away}/13></video><script src=/private.js></script>
          <form id=posting method=post action={away}/14 target=target><input name=a></form><a id=link ping={away}/15
          href={away}/16 target=_blank>x</a><a id=download href={away}/17 download>x</a>
          <meta http-equiv=refresh content="1; url={away}/18"><script>
          const attempt = f => {{ try {{ const p = f(); p && p.catch && p.catch(() => 0) }} catch (e) {{}} }};
          attempt(() => new WebSocket('ws://{address}:{port}/'));
          attempt(() => new WebTransport('https://{address}:{port}/').ready);
          attempt(() => new EventSource('{away}/20'));
          attempt(() => navigator.sendBeacon('{away}/21', 'x'));
          attempt(() => navigator.serviceWorker.register('/worker.js'));
          attempt(() => new Worker('/worker.js')); attempt(() => new SharedWorker('/worker.js'));
          attempt(() => new Worker(URL.createObjectURL(new Blob(["fetch('{away}/22')"]))));
          attempt(() => fetch('{away}/23', {{mode: 'no-cors', keepalive: true}})); attempt(() => fetch('/private'));
          attempt(() => window.open('{away}/24')); attempt(() => posting.submit());
          attempt(() => link.click()); attempt(() => download.click());
          attempt(() => {{ const pc = new RTCPeerConnection({{iceServers: [{{username: 'a', credential: 'b', urls:
            ['stun:{address}:{port}', 'turn:{address}:{port}', 'turn:{address}:{port}?transport=tcp']}}]}});
            pc.createDataChannel('x'); pc.createOffer().then(offer => pc.setLocalDescription(offer));
            pc.onicegatheringstatechange = () => document.title += pc.iceGatheringState }});
          attempt(() => new PaymentRequest([{{supportedMethods: '{away}/25'}}], {{total: {{label: 'x', amount:
            {{currency: 'EUR', value: '1'}}}}}}).canMakePayment());
          setTimeout(() => location = '{away}/26', 1200);</script>"""
        made = rendered(renderer, html, site)
        time.sleep(1.0)
        tcp.settimeout(0.01)
        udp.settimeout(0.01)
        with pytest.raises(TimeoutError):
            tcp.accept()
        with pytest.raises(TimeoutError):
            udp.recvfrom(1000)
    assert made.dom is not None
    assert f"its way to {away}/" in (made.detail or "")
    # They did try: what can be asked for came to us, and a redirect's target too, for the address guard to refuse.
    asked = {url.removeprefix(away) for url in site.urls}
    assert {"/2", "/5", "/10", "/23", "/redirected", "/redirected.js", "/worker", "/22"} <= asked
    assert not asked & {"/1", "/3", "/9", "/13", "/14", "/15", "/20", "/21"}


# What dies alone


def test_a_script_that_never_ends_and_one_that_eats_memory_fail_alone(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the time limit and its grace; pages beside them do not notice."""
    monkeypatch.setattr(tabs, "GRACE", 3.0)
    with Renderer(settings(max_seconds=2.0, wait="load")) as renderer:
        site = Site()
        endless = renderer.render(page("<p>x<script>while (true) {}</script>"), site.fetch)
        hungry = renderer.render(page("<script>const a = []; while (true) a.push(new Array(1e6).fill(Math.random()))"
                                      "</script>"), site.fetch)  # fmt: skip
        fine = [renderer.render(page(f"<script>document.write('fine')</script>{n}"), site.fetch) for n in range(4)]
        assert all("fine" in dom(one.result(60)) for one in fine)
        (pid,) = processes.browsers
        assert endless.result(60) == (None, None, "its script did not yield", False)
        assert hungry.result(60)[:2] == (None, None)
        assert "fine" in dom(rendered(renderer, "<script>document.write('fine')</script>", site))
        assert processes.browsers == [pid], "the browser had to be replaced"


def test_a_browser_that_is_killed_loses_no_page(processes: Processes) -> None:
    site = Site()
    held: list[Future[PartAnswer | None]] = []

    def hold(part: Part) -> Future[PartAnswer | None]:
        site.asked.append(part)
        if len(site.asked) <= 2:  # the first time of each
            held.append(Future())
            return held[-1]
        done: Future[PartAnswer | None] = Future()
        done.set_result(PartAnswer(200, [("Content-Type", "text/plain")], b"data"))
        return done

    html = "<script>fetch('/data').then(a => a.text()).then(t => document.body.append(t))</script>"
    with Renderer(settings(tabs=2)) as renderer:
        pages = [renderer.render(page(html), hold) for _ in range(2)]
        assert until(lambda: len(held) == 2)
        (pid,) = processes.browsers
        os.kill(pid, signal.SIGKILL)
        assert all("data</body>" in dom(one.result(60)) for one in pages)
        assert len(site.asked) == 4
        assert "fine" in dom(rendered(renderer, "fine", site))
        assert pid not in processes.browsers
    assert until(lambda: not processes.new)


def test_a_page_that_kills_every_browser_is_lost_alone(processes: Processes) -> None:
    site = Site()

    def kill(part: Part) -> Future[PartAnswer | None]:
        for pid in processes.browsers:
            os.kill(pid, signal.SIGKILL)
        return Future()

    with Renderer(settings(tabs=2, wait="load")) as renderer:
        deadly = renderer.render(page("<script>fetch('/x')</script>"), kill)
        assert deadly.result(60) == (None, None, "Chromium died of it", False)
        assert "fine" in dom(rendered(renderer, "fine", site))


def test_a_driver_that_is_killed_is_replaced(processes: Processes) -> None:
    site = Site()
    with Renderer(settings(wait="load")) as renderer:
        assert "one" in dom(rendered(renderer, "one", site))
        (driver,) = [pid for pid, command in processes.new.items() if "run-driver" in command]
        os.kill(driver, signal.SIGKILL)
        assert "two" in dom(rendered(renderer, "two", site))
        assert "three" in dom(rendered(renderer, "three", site))
        assert until(lambda: len(processes.browsers) == 1)
    assert until(lambda: not processes.new)


def test_a_browser_is_replaced_after_so_many_pages(processes: Processes) -> None:
    site = Site()
    with Renderer(settings(pages_per_browser=1, wait="load")) as renderer:
        seen = []
        for _ in range(2):
            assert rendered(renderer, "x", site).dom is not None
            seen.append(processes.browsers)
    assert seen[0] != seen[1]
    assert all(len(pids) == 1 for pids in seen)


def test_closing_ends_pages_and_processes(processes: Processes) -> None:
    renderer = Renderer(settings(tabs=1))
    pages = [renderer.render(page("<script src=/never.js></script>"), lambda part: Future()) for _ in range(3)]
    assert until(lambda: bool(processes.browsers))
    renderer.close()
    renderer.close()
    assert all(one.result(1) == (None, None, "the renderer was closed", False) for one in pages)
    assert renderer.render(page("x"), Site().fetch).result(1).detail == "the renderer was closed"
    assert until(lambda: not processes.new)


def test_no_process_outlives_a_killed_task(checkout: Path, tmp_path: Path) -> None:
    """kill -9 leaves no time to close anything: the driver sees its pipe end, and Chromium its own."""
    program = """if True:
        from concurrent.futures import Future
        from crawldb.settings import Settings
        from jobs.fetching.rendering import Page, Renderer
        settings = Settings()
        settings.http.agent_name = "testbot"
        Renderer(settings).render(Page("http://site.example/", 200, [("Content-Type", "text/html")],
                                       b"<script src=/never.js></script>"),
                                  lambda part: print("asked", flush=True) or Future()).result()
    """
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # its files stay behind
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True
    ) as task:
        assert task.stdout is not None
        assert task.stdout.readline() == "asked\n"
        started = descendants(task.pid)
        assert len(started) > 3
        task.kill()
    assert until(lambda: not any(_runs(pid, command) for pid, command in started.items()))


def _runs(pid: int, command: str) -> bool:
    try:
        return (Path(f"/proc/{pid}/cmdline")).read_bytes().replace(b"\0", b" ").decode("utf-8", "replace") == command
    except OSError:
        return False


# What the user is told


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"browser\.executable = /no/such: .*apt-get install chromium"):
        Renderer(settings(executable="/no/such"))
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        with pytest.raises(UsageError, match=r"no chromium in PATH .*apt-get install chromium"):
            Renderer(settings())
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "playwright", None)
        patch.setitem(sys.modules, "playwright.async_api", None)
        with pytest.raises(UsageError, match=r"scripts/venv\.sh browser"):
            Renderer(settings())


def test_a_chromium_that_does_not_start_is_said(site: Site) -> None:
    with Renderer(settings(executable="false")) as renderer, pytest.raises(CobnutError, match="does not start: "):
        rendered(renderer, "x", site)


@pytest.mark.parametrize("wait", ["", "loaded", "load:1", "selector:", "seconds", "seconds:-1", "seconds:x"])
def test_a_bad_wait_condition_is_said(wait: str) -> None:
    with pytest.raises(UsageError, match=r"browser\.wait = .*expected load, networkidle, selector:CSS or seconds:N"):
        Renderer(settings(wait=wait))


def test_a_wrong_selector_is_said(site: Site, with_rules: Callable[..., Renderer]) -> None:
    assert "a[[" in (rendered(with_rules(wait="selector:a[["), "x", site).detail or "")


def test_the_agent_needs_a_name() -> None:
    with pytest.raises(UsageError, match=r"http\.agent_name"):
        Renderer(Settings())
