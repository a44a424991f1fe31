"""The only room that opens sockets: requests go in, what servers said comes out.

    FetchRequest ─▶ politeness ─▶ robots ─▶ engine ─▶ outcomes ─▶ FetchResult
                    whose turn    may we    HTTP      what it
                    it is                             means

`contract` has the records and the engine's type, `engines` the family. Nothing here knows of Parquet, chunks or
mrjob: the fetch job gives requests and a function that takes results one at a time.
"""

from __future__ import annotations

from jobs.fetching.contract import Engine, FetchReport, FetchRequest, FetchResult, KnownRobots
from jobs.fetching.engines import ENGINES, engine
from jobs.fetching.sending import user_agent

__all__ = ["ENGINES", "Engine", "FetchReport", "FetchRequest", "FetchResult", "KnownRobots", "engine", "user_agent"]
