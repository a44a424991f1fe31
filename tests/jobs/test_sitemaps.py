"""sitemaps as a user calls it, against a server on this machine: what is listed, what is left out, what is told."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crawldb.fingerprint import url_fingerprint
from crawldb.sitemaps import SITEMAPDB, task_of
from crawldb.store import Store
from jobs import cli, sitemaps
from tests.crawldb import killed_writers
from tests.jobs.fetching.conftest import Server, answer

XMLNS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
A, B, C = "127.0.9.1", "127.0.9.2", "127.0.9.3"


def urlset(*urls: str, rest: str = "") -> bytes:
    entries = "".join(f"<url><loc>{url}</loc>{rest}</url>" for url in urls)
    return f'<?xml version="1.0" encoding="UTF-8"?><urlset {XMLNS}>{entries}</urlset>'.encode()


def index(*urls: str) -> bytes:
    entries = "".join(f"<sitemap><loc>{url}</loc></sitemap>" for url in urls)
    return f"<sitemapindex {XMLNS}>{entries}</sitemapindex>".encode()


class Crawl:
    """A crawl directory, and the commands on it."""

    def __init__(self, directory: Path, server: Server, capfd: pytest.CaptureFixture[str]) -> None:
        self.path = directory / "crawl"
        self.server = server
        self._directory, self._capfd = directory, capfd
        self.options = ["--set", "http.agent_name=testbot", "--set", "fetch.delay=0", "--set",
                        "fetch.allow_private_addresses=true", "--set", "store.shards=2"]  # fmt: skip

    def run(self, verb: str, *arguments: str, code: int = 0) -> str:
        """Run a verb; what it said."""
        self._capfd.readouterr()
        assert cli.main([verb, *self.options, str(self.path), *arguments]) == code
        return self._capfd.readouterr().err

    def know(self, *hosts: str, robots: str = "Sitemap: /sitemap.xml") -> None:
        """A first round that asks each host for its robots.txt and one page."""
        self.server.on("/robots.txt", answer(200, robots.encode()))
        self.server.on("/", answer(200, b"<p>hello</p>", "Content-Type: text/html"))
        self.run("crawl", "1", "-s", self.file("seeds", "\n".join(self.server.url("/", host) for host in hosts)))
        self.server.arrivals.clear()

    def file(self, name: str, content: str | bytes) -> str:
        path = self._directory / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["url"]: row for table in Store(str(self.path)).snapshot().scan() for row in table.to_pylist()}

    @property
    def listed(self) -> list[str]:
        """The paths of what sitemaps brought."""
        return sorted(
            url.partition(str(self.server.port))[2]
            for url, row in self.rows.items()
            if row["linked_at"] or row["depth"]
        )

    @property
    def read(self) -> dict[str, dict[str, Any]]:
        """The sitemap store by path."""
        tables = Store(str(self.path), SITEMAPDB).snapshot().scan()
        return {row["url"].partition(str(self.server.port))[2]: row for table in tables for row in table.to_pylist()}


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def crawl(tmp_path: Path, server: Server, capfd: pytest.CaptureFixture[str]) -> Crawl:
    return Crawl(tmp_path, server, capfd)


def test_what_robots_txt_names_is_read_and_listed(crawl: Crawl, server: Server) -> None:
    url = server.url
    rest = "<lastmod>2026-01-02T03:04:05Z</lastmod><changefreq>Daily</changefreq><priority>0.8</priority>"
    server.on("/sitemap.xml", answer(200, urlset(url("/a"), url("/b?y=2&amp;x=1"), url("/"), rest=rest)))
    crawl.know(A)
    said = crawl.run("sitemaps", "--from-robots")
    assert f"sitemaps  {url('/sitemap.xml')}: urlset, 3 of 3 URLs" in said
    assert "sitemaps  1 sitemaps (read 1), 3 URLs of 3 requests; crawldb version" in said
    row = crawl.rows[url("/b?x=1&y=2")]
    assert (row["lastmod"].isoformat(), row["changefreq"], round(row["sitemap_priority"], 6)) == (
        "2026-01-02T03:04:05+00:00", "daily", 0.8,
    )  # fmt: skip
    assert (row["status"], row["depth"], round(row["score"], 6)) == ("unfetched", 1, 0.8)
    assert row["discovered_from"] == url_fingerprint(url("/sitemap.xml"))
    assert row["discovered_at"] == row["due_at"]
    known = crawl.rows[url("/")]  # the seed: it stays what it was, and learns what the sitemap says
    assert (known["status"], known["depth"], known["score"], known["changefreq"]) == ("fetched", 0, 1.0, "daily")
    assert known["discovered_from"] is None
    entry = Store(str(crawl.path)).snapshot().entry
    assert (entry.kind, entry.statistics["listed"], entry.statistics["sitemaps"]) == ("sitemaps", 3, {"read": 1})
    read = crawl.read["/sitemap.xml"]
    assert (read["format"], read["entries"], read["listed"], read["reason"]) == ("urlset", 3, 3, None)


def test_every_sitemap_is_told_with_what_came_of_it(crawl: Crawl, server: Server) -> None:
    url = server.url
    names = ["missing", "cut", "html", "alien", "gone/there", "private/s", "big.txt", "feed", "zipped.xml.gz"]
    server.on("/cut", answer(200, urlset(url("/cut-1"), url("/cut-2"))[:-30]))
    server.on("/html", answer(200, b"<!doctype html><title>Sorry</title>", "Content-Type: text/html"))
    server.on("/alien", answer(200, urlset(url("/mine"), url("/theirs", B), "https://elsewhere.example/", "nonsense")))
    server.on("/big.txt", answer(200, "\n".join(url(f"/line-{n}") for n in range(5)).encode()))
    feed = f"<rss><channel><item><link>{url('/news')}</link><pubDate>Fri, 02 Jan 2026 00:00:00 GMT</pubDate></item></channel></rss>"
    server.on("/feed", answer(200, gzip.compress(feed.encode()), "Content-Encoding: gzip"))
    server.on("/zipped.xml.gz", answer(200, gzip.compress(urlset(url("/zipped")))))
    crawl.know(
        A, robots="User-agent: *\nDisallow: /private\n" + "".join(f"Sitemap: {url('/' + name)}\n" for name in names)
    )
    crawl.options += ["--set", "sitemap.max_urls=4"]
    said = crawl.run("sitemaps")
    reasons = {path: row["reason"] for path, row in crawl.read.items()}
    assert reasons == {
        "/missing": "http_404", "/cut": "bad_xml", "/html": "not_a_sitemap", "/alien": None, "/gone/there": "http_404",
        "/private/s": "robots_denied", "/big.txt": None, "/feed": None, "/zipped.xml.gz": None,
    }  # fmt: skip
    assert f"sitemaps  {url('/cut')}: bad_xml (line 1, column " in said
    assert f"sitemaps  {url('/private/s')}: robots_denied ({url('/robots.txt')}:2: Disallow: /private)" in said
    assert f"sitemaps  {url('/big.txt')}: text, 4 of 5 URLs (too_many_urls 1)" in said
    assert f"sitemaps  {url('/alien')}: urlset, 1 of 4 URLs (out_of_scope 2, not_a_url 1)" in said
    assert "9 sitemaps (read 4, http_404 2, robots_denied 1, not_a_sitemap 1, bad_xml 1)" in said
    assert crawl.listed == ["/cut-1", "/line-0", "/line-1", "/line-2", "/line-3", "/mine", "/news", "/zipped"]
    assert crawl.rows[url("/news")]["lastmod"].isoformat() == "2026-01-02T00:00:00+00:00"
    assert not [a for a in server.arrivals if a.target.startswith("/private")]


def test_an_index_leads_to_its_sitemaps_and_no_further(crawl: Crawl, server: Server) -> None:
    url = server.url
    server.on("/sitemap.xml", answer(200, index(url("/s/1.xml"), url("/s/2.xml"), url("/s/deep.xml"), url("/s", B))))
    server.on("/s/1.xml", answer(200, urlset(url("/top"), url("/s/below"))))
    server.on("/s/2.xml", answer(200, urlset(url("/s/below"), rest="<lastmod>2026-01-01</lastmod>")))
    server.on("/s/deep.xml", answer(200, index(url("/s/never.xml"))))
    server.on("/s/never.xml", answer(200, urlset(url("/never"))))
    crawl.know(A)
    said = crawl.run("sitemaps")
    assert f"{url('/sitemap.xml')}: index, 3 of 4 sitemaps (out_of_scope 1)" in said
    assert f"{url('/s/deep.xml')}: index_in_index" in said
    assert not server.asked("/s/never.xml")
    assert crawl.listed == ["/s/below", "/top"]
    assert crawl.rows[url("/s/below")]["lastmod"].isoformat() == "2026-01-01T00:00:00+00:00"  # the latest one counts
    assert crawl.read["/s/1.xml"]["index"] == url_fingerprint(url("/sitemap.xml"))


def test_a_robots_txt_may_name_a_sitemap_on_another_host(crawl: Crawl, server: Server) -> None:
    """A cross-submit: the listed URLs' hosts name it; nobody else's URLs may stand in it but its own host's."""
    url = server.url
    everything = [url("/a", A), url("/b", B), url("/c", C), url("/hosted/own", C)]
    server.on("/hosted/s.xml", answer(200, urlset(*everything)), host=C)
    crawl.know(A, B, robots=f"Sitemap: {url('/hosted/s.xml', C)}")
    crawl.run("sitemaps")
    assert sorted(set(crawl.rows) & set(everything)) == sorted([url("/a", A), url("/b", B), url("/hosted/own", C)])
    assert crawl.read["/hosted/s.xml"]["left_out"] == [("out_of_scope", 1)]


def test_redirects_are_followed_and_end(crawl: Crawl, server: Server) -> None:
    url = server.url
    server.on("/sitemap.xml", answer(301, b"", f"Location: {url('/moved/s.xml', B)}"), host=A)
    server.on("/moved/s.xml", answer(200, urlset(url("/of-a", A), url("/moved/of-b", B), url("/of-b", B))), host=B)
    server.on("/loop", answer(302, b"", "Location: /loop2"))
    server.on("/loop2", answer(302, b"", "Location: /loop"))
    crawl.know(A, robots="Sitemap: /sitemap.xml\nSitemap: /loop")
    said = crawl.run("sitemaps")
    assert crawl.listed == ["/moved/of-b", "/of-a"]
    assert f"{url('/sitemap.xml')}: redirected ({url('/moved/s.xml', B)})" in said
    assert len(server.asked("/loop")) == len(server.asked("/loop2")) == 1


@pytest.mark.parametrize("tasks", [1, 7])
def test_what_another_task_should_ask_for_is_read_too(crawl: Crawl, server: Server, tasks: int) -> None:
    """A host is asked by one task, whatever leads to it; all in one commit."""
    url = server.url
    hosts = [f"127.0.9.{number}" for number in range(1, 6)]
    assert len({task_of(url("/", host), 7) for host in hosts}) > 2
    for host, other in zip(hosts, [*hosts[1:], hosts[0]], strict=True):
        server.on("/sitemap.xml", answer(302, b"", f"Location: {url('/s.xml', other)}"), host=host)
        server.on("/s.xml", answer(200, urlset(url("/page", host))), host=host)
    crawl.know(*hosts)
    crawl.options += ["--set", f"generate.tasks={tasks}"]
    before = Store(str(crawl.path)).snapshot().version
    said = crawl.run("sitemaps")
    assert "10 sitemaps (redirected 5, read 5), 5 URLs of 5 requests" in said
    assert sorted(url for url, row in crawl.rows.items() if row["depth"]) == [url("/page", host) for host in hosts]
    assert Store(str(crawl.path)).snapshot().version == before + 1
    assert [len(server.asked("/s.xml"))] == [5]
    assert garbage(crawl) == []


def garbage(crawl: Crawl) -> list[str]:
    return [found for found in killed_writers.garbage(str(crawl.path)) if not found.endswith("/.lock")]


def test_sitemaps_in_files(crawl: Crawl, server: Server) -> None:
    url = server.url
    server.on("/far.xml", answer(200, urlset(url("/far"))))
    nowhere = crawl.file("nowhere.xml", urlset(url("/1"), url("/2", B)))
    zipped = crawl.file("zipped.gz", gzip.compress(index(url("/far.xml"))))
    lines = crawl.file("lines", f"# some\n\n{url('/listed.xml')}\n")
    server.on("/listed.xml", answer(200, urlset(url("/listed"))))
    said = crawl.run("sitemaps", nowhere, zipped, lines)  # the first command in this directory
    assert f"sitemaps  {nowhere}: urlset, 2 of 2 URLs" in said
    assert f"sitemaps  {zipped}: index, 1 of 1 sitemaps" in said
    assert crawl.listed == ["/1", "/2", "/far", "/listed"]
    assert crawl.rows[url("/1")]["discovered_from"] is None

    text = crawl.file("text", f"{url('/text/3')}\n{url('/4')}\n")
    said = crawl.run("sitemaps", text, "--url", url("/text/sitemap.txt"))
    assert f"{url('/text/sitemap.txt')}: text, 1 of 2 URLs (out_of_scope 1)" in said
    assert crawl.rows[url("/text/3")]["discovered_from"] == url_fingerprint(url("/text/sitemap.txt"))


def test_mistakes_are_one_line(crawl: Crawl) -> None:
    good = crawl.file("good", "http://a.example/s.xml")
    for arguments, said in [
        (["none.xml"], "none.xml: no such file"),
        ([crawl.file("words", "http://a.example/s.xml\nhello")], "words:2: hello: expected the URL of a sitemap"),
        ([good, good, "--url", "http://a.example/"], "expected one FILE"),
        ([good, "--url", "nonsense"], "--url nonsense: expected one FILE and its http or https URL"),
        ([crawl.file("broken.gz", b"\x1f\x8b hello")], "broken.gz: a broken gzip file"),
    ]:
        found = crawl.run("sitemaps", *arguments, code=2)
        assert said in found
        assert len(found.splitlines()) == 1
    assert "http.agent_name" in crawl.run("sitemaps", good, "--set", "http.agent_name=", code=2)


def test_urls_filters_have_their_say(crawl: Crawl, server: Server) -> None:
    url = server.url
    server.on(
        "/sitemap.xml", answer(200, urlset(url("/a"), url("/b.png"), url("/1/1/1/1"), url("/c?sid=" + "0a1b2c3d" * 4)))
    )
    crawl.know(A)
    crawl.run("sitemaps")
    left_out = dict(crawl.read["/sitemap.xml"]["left_out"])
    assert left_out.pop("repeated_segments") == left_out.pop("trap_session") == 1
    assert [reason.partition(":")[0] for reason in left_out] == ["regex"]
    assert crawl.listed == ["/a"]


def test_the_loop_reads_sitemaps_that_are_due(crawl: Crawl, server: Server) -> None:
    url = server.url
    server.on("/sitemap.xml", answer(200, urlset(url("/a")), 'ETag: "one"'))
    crawl.know(A)
    said = crawl.run("crawl", "1", "--sitemaps", "never")
    assert "sitemaps" not in said
    said = crawl.run("crawl", "1", "--sitemaps", "once")
    assert "1 URLs of 1 requests" in said
    assert crawl.rows[url("/a")]["status"] == "gone"  # it was fetched in the same round
    for when, interval, times in [("once", 0, 1), ("always", 86400, 1), ("always", 0, 2)]:
        crawl.run("crawl", "1", "--sitemaps", when, "--set", f"sitemap.interval={interval}")
        assert len(server.asked("/sitemap.xml")) == times
    assert "sitemaps  none is due" in crawl.run("sitemaps", "--due")
    assert server.asked("/sitemap.xml")[-1].headers["If-None-Match"] == '"one"'


def test_an_unchanged_sitemap_is_not_read_again(crawl: Crawl, server: Server) -> None:
    url = server.url
    server.on("/sitemap.xml", answer(200, urlset(url("/a")), 'ETag: "one"'))
    crawl.know(A)
    crawl.run("sitemaps")
    server.on("/sitemap.xml", answer(304, b""))
    said = crawl.run("sitemaps", "--due", "--set", "sitemap.interval=0")
    assert "1 sitemaps (unchanged 1), 0 URLs of 0 requests" in said
    assert (crawl.read["/sitemap.xml"]["etag"], crawl.read["/sitemap.xml"]["reason"]) == ('"one"', "unchanged")


def test_a_page_that_changed_since_its_fetch_is_due_at_once(crawl: Crawl, server: Server) -> None:
    url = server.url
    server.on("/sitemap.xml", answer(200, urlset(url("/"))))
    crawl.know(A)
    crawl.run("sitemaps")
    due = crawl.rows[url("/")]["due_at"]
    fetched = crawl.rows[url("/")]["fetched_at"]
    assert (due - fetched).days == 30
    server.on("/sitemap.xml", answer(200, urlset(url("/"), rest="<lastmod>2999-01-01</lastmod>")))
    said = crawl.run("sitemaps")
    assert "bad_lastmod 1" in said  # of the future: it would be due for ever
    assert crawl.rows[url("/")]["due_at"] == due
    later = fetched.replace(microsecond=0).isoformat().replace("+00:00", ".999999Z")
    server.on("/sitemap.xml", answer(200, urlset(url("/"), rest=f"<lastmod>{later}</lastmod>")))
    crawl.run("sitemaps")
    assert crawl.rows[url("/")]["due_at"] < due


@pytest.mark.parametrize("runner", ["local"])
def test_tasks_in_processes_of_their_own_do_the_same(crawl: Crawl, server: Server, runner: str) -> None:
    url = server.url
    for host in (A, B):
        server.on("/sitemap.xml", answer(200, urlset(url("/x", host))), host=host)
    crawl.know(A, B)
    crawl.run("sitemaps", "-r", runner)
    assert {url("/x", A), url("/x", B)} <= set(crawl.rows)


class Killed(BaseException):
    """Instead of a SIGKILL."""


@pytest.mark.parametrize("moment", range(4))
def test_who_is_killed_repeats_nothing_that_counts(
    crawl: Crawl, server: Server, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Before the first commit, before the second, after both, and while the rows are written."""
    url = server.url
    server.on("/sitemap.xml", answer(200, urlset(url("/a"), url("/b"))))
    crawl.know(A)
    store = Store(str(crawl.path))
    before = store.snapshot().version
    with monkeypatch.context() as patched:
        commits = []

        def commit(self: Store, *arguments: Any, **options: Any) -> Any:
            commits.append(self.kind.name)
            if len(commits) == moment + 1:
                raise Killed
            return commit_delta(self, *arguments, **options)

        commit_delta = Store.commit_delta
        patched.setattr(Store, "commit_delta", commit)
        patched.setattr(sitemaps.Lists, "remove", lambda self: None)
        if moment == 3:
            patched.setattr(Store, "writer", lambda *_: (_ for _ in ()).throw(Killed))
        if moment == 2:
            crawl.run("sitemaps")
        else:
            with pytest.raises(Killed):
                crawl.run("sitemaps")
    crawl.run("sitemaps")
    assert crawl.listed == ["/a", "/b"]
    assert store.snapshot().version - before == (2 if moment in (1, 2) else 1)
    assert Store(str(crawl.path), SITEMAPDB).snapshot().version == (1 if moment == 2 else 0)
    crawl.run("inject", crawl.file("more", "http://c.example/"))  # the next writer removes what was left
    crawl.run("inject", crawl.file("more", "http://d.example/"))
    assert garbage(crawl) == []
