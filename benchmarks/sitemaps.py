"""What a sitemap costs: `python -m benchmarks.sitemaps` prints URLs per CPU second, from its bytes to merged delta rows.

Beside it, in the same run, lxml's bare parse of the same bytes into a tree that nobody looks at. The best of some rounds
counts. Shapes: as most programs write it; with images, which takes the XML parser; queries, which have to be
canonicalized one by one; a text file.
"""

from __future__ import annotations

import argparse
import gzip
import time
from collections import Counter
from collections.abc import Callable

from lxml import etree

from crawldb import listings
from crawldb.fingerprint import url_fingerprint
from crawldb.listings import Listings, Scope
from crawldb.settings import Settings
from jobs.parsing.sitemaps import SitemapReader

ROUNDS = 5
SITEMAP = "https://www.example.com/sitemap.xml"
NOW = 1_795_000_000_000
HEAD = ('<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" '
        'xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">\n')  # fmt: skip


def urls(number: int, query: bool = False) -> list[str]:
    """URLs of a shop."""
    end = "?colour=red&amp;size=%C3%A4" if query else ".html"
    return [f"https://www.example.com/products/category-{n % 97}/item-{n}{end}" for n in range(number)]


def urlset(locations: list[str], image: bool = False) -> bytes:
    """A sitemap with all that the protocol has."""
    entries = "".join(
        f"  <url>\n    <loc>{url}</loc>\n    <lastmod>2026-0{1 + n % 9}-{1 + n % 28:02d}T10:{n % 60:02d}:{n // 60 % 60:02d}+00:00"
        f"</lastmod>\n    <changefreq>weekly</changefreq>\n    <priority>0.{n % 10}</priority>\n"
        + (f"    <image:image><image:loc>{url}.jpg</image:loc></image:image>\n" if image else "")
        + "  </url>\n"
        for n, url in enumerate(locations)
    )
    return f"{HEAD}{entries}</urlset>\n".encode()


def best(work: Callable[[], object]) -> float:
    """CPU seconds of the best round."""
    taken = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def read(content: bytes) -> int:
    """All that is done with a sitemap: its bytes read, URLs canonical, filtered, fingerprinted, merged into delta rows."""
    made = Listings(Settings(), NOW)
    scope, source, counts = Scope.of(SITEMAP), url_fingerprint(SITEMAP), Counter[str]()
    tables = [made.rows(entries, source, scope, counts) for entries in SitemapReader(content)]
    return int(listings.merge(tables).num_rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sitemaps", description=__doc__)
    parser.add_argument("--urls", type=int, default=50_000)
    number = parser.parse_args().urls
    plain = urlset(urls(number))
    shapes = {
        "as most programs write it": plain,
        "the same in gzip": gzip.compress(plain),
        "with images": urlset(urls(number), image=True),
        "with queries": urlset(urls(number, query=True)),
        "text": "\n".join(urls(number)).encode(),
    }
    print(f"| sitemap of {number:,} URLs | MB | URLs a CPU s | beside lxml's bare parse |\n|---|---|---|---|")
    for name, content in shapes.items():
        assert read(content) == number
        took = best(lambda content=content: read(content))  # type: ignore[misc]
        bare = ""
        if content[:1] == b"<":
            bare = f"{took / best(lambda content=content: etree.fromstring(content)):.1f} ×"  # type: ignore[misc]
        print(f"| {name} | {len(content) / 1e6:.1f} | {number / took:,.0f} | {bare} |", flush=True)


if __name__ == "__main__":
    main()
