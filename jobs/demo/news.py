"""The Vell Courier: a news site. Pagination by query alone, tracking parameters, print versions with a canonical
link, stories withdrawn (410), meta refresh, a busy page (503), one that recovers.
"""

from __future__ import annotations

from jobs.demo.builder import HostBuilder, Web
from jobs.demo.site import Link, Resource, Seed
from jobs.demo.words import Writer, slug

ADDRESS = "127.10.2.1"

_ROBOTS = """\
User-agent: *
Disallow: /search
Disallow: /account/

Sitemap: /sitemap.xml
"""
_SECTIONS = ("politics", "science", "weather", "sport", "letters")
_STORIES = 12


def add(web: Web) -> None:
    """Declare the host."""
    host = HostBuilder(web, ADDRESS, "The Vell Courier", robots=_ROBOTS)
    host.navigation = [("/", "Front page"), *((f"/{name}/", name.capitalize()) for name in _SECTIONS),
                       ("/search?q=", "Search"), ("/account/login", "Sign in")]  # fmt: skip
    host.footer = [("/contact", "Contact"), ("/feed.xml", "Feed")]
    headlines: list[tuple[str, str]] = []
    for place, section in enumerate(_SECTIONS):
        stories = _stories(web.writer(f"{host.url('/')}{section}"), place)
        headlines += stories
        for page in (1, 2, 3):
            shown = stories[(page - 1) * 4 : page * 4]
            links = [host.link(path, headline, number) for number, (path, headline) in enumerate(shown)]
            for other in {1, 2, 3} - {page}:
                links.append(Link(f"?page={other}", host.url(f"/{section}/?page={other}"), f"Page {other}"))
            path = f"/{section}/" if page == 1 else f"/{section}/?page={page}"
            host.page(
                path, f"{section.capitalize()}, page {page}", links, head=['<meta http-equiv="refresh" content="300">']
            )
        _same_content(host, f"/{section}/", f"/{section}/?page=1")
    for number, (path, headline) in enumerate(headlines):
        _story(host, number, path, headline, headlines)

    host.page("/search?q=", "Search", denied=True)
    host.page("/account/login", "Sign in", denied=True)
    host.page("/contact", "Contact", [
        Link("mailto:desk@example.org", None, "The desk"), Link("tel:+44-20-7946-0000", None, "Call us"),
        Link("javascript:void(0)", None, "Chat"), Link("  /contact \n", host.url("/contact"), "This page"),
    ])  # fmt: skip
    feed = f'<?xml version="1.0"?><rss version="2.0"><channel><title>Courier</title><link>{host.url("/")}</link></channel></rss>\n'
    host.file("/feed.xml", "application/rss+xml", feed.encode(), charset="utf-8")
    for name in ("mayor-resigns", "bridge-sold", "eel-prices"):
        host.failure(f"/2025/{name}", 410)
    host.failure("/live/results", 503)
    recovered = host.url("/live/tides")
    host.page("/live/tides", "Tides", [host.link("/weather/", "Weather")])
    web.pages[recovered] = Resource(503, "text/plain", b"try again\n", failures=1, recovered=web.pages[recovered])
    target = host.url(headlines[0][0])
    host.page("/go/top", "One moment", refresh=Link(headlines[0][0], target), bare=True, sections=1)
    host.redirect("/latest", 307, headlines[1][0])
    front = [
        *(host.link(f"/2025/{name}", "From last year") for name in ("mayor-resigns", "bridge-sold", "eel-prices")),
        host.link("/live/results", "Results, live"), host.link("/live/tides", "Tides, live"),
        host.link("/go/top", "Top story"), host.link("/latest", "Latest"),
        Link(f"{headlines[2][0]}?utm_source=front&utm_medium=web",
             host.url(f"{headlines[2][0]}?utm_medium=web&utm_source=front"), headlines[2][1]),
        Link(f"{headlines[2][0]}?utm_source=mail", host.url(f"{headlines[2][0]}?utm_source=mail"), headlines[2][1]),
        *(host.link(path, headline, number) for number, (path, headline) in enumerate(headlines[::3])),
        host.link(f"http://127.10.7.1:{web.port}/", "The old Courier"), host.link(f"http://127.10.5.1:{web.port}/", "Our blog", 1),
    ]  # fmt: skip
    url = host.page("/", "Front page", front, sections=5)
    _same_content(host, headlines[2][0], f"{headlines[2][0]}?utm_medium=web&utm_source=front")
    _same_content(host, headlines[2][0], f"{headlines[2][0]}?utm_source=mail")
    web.seeds.append(Seed(f"HTTP://{ADDRESS}:{web.port}/today/../#front", url, {"interval": str(7 * 86400)}))


def _stories(writer: Writer, place: int) -> list[tuple[str, str]]:
    """Path and headline of a section's stories."""
    stories = []
    for number in range(_STORIES):
        headline = writer.headline()
        stories.append((f"/2026/{10 + place % 2}/{number + 1:02}/{slug(headline)}-{place}", headline))
    return stories


def _story(host: HostBuilder, number: int, path: str, headline: str, headlines: list[tuple[str, str]]) -> None:
    writer = host.web.writer(host.url(path))
    related = [headlines[writer.number(0, len(headlines) - 1)] for _ in range(4)]
    links = [host.link(where, text, writer.number(0, 3)) for where, text in related]
    if number % 6 == 0:
        links.append(host.link(f"/print{path}", "Print version", rel="alternate"))
        host.page(f"/print{path}", f"{headline} (print)", bare=True, noindex=True, canonical=host.url(path), sections=4)
    if number % 10 == 0:
        links.append(Link(f"http://127.10.5.1:{host.web.port}/trap", f"http://127.10.5.1:{host.web.port}/trap", "Sponsored",
                          rel="sponsored nofollow"))  # fmt: skip
    host.page(path, headline, links, sections=4, sentences=5, chunked=number % 7 == 3, compressed=number % 4 == 1,
              last_modified=f"Mon, {2 + 7 * (number % 4):02} Nov 2026 06:30:00 GMT")  # fmt: skip


def _same_content(host: HostBuilder, path: str, alias: str) -> None:
    """The alias answers what the path does, byte for byte."""
    host.add(alias, host.web.pages[host.url(path)])
