"""The family of fetch engines: who speaks HTTP.

To add one, write a function of the type `contract.Engine` and a line in `ENGINES`; the contract test in
tests/jobs/fetching then runs over it.
"""

from __future__ import annotations

from crawldb import families
from crawldb.settings import Settings
from jobs.fetching.contract import Engine
from jobs.fetching.requests_engine import fetch

ENGINES: dict[str, Engine] = {
    "requests": fetch,
}


def engine(settings: Settings) -> Engine:
    """The engine that `fetch.engine` names. Raises UsageError for an unknown one."""
    return families.find(ENGINES, settings.fetch.engine, "fetch.engine")
