"""What we do: one verb, one file, one MapReduce job.

            seeds                                   ┌────────── one round ───────────┐
              │ inject                              │                                │
              ▼                                     ▼                                │
        ┌──────────┐ generate ┌───────────┐ fetch ┌─────────┐ parse ┌────────┐ updatedb
        │ crawldb  │─────────▶│ fetchlist │──────▶│ content │──────▶│ parsed │────────┤
        │ (state)  │          └───────────┘       └─────────┘       └────────┘        │
        └──────────┘           └────────── one segment, named by its start time ──┘   │
              ▲                                                                       │
              └───────────────────────── one delta, committed atomically ─────────────┘

Beside the crawldb stands the host store: updatedb puts in what a round learned of hosts, and generate takes their
robots.txt files and Crawl-delays out of it for the next fetch.

    inject.py generate.py fetch.py parse.py updatedb.py compact.py     the jobs of the rounds
    sitemaps.py          what sitemaps list, into the crawldb
    invertlinks.py linkrank.py         who links to what, and PageRank over it
    dedup.py domainstats.py            duplicates; counts by host and domain
    merge.py segments*.py freegen.py   crawls, segments and lists of URLs as sets
    warc.py archiving/   web archives: out, in, and rounds replayed from them
    crawl.py             the round loop: what crawl.sh calls
    base.py              CrawlJob and how it runs: work lists in, commit records out
    protocol.py          Arrow batches as mrjob protocol lines
    command.py cli.py    arguments, summary lines, exit codes
    control.py task.py   stop requests and progress; how a task process starts
    fetching/            the only room that opens sockets to crawl
    parsing/             the only room that looks inside a page
    demo/                a small web to crawl, and its truth

`crawldb/` is what we know; it imports nothing from here.
"""
