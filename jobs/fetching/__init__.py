"""The only room that opens sockets to crawl: requests go in, what servers said comes out.

                  politeness    robots       dns           egress
                  whose turn    may we,      where it is   by which
                  it is         path_rules                 way
                      └────────────┴────┬───────┴─────────────┘
                                        ▼
    FetchRequest ───────────────────▶ task ───────────────────▶ FetchResult
                                      │  ▲ ▲
            Errand: sending,          │  │ └── renderings ◀──▶ rendering: tabs, chromium
            credentials, cookies      ▼  │     pages with scripts, which shells finds,
                              engine     │     and their parts, which are Errands too
        requests_engine: threads,        │
        transport, connections           └──── Reply: replies, decoding, outcomes
        curl_engine: libcurl's event loop

`task` is the one brain under all engines; it opens no socket, and engines decide nothing. Before each connection
`addresses` is asked whether it may be made, and `limits` knows what this machine can give. `contract` has the records
and the engine's type, `engines` the family. Nothing here knows of Parquet, chunks or mrjob: the fetch job gives requests
and a function that takes results one at a time.
"""

from __future__ import annotations

from jobs.fetching.contract import Engine, FetchReport, FetchRequest, FetchResult, KnownRobots
from jobs.fetching.engines import ENGINES, engine
from jobs.fetching.sending import user_agent

__all__ = ["ENGINES", "Engine", "FetchReport", "FetchRequest", "FetchResult", "KnownRobots", "engine", "user_agent"]
