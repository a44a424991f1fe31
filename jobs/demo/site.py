"""What a small web is made of, as data: hosts, resources, links, and the seeds of a crawl of it.

Owns the declarations that the server answers from and that `truth` predicts a crawl from. A link is declared
twice: as it stands in the page (`href`, however ugly) and as the URL it means (`target`), so that the truth never
has to resolve anything. Opens no sockets and parses nothing.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True)
class Link:
    """One reference in a page, or a Location header."""

    href: str
    """As it is sent, before HTML escaping."""
    target: str | None
    """The canonical URL it means; None: nothing that a crawler fetches (mailto:, javascript:, …)."""
    text: str = ""
    rel: str | None = None
    filtered: bool = False
    """The default URL filters refuse the target (conf/regex-urlfilter.txt)."""
    element: str = "a"
    """a, area, iframe or frame."""
    escaped: bool = True
    """False: `&` stands in the page as it is."""

    @property
    def nofollow(self) -> bool:
        """True: its rel asks crawlers not to follow it."""
        return "nofollow" in (self.rel or "").lower().split()


@dataclass(frozen=True)
class Resource:
    """What is answered under one URL."""

    status: int = 200
    content_type: str | None = "text/html; charset=utf-8"
    body: bytes = b""
    """Before compression."""
    headers: tuple[tuple[str, str], ...] = ()
    title: str | None = None
    charset: str | None = None
    """The encoding that `body` is in, declared or not; None: not text."""
    links: tuple[Link, ...] = ()
    redirect: Link | None = None
    """Sent as Location; the status says which redirect it is."""
    refresh: Link | None = None
    """A meta refresh in the page."""
    canonical: str | None = None
    """Where its rel=canonical points."""
    noindex: bool = False
    nofollow: bool = False
    """The page (meta robots) or the answer (X-Robots-Tag) says nofollow."""
    denied: bool = False
    """The host's robots.txt does not let us fetch it."""
    etag: str | None = None
    last_modified: str | None = None
    compressed: bool = False
    chunked: bool = False
    delay: float = 0.0
    """Seconds that the server waits before it answers."""
    failures: int = 0
    """So many requests are answered like this, the later ones by `recovered`."""
    recovered: Resource | None = None

    def answer(self, earlier: int) -> Resource:
        """What the request after `earlier` other ones for this URL gets."""
        return self if self.recovered is None or earlier < self.failures else self.recovered

    def encoded_body(self) -> bytes:
        """The body as it goes over the wire."""
        return gzip.compress(self.body, 6, mtime=0) if self.compressed else self.body


@dataclass(frozen=True)
class Host:
    """One address of the site's port."""

    address: str
    name: str
    robots: Resource = field(default_factory=lambda: Resource(404, "text/plain", b"no rules here\n"))
    listening: bool = True
    """False: connections are refused."""

    @property
    def robots_unavailable(self) -> bool:
        """True: its robots.txt can't be had for now, so that nothing of it may be fetched (RFC 9309, 2.3.1.4)."""
        return self.robots.status >= 500


class Seed(NamedTuple):
    """A seed line: the URL as it is written, what it means, and metadata."""

    spelled: str
    url: str
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Site:
    """A small web on addresses of this machine, all on one port.

    `pages` is keyed by canonical URL and holds everything that any link means, gone pages too.
    """

    port: int
    hosts: dict[str, Host]
    """By address."""
    pages: dict[str, Resource]
    seed_list: tuple[Seed, ...]

    def host(self, url: str) -> Host:
        """The host that a declared URL belongs to."""
        return self.hosts[url.split("/", 3)[2].rpartition(":")[0]]

    def seeds(self) -> list[str]:
        """The lines of a seed file: `URL[TAB]key=value…`."""
        return ["\t".join([seed.spelled, *(f"{key}={value}" for key, value in seed.metadata.items())])
                for seed in self.seed_list]  # fmt: skip
