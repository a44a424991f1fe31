"""The Almanac of the Vell: an encyclopedia. Articles linking to each other, moved titles, fragments, robots.txt with
wildcards, an exception and rules for others, ETag and Last-Modified on every article.
"""

from __future__ import annotations

from dataclasses import replace

from jobs.demo.builder import HostBuilder, Web
from jobs.demo.site import Link, Seed
from jobs.demo.words import KINDS, STEMS

ADDRESS = "127.10.1.1"

_ROBOTS = """\
# The almanac's pages are free to read; its machinery is not for crawlers.
User-agent: greedybot
Disallow: /

User-agent: *
Disallow: /special/
Allow: /special/about
Disallow: /*?action=
Disallow: /draft$
"""
_MOVED = 8


def add(web: Web) -> None:
    """Declare the host."""
    host = HostBuilder(web, ADDRESS, "Almanac of the Vell", robots=_ROBOTS)
    host.navigation = [("/", "Main page"), ("/special/about", "About"), ("/special/random", "Random page")]
    host.footer = [("/category/", "Categories")]
    titles = [f"{stem} {kind}" for stem in STEMS for kind in KINDS]
    for number, title in enumerate(titles):
        _article(host, titles, number, title)
    for kind in KINDS:
        members = [title for title in titles if title.endswith(kind)]
        host.page(f"/category/{kind.lower()}/", f"Every {kind}",
                  [Link(f"../../wiki/{_path(title)}", host.url(f"/wiki/{_path(title)}"), title) for title in members])  # fmt: skip
    host.page("/category/", "Categories", [Link(f"./{kind.lower()}/", host.url(f"/category/{kind.lower()}/"), kind)
                                           for kind in KINDS])  # fmt: skip

    for number in range(_MOVED):
        host.redirect(f"/wiki/{_path(titles[number])}_(old)", 301, f"/wiki/{_path(titles[number])}")
    host.redirect("/wiki/", 301, "/", "../")
    host.redirect("/today", 302, f"/wiki/{_path(titles[40])}", f"/wiki/{_path(titles[40])}#today")
    host.page("/special/about", "About the Almanac", [host.link(f"http://127.10.4.1:{web.port}/", "Docs", 1)])
    host.page("/special/random", "Random page", denied=True)
    host.page("/special/log", "Log", denied=True)
    host.page("/draft", "Draft", denied=True)
    host.page("/draft/2", "Second draft", [host.link("/special/log", "Log")])
    for number in range(4):
        host.page(f"/wiki/{_path(titles[number])}?action=edit", f"Editing {titles[number]}", denied=True)

    # Names that are not ASCII: in UTF-8 as they are, and percent-encoded, in any case of the digits.
    host.page("/wiki/%C3%91and%C3%BA", "Ñandú", [host.link("/", "Back")])
    host.page("/wiki/%E6%B2%B3", "河", [Link("/wiki/Ñandú", host.url("/wiki/%C3%91and%C3%BA"), "Ñandú")], language="ja")
    special = [
        Link("/wiki/Ñandú", host.url("/wiki/%C3%91and%C3%BA"), "Ñandú"),
        Link("/wiki/%c3%91and%c3%ba#s1", host.url("/wiki/%C3%91and%C3%BA"), "Ñandú, history"),
        Link("/wiki/河", host.url("/wiki/%E6%B2%B3"), "河"),
        host.link("/today", "Today's article"),
        host.link("/draft", "Draft"),
        host.link("/draft/2", "Second draft"),
        host.link("/wiki/", "All articles"),
    ]
    moved = [
        host.link(f"/wiki/{_path(titles[number])}_(old)", f"{titles[number]} (old name)") for number in range(_MOVED)
    ]
    featured = [host.link(f"/wiki/{_path(titles[number])}", titles[number], number) for number in range(0, 90, 3)]
    url = host.page("/", "Main page", [*special, *moved, *featured, host.link(f"http://127.10.2.1:{web.port}/", "News", 1)],
                    sections=6)  # fmt: skip
    web.seeds.append(Seed(url, url, {"score": "2.0", "collection": "reference"}))


def _path(title: str) -> str:
    return title.replace(" ", "_")


def _article(host: HostBuilder, titles: list[str], number: int, title: str) -> None:
    writer = host.web.writer(host.url(f"/wiki/{_path(title)}#links"))
    others = sorted({titles[writer.number(0, len(titles) - 1)] for _ in range(writer.number(6, 14))} - {title})
    links = [host.link(f"/wiki/{_path(other)}", other, writer.number(0, 3)) for other in others]
    links += [Link(f"#s{place}", host.url(f"/wiki/{_path(title)}"), "Below") for place in (1, 2)]
    kind = title.split()[1]
    links.append(host.link(f"/category/{kind.lower()}/", f"Category: {kind}"))
    if number < 4:
        links.append(Link("?action=edit", host.url(f"/wiki/{_path(title)}?action=edit"), "Edit"))
    day = 1 + number % 28
    url = host.page(f"/wiki/{_path(title)}", title, links, sections=4, sentences=6,
                    etag=f'"{number:04x}-{len(title)}"', last_modified=f"{_weekday(day)}, {day:02} Jun 2026 08:00:00 GMT")  # fmt: skip
    if number % 5 == 4:
        host.web.pages[url] = replace(host.web.pages[url], compressed=True)


def _weekday(day: int) -> str:
    return ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[(day - 1) % 7]  # 1 June 2026 is a Monday
