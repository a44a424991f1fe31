"""The family of fetch engines: who speaks HTTP.

To add one, write a function of the type `contract.Engine` and a line in `ENGINES`; the contract test in
tests/jobs/fetching then runs over it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event

from crawldb import families
from crawldb.settings import Settings
from jobs.fetching import requests_engine
from jobs.fetching.contract import Engine, FetchReport, FetchRequest, FetchResult, KnownRobots


def curl(
    requests: Sequence[FetchRequest], settings: Settings, emit: Callable[[FetchResult], None], stop: Event,
    known: Sequence[KnownRobots] = (),
) -> FetchReport:  # fmt: skip
    """See curl_engine.fetch: libcurl is loaded by who uses it."""
    from jobs.fetching import curl_engine

    return curl_engine.fetch(requests, settings, emit, stop, known)


def browser(
    requests: Sequence[FetchRequest], settings: Settings, emit: Callable[[FetchResult], None], stop: Event,
    known: Sequence[KnownRobots] = (),
) -> FetchReport:  # fmt: skip
    """See curl_engine.fetch_and_render."""
    from jobs.fetching import curl_engine

    return curl_engine.fetch_and_render(requests, settings, emit, stop, known)


def replay(
    requests: Sequence[FetchRequest], settings: Settings, emit: Callable[[FetchResult], None], stop: Event,
    known: Sequence[KnownRobots] = (),
) -> FetchReport:  # fmt: skip
    """See replay.fetch."""
    from jobs.fetching import replay

    return replay.fetch(requests, settings, emit, stop, known)


ENGINES: dict[str, Engine] = {
    "requests": requests_engine.fetch,
    "curl": curl,
    "browser": browser,
}
"""Those that ask servers."""

OFFLINE: dict[str, Engine] = {"replay": replay}
"""Those that open no socket."""


def engine(settings: Settings) -> Engine:
    """The engine that `fetch.engine` names. Raises UsageError for an unknown one."""
    return families.find(ENGINES | OFFLINE, settings.fetch.engine, "fetch.engine")
