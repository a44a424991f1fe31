"""Each command that is a job leaves with -r hadoop, on HDFS, what it leaves inline on this machine's disk.

Every test has the same crawl twice, copied file by file, and gives both the same commands at the same time. The clock
is a set one, so that times are equal too, but for those of answers.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from crawldb.filesystem import FileSystem, resolve
from crawldb.segments import DATASETS, Segments
from crawldb.store import Kind, Store, now_ms
from jobs.command import KINDS
from jobs.demo.server import DemoServer
from jobs.parsing.media_types import DOCX, ODT
from tests.hadoop.conftest import steady_site
from tests.hadoop.one_node import OneNode
from tests.jobs.fetching.conftest import Server, answer
from tests.jobs.parsing.test_office import docx, odt
from tests.jobs.parsing.test_pdf import pdf
from tests.rounds.conftest import ROOT, Crawler, environment

pytestmark = pytest.mark.slow

Argument = str | tuple[str, str]

SETTINGS = ("--set", "http.agent_name=cobnut-test", "--set", "fetch.delay=0", "--set", "store.shards=2",
            "--set", "fetch.allow_private_addresses=true", "--set", "parse.simhash=true")  # fmt: skip
IN_ONE = ("--set", "hadoop.small=64")
"""All tasks in the application master's container, however many they are; but for those that fetch."""
OWN_CONTAINERS = ("--set", "hadoop.small=0", "--set", "hadoop.maps=2", "--set", "hadoop.reducers=2")
"""Every task in a container of its own, and rows that come to more than one reducer."""
LISTING = ("127.0.9.1", "127.0.9.2")
FORMATS = {
    "/a.pdf": ("application/pdf", pdf("First page")), "/a.docx": (DOCX, docx()), "/a.odt": (ODT, odt()),
    "/a.html": ("text/html", "<p>Le chat dort toute la journée sur le canapé du salon, près de la fenêtre.".encode()),
}  # fmt: skip
"""Pages whose parsers need other packages on the nodes, by path: media type and content."""
OF_ANSWERS = frozenset({
    "discovered_at", "due_at", "fetched_at", "modified_at", "robots_at", "measured_at", "answered_at", "worked_at", "failed_at",
    "first_seen", "last_seen", "latency", "read_at", "robots",
})  # fmt: skip
"""Columns that hold when a server answered, or how fast. What robots.txt files said is in hostdb/robots, too."""

OF_CONNECTIONS = ("dns_time", "connect_time", "tls_time", "first_byte_time", "elapsed", "response_headers")
"""The same in content; the server's Date is among its fields."""


def cobnut(verb: str, *arguments: str, settings: Sequence[str] = SETTINGS) -> str:
    """Run a command as a user does; its stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", *verb.split(), *settings, *arguments], cwd=ROOT, env=environment(),
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, f"{verb}: {done.stdout}"
    assert "Traceback" not in done.stdout
    assert "once more in containers" not in done.stdout, done.stdout
    return done.stdout


def copy(source: Path, target: str) -> None:
    """Copy a directory's files to HDFS."""
    fs, root = resolve(target)
    for path in sorted(source.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            fs.create(f"{root}/{path.relative_to(source)}", path.read_bytes())


def files(directory: str) -> dict[str, bytes]:
    """What is in the files of a directory."""
    fs, root = resolve(directory)
    return {name: fs.read(f"{root}/{name}") for name in fs.names(root)}


def rows(crawl_dir: str, kind: Kind, without: frozenset[str]) -> list[dict[str, Any]] | None:
    """A store's rows in their order, or None if there is no such store."""
    store = Store(crawl_dir, kind)
    if not store.versions():
        return None
    columns = [name for name in kind.state.names if name not in without]
    return [row for table in store.snapshot().scan(columns) for row in table.to_pylist()]


def must_be_equal(what: str, one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    """The same rows; else says which columns differ."""
    assert len(one) == len(other), what
    pairs = list(zip(one, other, strict=True))
    differing = {name for row, twin in pairs for name in row if row[name] != twin[name]}
    assert not differing, f"{what}: {differing}: {next(pair for pair in pairs if pair[0] != pair[1])}"


def hidden(fs: FileSystem, directory: str) -> Iterator[str]:
    """The hidden files below a directory: what is unfinished."""
    for name in fs.all_names(directory):
        path = f"{directory}/{name}"
        if name.startswith("."):
            yield path
        elif fs.is_directory(path):
            yield from hidden(fs, path)


class Twins:
    """A crawl directory on this machine's disk and one on HDFS."""

    def __init__(self, here: str, there: str) -> None:
        self.here, self.there = here, there
        self.clock = now_ms() + 1000

    def run(
        self, verb: str, *arguments: Argument, before: Sequence[Argument] = (), on_hadoop: Sequence[str] = IN_ONE
    ) -> str:
        """Run a command on both, `before` before CRAWL_DIR; what it said with -r hadoop. Of an argument that is a pair
        the first part is for here, the second for there."""
        self.clock += 1000
        clock = ("--set", f"run.clock={self.clock}")

        def on(place: int, directory: str, runner: Sequence[str]) -> str:
            given = [one if isinstance(one, str) else one[place] for one in (*before, directory, *arguments)]
            return cobnut(verb, *runner, *clock, *given)

        with ThreadPoolExecutor() as pool:
            inline = pool.submit(on, 0, self.here, ())
            hadoop = pool.submit(on, 1, self.there, ("-r", "hadoop", *on_hadoop))
            inline.result()
            return hadoop.result()

    def shown(self, verb: str, *arguments: str) -> str:
        """What a command that is no job shows of both, which must be the same."""
        one, other = (cobnut(verb, directory, *arguments, settings=()) for directory in (self.here, self.there))
        assert one == other
        return one

    def must_be_equal(self, *stores: str, without: frozenset[str] = frozenset()) -> None:
        """The same rows in all stores; those named here must be there."""
        for kind in KINDS.values():
            one, other = (rows(directory, kind, without) for directory in (self.here, self.there))
            assert (one is None) == (other is None), kind.name
            assert one or kind.name not in stores, kind.name
            must_be_equal(kind.name, one or [], other or [])
        fs, root = resolve(self.there)
        assert [name for name in hidden(fs, root) if not name.endswith("/.lock")] == []

    def forget(self, store: str) -> None:
        """Remove a store of both."""
        for directory in (self.here, self.there):
            fs, root = resolve(directory)
            fs.remove(f"{root}/{store}")

    def segments(self, *without: str) -> dict[str, list[dict[str, Any]]]:
        """The rows of the segments, which must be the same in both."""
        one, other = ({
            f"{segment.name}/{dataset}": sorted(
                ({name: value for name, value in row.items() if name not in without}
                 for file in segment.files(dataset) for row in segment.read(dataset, file.name).to_pylist()), key=repr,
            )
            for segment in Segments(directory).committed() for dataset in DATASETS if segment.is_complete(dataset)
        } for directory in (self.here, self.there))  # fmt: skip
        assert list(one) == list(other)
        for name, told in one.items():
            must_be_equal(name, told, other[name])
        return one


def at_once(*chains: Callable[[], None]) -> None:
    """Run chains of commands on different directories at the same time: the cluster mostly waits for its own clocks."""
    with ThreadPoolExecutor() as pool:
        for result in [pool.submit(chain) for chain in chains]:
            result.result()


@pytest.fixture(scope="module")
def live(one_node: OneNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crawler]:
    """The demo site and, in `directory`/crawl, two rounds of it and a segment of its seeds once more."""
    with DemoServer(steady_site) as server:
        crawler = Crawler(server, tmp_path_factory.mktemp("live"))
        crawl_dir = str(crawler.directory / "crawl")
        cobnut("crawl", "-s", str(crawler.seeds), crawl_dir, "2")
        cobnut("freegen", crawl_dir, str(crawler.seeds))
        cobnut("crawl", crawl_dir, "0")
        yield crawler


@pytest.fixture
def copied(live: Crawler, tmp_path: Path, on_hdfs: Callable[[str], str]) -> Callable[[str], Twins]:
    """Makes twins of that crawl."""
    source = live.directory / "crawl"

    def copied(name: str) -> Twins:
        copy(source, on_hdfs(name))
        return Twins(str(shutil.copytree(source, tmp_path / name)), on_hdfs(name))

    return copied


@pytest.fixture
def new(tmp_path: Path, on_hdfs: Callable[[str], str]) -> Callable[[str], Twins]:
    """Names twins that are not there yet."""
    return lambda name: Twins(str(tmp_path / name), on_hdfs(name))


def test_what_pages_say(copied: Callable[[str], Twins], live: Crawler) -> None:
    linked, compared = copied("linked"), copied("compared")
    cobnut("invertlinks", compared.here)
    for name in ("linkdb", "sourcedb"):
        copy(Path(compared.here, name), f"{compared.there}/{name}")
    home = live.server.site.seeds()[0].partition("\t")[0]

    def links_and_ranks() -> None:
        linked.run("invertlinks", on_hadoop=OWN_CONTAINERS)
        linked.must_be_equal("linkdb", "sourcedb")
        assert linked.shown("dump", "--links-to", home).count('"anchor":') > 1
        assert linked.run("linkrank", "--of", "pages").count(" scores in crawldb") == 1
        linked.must_be_equal("crawldb")
        # The links of pages that were read once more are looked at when their store is compacted: tasks read sourcedb.
        aged = ("--set", "schedule.orphan_after=1", "--set", "store.purge_gone=1")
        # Without the hosts, of which tests/hadoop/test_rounds.py has a compaction: each store costs a job.
        linked.forget("hostdb")
        said = linked.run("compact", before=aged)
        assert " purged" in said
        assert " orphaned" in said
        linked.must_be_equal("crawldb", "linkdb", "sourcedb")

    def duplicates_and_hosts() -> None:
        settings = ("--set", "dedup.canonical=host", "--set", "dedup.distance=16")
        said = compared.run("dedup", "--group", "host", "--near", before=settings)
        number = re.search(r"\(([0-9]+) marked, 0 no longer\)", said)
        assert number, said
        assert int(number[1]) > 1  # one has the same signature as another; there are some that are nearly the same
        compared.must_be_equal("crawldb")
        tables = f"{compared.here}.csv", f"{compared.here}-there.csv"
        compared.run("domainstats", "--by", "host", "--keep", "--format", "csv", "-o", tables)
        one, other = (Path(table).read_text() for table in tables)
        assert one == other
        assert len(one.splitlines()) > 5
        compared.must_be_equal("crawldb", "hostdb")
        job_by_job = ("--set", "linkrank.edges_per_task=2", "--iterations", "2")
        assert "not converged after 2 iterations" in compared.run("linkrank", "--of", "hosts", "--scores", *job_by_job)
        compared.must_be_equal("crawldb", "hostdb")

    at_once(links_and_ranks, duplicates_and_hosts)


def test_merged_crawls_and_segments(copied: Callable[[str], Twins], new: Callable[[str], Twins], live: Crawler) -> None:
    crawl, other, both = copied("crawl"), new("other"), new("both")
    rules = live.directory / "rules.txt"
    rules.write_text("-refused\n+.\n")
    seeds = live.directory / "other.txt"
    seeds.write_text(f"{live.seeds.read_text()}http://else.example/\nhttp://refused.example/\n")
    cobnut("inject", other.here, str(seeds))
    copy(Path(other.here), other.there)

    def merge() -> None:
        filters = ("--set", "filter.use=regex", "--set", f"filter.regex_file={rules}")
        sources = [(one.here, one.there) for one in (crawl, other)]
        assert ", 1 refused by filters" in both.run("merge", *sources, "--filter", before=filters)
        both.must_be_equal("crawldb", "hostdb", "hostdb/robots")

    def merge_segments() -> None:
        said = crawl.run("segments merge")
        assert "3 segments, " in said
        assert ", 0 older ones dropped" not in said
        assert len({name.partition("/")[0] for name in crawl.segments()}) == 1
        crawl.shown("segments list", "--format", "csv")
        assert home_page in crawl.shown("segments dump", "latest")

    home_page = live.server.site.seeds()[0].partition("\t")[0]
    at_once(merge, merge_segments)


@pytest.fixture
def listing() -> Iterator[Server]:
    """Two hosts, each with an index of two sitemaps."""
    server = Server()
    for host in LISTING:
        url = server.url("/", host)
        server.on("/robots.txt", answer(200, f"Sitemap: {url}index.xml\n".encode()), host=host)
        server.on("/", answer(200, b"<p>hello</p>", "Content-Type: text/html"), host=host)
        names = "".join(f"<sitemap><loc>{url}{n}.xml</loc></sitemap>" for n in range(2))
        server.on("/index.xml", answer(200, f"<sitemapindex>{names}</sitemapindex>".encode()), host=host)
        for n in range(2):
            listed = "".join(f"<url><loc>{url}page-{m}</loc><priority>0.{m}</priority></url>" for m in range(n, n + 5))
            server.on(f"/{n}.xml", answer(200, f"<urlset>{listed}</urlset>".encode()), host=host)
    for path, (kind, content) in FORMATS.items():
        server.on(path, answer(200, content, f"Content-Type: {kind}"), host=LISTING[1])
    yield server
    server.close()


def test_what_is_asked_for_without_links(new: Callable[[str], Twins], live: Crawler, listing: Server) -> None:
    listed, free = new("listed"), new("free")

    def sitemaps() -> None:
        seeds = live.directory / "hosts.txt"
        seeds.write_text("".join(listing.url("/", host) + "\n" for host in LISTING))
        cobnut("crawl", "-s", str(seeds), listed.here, "1")
        copy(Path(listed.here), listed.there)
        said = listed.run("sitemaps", "--from-robots", before=("--set", "generate.tasks=2"))
        assert "sitemaps  6 sitemaps (read 6), 20 URLs of 12 requests" in said
        listed.must_be_equal("crawldb", "sitemapdb", without=OF_ANSWERS)
        # An index in a file of this machine: what it names is for another task to ask for, in a second job.
        index = live.directory / "index.xml"
        url = listing.url("/1.xml", LISTING[0])
        index.write_text(f"<sitemapindex><sitemap><loc>{url}</loc></sitemap></sitemapindex>")
        assert ", 5 URLs of 5 requests" in listed.run("sitemaps", str(index))
        listed.must_be_equal("crawldb", "sitemapdb", without=OF_ANSWERS)

    def a_list() -> None:
        seeds = live.directory / "free.txt"
        named = "".join(f"{listing.url(path, LISTING[1])}\n" for path in FORMATS)
        seeds.write_text(f"{live.seeds.read_text()}{named}no url\n")
        assert "1 bad lines" in free.run("freegen", str(seeds))
        for phase in ("fetch", "parse", "updatedb"):
            free.run(phase)
        free.must_be_equal("crawldb", "hostdb", "hostdb/robots", without=OF_ANSWERS)
        found = free.segments(*OF_ANSWERS, *OF_CONNECTIONS)
        (parsed,) = (rows for name, rows in found.items() if name.endswith("/parsed"))
        assert {row["content_type"] for row in parsed} >= {kind for kind, _ in FORMATS.values()}
        assert {row["parse_status"] for row in parsed} == {"parsed"}
        assert "fr" in {row["language"] for row in parsed}

    at_once(sitemaps, a_list)


def test_archives(copied: Callable[[str], Twins], new: Callable[[str], Twins], live: Crawler) -> None:
    crawl, imported, replayed = copied("crawl"), new("imported"), new("replayed")
    archives = f"{crawl.here}-archives", f"{crawl.there}-archives"
    asked = len(live.server.requests)
    crawl.run("warc export", "-o", archives)
    written = files(archives[0])
    assert written == files(archives[1])

    def import_() -> None:
        first = Segments(crawl.here).committed()[0].name
        names = [name for name in written if name.startswith(first) and name.endswith(".gz")]
        assert len(names) > 1
        # One of this machine's among them.
        given: list[Argument] = [f"{archives[0]}/{names[0]}"]
        given += [(f"{archives[0]}/{one}", f"{archives[1]}/{one}") for one in names[1:]]
        imported.run("warc import", *given)
        rows = imported.segments()
        assert len(rows[f"{first}/content"]) == len(crawl.segments()[f"{first}/content"])

    def replay() -> None:
        cobnut("inject", "--set", "run.clock=1000", replayed.here, str(live.seeds))
        copy(Path(replayed.here), replayed.there)
        replayed.run("crawl", "1", before=("--replay", archives))
        replayed.must_be_equal("crawldb", "hostdb", "hostdb/robots")

    at_once(import_, replay)
    assert len(live.server.requests) == asked
