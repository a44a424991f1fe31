"""What a fetch task works with: errands, each one request to be sent, and what it knows of each host.

Plain records. What becomes of them, `task` decides; engines read an errand and send it.
"""

from __future__ import annotations

import math
from concurrent.futures import Future

from crawldb.schema import FetchOutcome
from crawldb.settings import Settings
from crawldb.urls import origin_of
from jobs.fetching import outcomes
from jobs.fetching.contract import FetchRequest
from jobs.fetching.cookies import CookieJar
from jobs.fetching.egress import Route
from jobs.fetching.parts import PartAnswer
from jobs.fetching.replies import Reply, unwanted
from jobs.fetching.robots import Refusal, Robots


class Errand:
    """One request to be sent, and what must be known to send it."""

    __slots__ = (
        "addresses", "body", "came_from", "chain", "done", "headers", "home", "hops", "kept", "max_bytes", "method", "of_own_page", "origin",
        "page", "proxy_tries", "request", "route", "tried_again", "url",
    )  # fmt: skip

    def __init__(self, url: str, home: Host, request: FetchRequest | None, max_bytes: int) -> None:
        self.url = url
        self.home = home
        self.request = request
        """The page's; None for a robots.txt or a part of a page."""
        self.origin = origin_of(url)
        self.method = "GET"
        self.body: bytes | None = None
        self.headers: dict[str, str] = {}
        self.kept: dict[str, str] = {}
        """Of these, what may be stored: no passwords, no cookies."""
        self.max_bytes = max_bytes
        self.route: Route | None = None
        self.addresses: tuple[str, ...] = ()
        """To connect to, the best first; none where a proxy looks the name up."""
        self.page: Errand | None = None
        """Of a robots.txt: what waits for it."""
        self.hops = 0
        """Redirects that led here."""
        self.came_from: bytes | None = None
        """Fingerprint of the request whose redirect led here."""
        self.chain: frozenset[str] = frozenset()
        """URLs of the redirects that led here."""
        self.done: Future[PartAnswer | None] | None = None
        """Of a part of a page: who waits for it."""
        self.of_own_page = True
        """False for a part of another origin's page: it gets no credentials and no cookies."""
        self.tried_again = False
        self.proxy_tries = 0

    @property
    def queue(self) -> str:
        """See politeness.Queued."""
        return self.home.queue

    @property
    def address(self) -> str | None:
        """See politeness.Queued."""
        return self.home.addresses[0] if self.home.addresses else None

    @property
    def is_robots(self) -> bool:
        return self.page is not None

    @property
    def is_beside(self) -> bool:
        """True if it stands in no queue: a part of a page, or the robots.txt that one waits for."""
        return self.done is not None or (self.page is not None and self.page.done is not None)

    def wants(self, reply: Reply, settings: Settings) -> bool:
        """True if the body of this answer is wanted, by its status and header fields. May book why not in `reply`."""
        status = reply.status or 0
        if self.page is not None:
            return 200 <= status < 300
        if self.done is not None:
            return True
        if outcomes.of_status(status)[0] is not FetchOutcome.success:
            return False
        fetch = settings.fetch
        if (fetch.content_types or fetch.skip_extensions) and (
            failure := unwanted(reply, fetch.content_types, fetch.skip_extensions)
        ):
            reply.reason, reply.detail = failure
            return False
        return True


class Host:
    """What the task knows of one host."""

    __slots__ = (
        "addresses", "asked", "away", "error", "failures", "garbled", "jar", "looked_up", "lookup_tries", "name",
        "parts_from", "passing", "queue", "refused", "rules", "took", "waiting",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.queue = name
        self.addresses: tuple[str, ...] | None = None
        """None: not known yet. Empty: a proxy looks it up, or there are none (`error`)."""
        self.looked_up = math.inf
        self.took: int | None = None
        """Milliseconds of the look-up, until somebody has booked them."""
        self.lookup_tries = 0
        self.error: str | None = None
        self.passing = False
        """The error is this machine's or the name server's, not the host's."""
        self.refused: str | None = None
        """Why none of the addresses may be connected to."""
        self.waiting: list[Errand] = []
        """For the addresses."""
        self.rules: dict[str, Robots] = {}
        """By origin."""
        self.asked = False
        """True once something of it had its turn."""
        self.away: Refusal | None = None
        """Of every page, once the host has asked for a long break."""
        self.failures = 0
        """In a row."""
        self.garbled = False
        """True if it speaks HTTP that the engine's own library does not read."""
        self.jar: CookieJar | None = None
        self.parts_from = -math.inf
        """No part is asked for before: it was asked too much."""
