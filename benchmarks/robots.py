"""What robots.txt costs: `python -m benchmarks.robots` prints µs per parse and per URL, beside protego's in the same run.

protego (which Scrapy, a dependency of the tests, brings along) is given the same text; the best of some rounds counts.
Rules and URLs are made up by a seeded generator: a shop's plain prefixes, with as many stars as `--stars` says.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence

from protego import Protego

from crawldb.settings import Settings
from crawldb.urls import canonicalize
from jobs.fetching import robots

WORDS = [
    "admin",
    "basket",
    "catalogue",
    "filter",
    "news",
    "print",
    "product",
    "reviews",
    "search",
    "sort",
    "tag",
    "user",
]
ROUNDS = 5


def rules(number: int, stars: float, seed: int = 0) -> bytes:
    """A robots.txt with so many rules for all; a share of them has a star."""
    choose = random.Random(seed)
    lines = ["User-agent: *"]
    for _ in range(number):
        path = f"/{choose.choice(WORDS)}/{choose.choice(WORDS)}-{choose.randrange(10_000)}"
        if choose.random() < stars:
            path = choose.choice(
                [
                    f"/*?{choose.choice(WORDS)}_{choose.randrange(999)}=",
                    f"{path}/*/print",
                    f"/*.{choose.randrange(999)}$",
                ]
            )
        lines.append(f"{choose.choice(['Allow', *['Disallow'] * 4])}: {path}")
    return "\n".join(lines).encode()


def urls(number: int, seed: int = 1) -> list[str]:
    """Canonical URLs: every third has a query, every fifth an escape."""
    choose = random.Random(seed)
    made = []
    for each in range(number):
        url = f"https://www.example.com/{choose.choice(WORDS)}/{choose.choice(WORDS)}-{choose.randrange(10_000)}/page.html"
        url += f"?{choose.choice(WORDS)}_{choose.randrange(999)}={choose.randrange(99)}" * (each % 3 == 0)
        made.append(canonicalize(url.replace("page", "gr%C3%B6%C3%9Fe") if each % 5 == 0 else url) or url)
    return made


def best(work: Callable[[], object], times: int) -> float:
    """CPU µs of one of so many pieces of work, in the best round."""
    taken = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken) / times * 1e6


def measure(number: int, stars: float, pages: Sequence[str]) -> str:
    """A row of the table."""
    settings = Settings()
    settings.http.agent_name = "cobnut-bench"
    body = rules(number, stars)
    ours, theirs = robots.read(body, False, settings), Protego.parse(body.decode())
    refused = [url for url in pages if ours.refuse(url)]
    differ = sum((ours.refuse(url) is None) != theirs.can_fetch(url, "cobnut-bench") for url in pages)
    figures = [
        best(lambda: robots.read(body, False, settings), 1),
        best(lambda: Protego.parse(body.decode()).can_fetch("https://h.example/", "cobnut-bench"), 1),
        best(lambda: [ours.refuse(url) for url in pages], len(pages)),
        best(lambda: [theirs.can_fetch(url, "cobnut-bench") for url in pages], len(pages)),
    ]
    parse, url = figures[0] / figures[1], figures[2] / figures[3]
    return (
        f"| {number:,} | {stars:.0%} | {figures[0]:,.0f} | {figures[1]:,.0f} | {parse:.2f} × "
        f"| {figures[2]:.2f} | {figures[3]:.2f} | {url:.2f} × | {len(refused) / len(pages):.1%} | {differ} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robots", description=__doc__)
    parser.add_argument("--pages", type=int, default=2000, help="URLs that are asked about")
    parser.add_argument(
        "--stars", type=float, default=0.2, help="share of rules with a star, in the tables but the last"
    )
    options = parser.parse_args()
    pages = urls(options.pages)
    print("| rules | with a star | µs to parse | protego | | µs a URL | protego | | refused | verdicts that differ |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for number, stars in [
        (0, 0.0),
        (10, options.stars),
        (100, options.stars),
        (3000, 0.0),
        (3000, options.stars),
        (3000, 1.0),
    ]:
        print(measure(number, stars, pages), flush=True)


if __name__ == "__main__":
    main()
