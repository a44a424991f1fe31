"""What parsing costs: `python -m benchmarks.parse` prints it beside lxml's bare parse and one tostring pass.

200 pages are made up by a seeded generator, in the markup of four kinds of real pages, 60 links each: a news article,
documentation with highlighted code, an encyclopaedia's tables, a shop's listing. `--pages DIRECTORY` takes the HTML
files below a directory instead, such as a package's documentation. Both are measured in turns in one process, and
the best round of each counts.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lxml import etree

from crawldb.settings import load
from jobs.demo.words import Writer, slug
from jobs.parsing import Page, PageParser, Reference
from jobs.parsing.html import parse_html
from jobs.parsing.outlinks import Outlinks

PAGES = 200
LINKS = 60
"""Distinct ones, of each page."""
ROUNDS = 9

_NAVIGATION = 20
"""Links that all pages of a site have, of all their links."""
_SITE_PAGES = 20
"""Pages of one site among those that are parsed."""
_TYPE = "text/html; charset=utf-8"


class Composer:
    """Writes one page; the same number makes the same page."""

    def __init__(self, number: int) -> None:
        self.number, self.site = number, number // _SITE_PAGES
        self.host = f"www.site-{self.site}.example"
        self.random = random.Random(number)
        self.writer = Writer(f"parse {number}")
        self.links = LINKS - _NAVIGATION

    def link(self, classes: str = "link") -> str:
        """One of the page's own links, as long as there are any; then plain words."""
        text = self.writer.headline()
        if not self.links:
            return text
        self.links -= 1
        path = f"/{self.random.choice(('news', 'guide', 'item'))}/{slug(text)}-{self.random.randrange(10**6)}"
        way = self.random.random()
        href = (
            path if way < 0.5 else f"..{path}.html" if way < 0.7 else f"https://{self.host}{path}/?ref=home&amp;page=2"
        )
        if way > 0.9:
            href = f"https://other-{self.random.randrange(500)}.example{path}"
        rel = ' rel="noopener" target="_blank"' if way > 0.9 else ""
        return f'<a class="{classes}" href="{href}"{rel}>{text}</a>'

    def prose(self, sentences: int = 5) -> str:
        """A paragraph's content, with the inline markup that people put into it."""
        words = self.writer.paragraph("the valley", sentences)
        first, _, rest = words.partition(" ")
        half = rest.find(" ", len(rest) // 2)
        return (
            f"<strong>{first}</strong> {rest[:half]} {self.link()} &mdash; <em>{self.writer.person()}</em>{rest[half:]}"
        )

    def page(self) -> bytes:
        """All of it."""
        kind = (self.article, self.documentation, self.table, self.listing)[self.number % 4]
        body = kind()
        rest = "".join(f"<li>{self.link('footer__link')}</li>\n" for _ in range(self.links))
        return f'{self.head()}{self.navigation()}<main id="content" class="l-main">\n{body}</main>\n{self.footer(rest)}'.encode()

    def head(self) -> str:
        title = self.writer.headline()
        rules = "".join(f".c-{n}{{margin:{n}px auto;color:#{n * 4369:06x};display:flex}}\n" for n in range(90))
        script = "".join(
            f"function step{n}(v){{if(v<{n}&&v>0){{return '<p>'+v+'</p>'}}return null}}\n" for n in range(60)
        )
        block = json.dumps({"@context": "https://schema.org", "@type": "NewsArticle", "headline": title,
                            "datePublished": "2024-05-01T10:00:00+02:00", "author": {"name": self.writer.person()}})  # fmt: skip
        return (
            f'<!DOCTYPE html>\n<html lang="en" class="no-js">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="description" content="{title}">\n'
            f'<meta property="og:title" content="{title}">\n<meta property="og:type" content="article">\n'
            f'<meta property="og:image" content="https://{self.host}/img/{self.number}.jpg">\n'
            '<meta property="article:published_time" content="2024-05-01T10:00:00+02:00">\n<meta name="twitter:card" content="summary">\n'
            f'<link rel="canonical" href="https://{self.host}/p/{self.number}">\n<link rel="stylesheet" href="/assets/site.css?v=3">\n'
            '<link rel="icon" href="/favicon.ico">\n<link rel="preload" as="font" href="/assets/a.woff2" crossorigin>\n'
            f'<script type="application/ld+json">{block}</script>\n<style>\n{rules}</style>\n<script>\n{script}</script>\n</head>\n'
        )  # fmt: skip

    def navigation(self) -> str:
        shared = Writer(f"site {self.site}")
        items = "".join(
            f'<li class="menu__item menu__item--{n}"><a class="menu__link" href="/section/{n}/{slug(title)}">{title}</a></li>\n'
            for n, title in enumerate(shared.headline() for _ in range(_NAVIGATION))
        )
        icon = ('<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><title>Menu</title>'
                '<path d="M3 18h18v-2H3v2zm0-5h18v-2H3v2zm0-7v2h18V6H3z" fill="currentColor"/></svg>')  # fmt: skip
        return (f'<body class="home page-{self.number}">\n<!-- header -->\n<header class="l-header"><button type="button" '
                f'onclick="toggle(\'menu\')">{icon}</button>\n<nav aria-label="Main"><ul class="menu">\n{items}</ul></nav>\n'
                '<form class="search" action="/search" method="get"><input name="q" type="search" placeholder="Search">'
                '<button>Go</button></form></header>\n')  # fmt: skip

    def footer(self, rest: str) -> str:
        script = "".join(
            f'window.queue.push(["event", {n}, {{"page": "{self.number}", "n": {n}}}]);\n' for n in range(40)
        )
        return (f'<footer class="l-footer"><ul class="footer__list">\n{rest}</ul><p>&copy; 2024 The {self.writer.product()} '
                f'Company. All rights reserved.</p></footer>\n<noscript><img src="/pixel.gif" alt=""></noscript>\n'
                f'<script>\n{script}</script>\n</body>\n</html>\n')  # fmt: skip

    def article(self) -> str:
        parts = [f'<article class="c-article" data-id="{self.number}">\n<h1 class="c-article__title">{self.writer.headline()}</h1>\n'
                 f'<p class="byline">By {self.writer.person()}, <time datetime="2024-05-01">1 May 2024</time></p>\n']  # fmt: skip
        for n in range(48):
            if n % 6 == 0:
                parts.append(f'<h2 id="section-{n}">{self.writer.headline()}</h2>\n')
            if n % 8 == 3:
                parts.append(self.figure(n))
            parts.append(
                f'<div class="c-block c-block--text" data-block="{n}">\n<p class="c-paragraph">{self.prose(7)}</p>\n</div>\n'
            )
        return "".join(parts) + "</article>\n"

    def figure(self, n: int) -> str:
        sources = ", ".join(f"/img/{self.number}-{n}-{w}.jpg {w}w" for w in (320, 640, 960, 1280))
        return (f'<figure class="c-figure"><img loading="lazy" src="/img/{self.number}-{n}.jpg" srcset="{sources}" '
                f'sizes="(min-width: 60em) 640px, 100vw" alt="{self.writer.product()}"><figcaption>{self.writer.headline()}'
                '</figcaption></figure>\n')  # fmt: skip

    def documentation(self) -> str:
        parts = ['<div class="document"><div class="body" role="main">\n']
        for n in range(16):
            parts.append(f'<section id="part-{n}">\n<h2>{self.writer.headline()}<a class="headerlink" href="#part-{n}" '
                         f'title="Permalink">&#182;</a></h2>\n<p>{self.prose(6)}</p>\n<p>{self.prose(4)}</p>\n<ul class="simple">\n')  # fmt: skip
            parts += [f'<li><p><code class="docutils literal"><span class="pre">{self.writer.product()}</span></code>: '
                      f"{self.writer.sentence('the option')}</p></li>\n" for _ in range(4)]  # fmt: skip
            parts.append('</ul>\n<div class="highlight-python notranslate"><div class="highlight"><pre><span></span>')
            for line in range(10):
                name = slug(self.writer.product())
                parts.append(f'    <span class="k">return</span> <span class="n">{name}</span><span class="o">.</span><span class="n">'
                             f'value_{line}</span><span class="p">(</span><span class="s2">&quot;{name}&quot;</span><span class="p">)</span>\n')  # fmt: skip
            parts.append("</pre></div></div>\n</section>\n")
        return "".join(parts) + "</div></div>\n"

    def table(self) -> str:
        parts = [f"<h1>{self.writer.headline()}</h1>\n"]
        parts += [
            f'<p>{self.prose(8)}<sup id="cite-{n}" class="reference"><a href="#note-{n}">[{n}]</a></sup></p>\n'
            for n in range(16)
        ]
        for n in range(3):
            parts.append(f'<table class="wikitable sortable"><caption>{self.writer.headline()}</caption>\n<thead><tr><th scope="col">Name</th>'
                         '<th scope="col">Year</th><th scope="col">Length</th><th scope="col">Notes</th></tr></thead>\n<tbody>\n')  # fmt: skip
            for row in range(45):
                link = self.link("mw-redirect") if row % 4 == 0 else self.writer.person()
                parts.append(f'<tr>\n<td style="text-align:left">{link}</td>\n<td align="right">{1800 + row * n}</td>\n'
                             f'<td data-sort-value="{row}">{row * 37}&nbsp;km</td>\n<td>{self.writer.sentence("the line")}</td>\n</tr>\n')  # fmt: skip
            parts.append("</tbody></table>\n")
        return "".join(parts)

    def listing(self) -> str:
        parts = ['<div class="grid grid--products" data-total="64">\n']
        for n in range(40):
            price = f"{self.random.randrange(5, 200)}.{self.random.randrange(100):02d}"
            parts.append(f'<div class="card card--product" data-sku="{self.number}-{n}" data-tracking=\'{{"list":"search","position":{n}}}\'>\n'
                         f'<div class="card__media">{self.figure(n)}</div>\n<div class="card__body"><h3 class="card__title">{self.link("card__link")}</h3>\n'
                         f'<p class="card__text">{self.writer.paragraph("this product", 3)}</p>\n<ul class="card__facts"><li>{self.writer.product()}</li>'
                         f'<li>{self.writer.person()}</li></ul>\n<div class="price"><span class="price__currency">&euro;</span>'
                         f'<span class="price__value">{price}</span></div>\n<button class="button" type="button" data-add="{n}">Add to basket</button>'
                         "</div>\n</div>\n")  # fmt: skip
        return "".join(parts) + "</div>\n"


def pages(number: int = PAGES) -> list[bytes]:
    """So many made-up pages."""
    return [Composer(each).page() for each in range(number)]


def pages_below(directory: Path, number: int = PAGES) -> list[bytes]:
    """HTML files of 30 KB to 1 MB below a directory, so many of them, chosen by chance."""
    files = sorted(path for path in directory.rglob("*.html") if 30_000 <= path.stat().st_size <= 1 << 20)
    random.Random(0).shuffle(files)
    return [path.read_bytes() for path in files[:number]]


def best(works: Sequence[tuple[str, Callable[[], object]]]) -> dict[str, float]:
    """CPU seconds of each piece of work in its best round; they take turns."""
    taken = {name: float("inf") for name, _ in works}
    for _ in range(ROUNDS):
        for name, work in works:
            start = time.process_time()
            work()
            taken[name] = min(taken[name], time.process_time() - start)
    return taken


def measure(bodies: Sequence[bytes]) -> Iterable[str]:
    """The rows of the table."""
    settings = load(None, ["http.agent_name=cobnut-bench"])
    whole = [Page(f"https://www.site-{n // _SITE_PAGES}.example/p/{n}", f"www.site-{n // _SITE_PAGES}.example", 1, body, _TYPE,
                  [("Content-Type", _TYPE)], False) for n, body in enumerate(bodies)]  # fmt: skip
    references: list[list[Reference]] = [parse_html(body, _TYPE, settings.parse).references for body in bodies]

    def bare() -> None:
        for body in bodies:
            etree.tostring(etree.fromstring(body, etree.HTMLParser(encoding="utf-8")))

    def markup() -> None:
        for body in bodies:
            parse_html(body, _TYPE, settings.parse)

    def links() -> None:
        outlinks = Outlinks(settings)
        for page, found in zip(whole, references, strict=True):
            outlinks.of_page(page.url, page.host, page.depth, page.url, found, False)

    def everything() -> None:
        parser = PageParser(settings)
        for page in whole:
            parser.parse(page)

    took = best([("bare", bare), ("markup", markup), ("links", links), ("everything", everything)])
    count = sum(map(len, references))
    yield f"{len(bodies)} pages, {sum(map(len, bodies)) / len(bodies) / 1000:.0f} KB and {count / len(bodies):.0f} links each\n"
    yield "| what | CPU | beside the bare parse | goal |\n|---|---|---|---|"
    each = 1000 / len(bodies)
    yield f"| lxml: parse and tostring | {took['bare'] * each:.2f} ms a page | 1 × | |"
    yield f"| markup to text, metadata and links | {took['markup'] * each:.2f} ms a page | {took['markup'] / took['bare']:.2f} × | 1.5 × |"
    yield f"| links: canonical, filtered, fingerprinted | {took['links'] / count * 1e6:.1f} µs a link | | 5 µs |"
    yield f"| all of PageParser.parse | {took['everything'] * each:.2f} ms a page | {took['everything'] / took['bare']:.2f} × | |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parse", description=__doc__)
    parser.add_argument("--pages", type=Path, metavar="DIRECTORY", help="HTML files to parse in place of made-up pages")
    parser.add_argument("--number", type=int, default=PAGES, help="of pages")
    options = parser.parse_args()
    bodies = pages_below(options.pages, options.number) if options.pages else pages(options.number)
    if not bodies:
        parser.error(f"no HTML file of 30 KB or more below {options.pages}")
    for row in measure(bodies):
        print(row, flush=True)


if __name__ == "__main__":
    main()
