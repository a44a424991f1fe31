"""`cobnut VERB …`: one subcommand per verb, and nothing else."""

from __future__ import annotations

import importlib
import sys

VERBS = {
    "crawl": ("jobs.crawl", "the round loop: inject, then generate, fetch, parse, updatedb, round after round"),
    "inject": ("jobs.inject", "put seeds into the crawldb"),
    "generate": ("jobs.generate", "choose the requests of the next round: a new segment"),
    "freegen": ("jobs.freegen", "a new segment straight from a list of URLs, without a crawldb"),
    "fetch": ("jobs.fetch", "fetch a segment"),
    "parse": ("jobs.parse", "parse a fetched segment: text, links, signatures"),
    "updatedb": ("jobs.updatedb", "put what a segment learned into the crawldb"),
    "invertlinks": ("jobs.invertlinks", "put the links of parsed segments into the link store"),
    "linkrank": ("jobs.linkrank", "PageRank over pages or hosts, into the crawldb's or the host store's"),
    "sitemaps": ("jobs.sitemaps", "put what sitemaps list into the crawldb"),
    "dedup": ("jobs.dedup", "mark duplicates, by their signature and, on request, by likeness"),
    "compact": ("jobs.compact", "fold the crawldb's deltas into a new base"),
    "domainstats": ("jobs.domainstats", "count requests by host, domain, suffix or tld, and status"),
    "segments": ("jobs.segments", "list, show, merge and remove segments"),
    "merge": ("jobs.merge", "the crawldbs and other stores of several crawls, as a new crawl"),
    "warc": ("jobs.warc", "segments to web archives (WARC), and web archives to segments"),
    "dump": ("crawldb.dump", "look at the crawldb: rows, one URL, statistics"),
}


def main(argv: list[str] | None = None) -> int:
    """Run the verb's `main`; its exit code: 0 done, 1 failed, 2 wrong usage."""
    arguments = sys.argv[1:] if argv is None else argv
    verb = arguments[0] if arguments else "--help"
    if verb in ("-h", "--help"):
        print("usage: cobnut VERB [ARGUMENT]…\n\nverbs (cobnut VERB --help tells more):")
        for name, (_, does) in VERBS.items():
            print(f"  {name:<{max(map(len, VERBS)) + 2}}{does}")
        return 0
    if verb not in VERBS:
        print(f"cobnut: no verb {verb}; there are: {', '.join(VERBS)}", file=sys.stderr)
        return 2
    function = importlib.import_module(VERBS[verb][0]).main
    return int(function(arguments[1:]) or 0)


if __name__ == "__main__":
    sys.exit(main())
