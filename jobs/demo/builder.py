"""How the demo site's hosts are put together: URLs, links in varying spellings, pages with made-up text.

Owns the `Web` that the modules `encyclopedia`, `news`, `shop`, `docs`, `blog`, `museum` and `archive` add to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape
from typing import Any

from jobs.demo.render import Outline, Section, render
from jobs.demo.site import Host, Link, Resource, Seed, Site
from jobs.demo.words import Writer

HTML = "text/html; charset=utf-8"


class Web:
    """A site under construction."""

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.seed = seed
        self.hosts: dict[str, Host] = {}
        self.pages: dict[str, Resource] = {}
        self.seeds: list[Seed] = []

    def site(self) -> Site:
        """What was declared so far."""
        return Site(self.port, dict(self.hosts), dict(self.pages), tuple(self.seeds))

    def writer(self, url: str) -> Writer:
        """Words for the page at `url`, independent of the port and of every other page."""
        return Writer(f"{self.seed} {url.replace(f':{self.port}', '', 1)}")


class HostBuilder:
    """One host of the web; its pages share a name, a language, navigation and footer."""

    def __init__(self, web: Web, address: str, name: str, *, robots: str | Resource | None = None,
                 listening: bool = True) -> None:  # fmt: skip
        self.web = web
        self.name = name
        self.origin = f"http://{address}:{web.port}"
        self.navigation: list[tuple[str, str]] = []
        self.footer: list[tuple[str, str]] = []
        host = Host(address, name, listening=listening)
        if isinstance(robots, str):
            robots = Resource(200, "text/plain; charset=utf-8", robots.encode())
        web.hosts[address] = host if robots is None else replace(host, robots=robots)

    def url(self, path: str) -> str:
        """The URL of a path of this host."""
        return self.origin + path

    def add(self, path: str, resource: Resource) -> str:
        """Declare what a path answers; returns its URL."""
        url = self.url(path)
        if url in self.web.pages:
            raise ValueError(f"{url} is declared twice")
        self.web.pages[url] = resource
        return url

    def link(self, path_or_url: str, text: str, spelling: int = 0, **more: Any) -> Link:
        """A link to a path of this host or to any URL; `spelling` chooses among the ordinary ways to write it."""
        url = path_or_url if "://" in path_or_url else self.url(path_or_url)
        inside = url.startswith(self.origin + "/")
        ways = [url, url.removeprefix("http:")] if not inside else [
            url.removeprefix(self.origin), url.removeprefix(self.origin), url, url.removeprefix("http:")]  # fmt: skip
        return Link(ways[spelling % len(ways)], url, text, **more)

    def page(
        self, path: str, title: str, links: Iterable[Link] = (), *, sections: int = 3, sentences: int = 4,
        text: Sequence[str] = (), head: Sequence[str] = (), extra: Sequence[str] = (), language: str = "en",
        charset: str = "utf-8", content_type: str | None = HTML, bare: bool = False, topic: str = "",
        prefix: bytes = b"", **fields: Any,
    ) -> str:  # fmt: skip
        """Declare an HTML page with made-up text (or `text`, a paragraph a section); returns its URL.

        `bare` leaves navigation and footer out. `fields` are further fields of its Resource; noindex, nofollow,
        canonical and refresh are also written into the page's head, unless the headers say it.
        """
        links = list(links)
        writer = self.web.writer(self.url(path))
        paragraphs = list(text) or [writer.paragraph(topic or title, sentences) for _ in range(sections)]
        blocks = [Section("" if number == 0 else writer.pick("History", "Today", "Notes", "Reports", "Details"), words)
                  for number, words in enumerate(paragraphs)]  # fmt: skip
        for number, link in enumerate(links):
            blocks[number % len(blocks)].links.append(link)
        links = [link for block in blocks for link in block.links]  # in the order of the page
        shown = [] if bare else [self.link(where, name) for where, name in self.navigation]
        footer = [] if bare else [self.link(where, name) for where, name in self.footer]
        outline = Outline(title, self.name, language, shown, blocks, footer, [*head, *_head(fields)], extra)
        body = prefix + render(outline).encode(charset)
        return self.add(path, Resource(content_type=content_type, body=body, title=f"{title} - {self.name}",
                                       charset=charset, links=(*shown, *links, *footer), **fields))  # fmt: skip

    def redirect(self, path: str, status: int, target: str, location: str | None = None, **more: Any) -> str:
        """Declare a redirect to a path of this host or a URL; `location` is its spelling in the header."""
        url = target if "://" in target else self.url(target)
        link = Link(url if location is None else location, url, **more)
        body = f'<html><body>Moved <a href="{escape(link.href)}">there</a>.</body></html>\n'.encode()
        return self.add(path, Resource(status, HTML, body, redirect=link))

    def failure(self, path: str, status: int, **fields: Any) -> str:
        """Declare an error page."""
        body = f"<html><head><title>{status}</title></head><body><h1>Error {status}</h1></body></html>\n".encode()
        return self.add(path, Resource(status, HTML, body, **fields))

    def file(self, path: str, content_type: str | None, body: bytes, **fields: Any) -> str:
        """Declare something that is not HTML."""
        return self.add(path, Resource(200, content_type, body, **fields))


def _head(fields: dict[str, Any]) -> list[str]:
    """The elements of the head that the resource's fields ask for."""
    lines = []
    said = [name for name in ("noindex", "nofollow") if fields.get(name)]
    if said and not any(name.lower() == "x-robots-tag" for name, _ in fields.get("headers", ())):
        lines.append(f'<meta name="robots" content="{", ".join(said)}">')
    if fields.get("canonical"):
        lines.append(f'<link rel="canonical" href="{escape(fields["canonical"])}">')
    if fields.get("refresh"):
        lines.append(f'<meta http-equiv="refresh" content="0; url={escape(fields["refresh"].href)}">')
    return lines
