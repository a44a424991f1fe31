"""What goes into the parsing room and what comes out of it: records without behaviour.

Owns `Page` and `Document` (a whole page in, a whole page out), `Outlink`, and what the members of the parser family
hand over: `Extract` with its `Reference`s, before links are resolved and directives weighed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from crawldb.refusals import Refused
from crawldb.settings import ParseSettings


class Page(NamedTuple):
    """An answer to be parsed."""

    url: str
    """Canonical."""
    host: str
    depth: int
    """Links from the nearest seed."""
    content: bytes
    """The body, without content coding."""
    content_type: str | None
    """The Content-Type header's value."""
    headers: list[tuple[str, str]]
    """All header fields of the answer."""
    truncated: bool
    """True: `content` is cut off."""
    base_url: str | None = None
    """Where the page's scripts had led when `content` was taken from a browser; links are relative to it."""


class Outlink(NamedTuple):
    """A link that may enter the crawldb."""

    fingerprint: bytes
    url: str
    """Canonical."""
    host: str
    anchor: str | None
    """What a reader clicks on, on one line."""
    rel: str | None
    """The rel attribute's tokens in lower case, separated by single spaces."""
    kind: str
    """link, redirect (Location) or refresh (meta refresh or the Refresh header)."""


@dataclass(slots=True)
class Document:
    """What a page says. The fields are the columns of schema.PARSED by the same names, but for `refused`."""

    parse_status: str
    """parsed, no_parser (`parse_detail` names the media type) or failed (`parse_detail` says why)."""
    parse_detail: str | None = None
    content_type: str | None = None
    charset: str | None = None
    title: str | None = None
    text: str | None = None
    language: str | None = None
    language_by: str | None = None
    description: str | None = None
    published_at: int | None = None
    """UTC milliseconds, like `modified_at`."""
    modified_at: int | None = None
    metadata: dict[str, str] | None = None
    json_ld: list[str] | None = None
    main_text: str | None = None
    canonical_url: str | None = None
    canonical: bytes | None = None
    """The fingerprint of `canonical_url`; None where that is the page's own."""
    simhash: int | None = None
    noindex: bool = False
    nofollow: bool = False
    signature: bytes | None = None
    outlinks: list[Outlink] = field(default_factory=list)
    refused: Refused = field(default_factory=Counter)
    """Distinct URLs that were left out, by their host and the reason: nofollow, max_links, or the URL filters' word."""


class Reference(NamedTuple):
    """A link as it stands in a page."""

    href: str
    anchor: str | None
    rel: str | None


@dataclass(slots=True)
class Extract:
    """What a parser finds in a page's bytes; nothing in it is resolved, filtered or believed yet."""

    charset: str | None = None
    title: str | None = None
    text: str = ""
    language: str | None = None
    base: str | None = None
    """The first <base href>, as it stands."""
    canonical: str | None = None
    description: str | None = None
    published: str | None = None
    """As it stands, like `modified`."""
    modified: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    json_ld: list[str] = field(default_factory=list)
    refresh: str | None = None
    """The content of the first meta refresh, delay included."""
    robots: list[tuple[str, str]] = field(default_factory=list)
    """(name, content) of the meta elements that can speak to robots, names in lower case."""
    references: list[Reference] = field(default_factory=list)


Parser = Callable[[bytes, "str | None", ParseSettings], Extract]
"""`parser(content, content_type, settings)`: the body, the Content-Type header's value, the limits to keep to."""
