"""What an HTML page says of itself in meta elements, time elements and JSON-LD, as it stands.

Owns which names count: description, the dates in their order of trust, what goes into the metadata map, and how much of
it all is kept. Does not know where in the page it stood (`reader`), and believes nothing: `page_parser` reads the dates.
"""

from __future__ import annotations

import json
from typing import Any

from jobs.parsing.contract import Extract
from jobs.parsing.dates import utc_ms
from jobs.parsing.whitespace import one_line

MAX_DESCRIPTION = 2000
"""Characters kept of a description."""
MAX_ENTRIES = 100
"""Names kept in the metadata map."""
MAX_NAME = 100
"""Characters of the longest name that is kept in it."""
MAX_VALUE = 1000
"""Characters kept of a value in it."""
MAX_JSON_LD_BLOCKS = 20
"""JSON-LD blocks kept."""

_DESCRIPTIONS = ("description", "og:description", "twitter:description", "dc.description", "dcterms.description")

_PUBLISHED = ("article:published_time", "og:article:published_time", "json-ld", "itemprop", "pubdate", "dcterms.issued",
              "dc.date.issued", "dcterms.created", "dc.date.created", "citation_publication_date", "dcterms.date",
              "dc.date", "date", "publishdate", "publish-date", "publication_date", "parsely-pub-date",
              "sailthru.date", "article.published", "published")  # fmt: skip
"""Where a date of publication may stand, the most trusted first. Names without a separator are elements' or JSON-LD's."""
_MODIFIED = ("article:modified_time", "og:article:modified_time", "og:updated_time", "json-ld", "itemprop",
             "dcterms.modified", "dc.date.modified", "article.updated", "last-modified", "last_modified", "revised")  # fmt: skip

# How to show the page, and tokens for its scripts, which differ at every visit
_NOT_KEPT = frozenset({"viewport", "csrf-token", "csrf-param", "format-detection", "theme-color", "color-scheme",
                       "referrer", "handheldfriendly", "mobileoptimized"})  # fmt: skip


class Metadata:
    """Of one page."""

    def __init__(self, max_json_ld: int) -> None:
        self._max_json_ld = max_json_ld
        self._entries: dict[str, str] = {}
        self._descriptions: dict[str, str] = {}
        self._published: dict[str, str] = {}
        self._modified: dict[str, str] = {}
        self._json_ld: list[str] = []
        self._json_ld_size = 0

    def meta(self, name: str, content: str) -> None:
        """A meta element's name or property, lower case, and its content; the first of a name counts."""
        value = one_line(content, MAX_DESCRIPTION if name in _DESCRIPTIONS else MAX_VALUE)
        if not value or not name or len(name) > MAX_NAME:
            return
        self._note_date(name, value)
        if name in _DESCRIPTIONS:
            self._descriptions.setdefault(name, value)
        if (
            name != "description"
            and name not in _NOT_KEPT
            and not name.startswith("msapplication-")
            and len(self._entries) < MAX_ENTRIES
        ):
            self._entries.setdefault(name, value[:MAX_VALUE])

    def item(self, properties: str, value: str) -> None:
        """Microdata: an element's itemprop and its value."""
        for word in properties.lower().split():
            if word == "datepublished":
                self._published.setdefault("itemprop", value)
            elif word == "datemodified":
                self._modified.setdefault("itemprop", value)

    def publication(self, value: str) -> None:
        """What `<time pubdate>` says."""
        self._published.setdefault("pubdate", value)

    def json_ld(self, block: str) -> None:
        """The content of a JSON-LD script; kept whole or not at all."""
        block = block.strip()
        if not block or len(self._json_ld) >= MAX_JSON_LD_BLOCKS or self._json_ld_size + len(block) > self._max_json_ld:
            return
        self._json_ld.append(block)
        self._json_ld_size += len(block)

    def finish(self, extract: Extract) -> None:
        """Hand over what was found."""
        for block in self._json_ld:
            if '"date' in block:
                self._dates_of(block)
        extract.description = next(
            (self._descriptions[name] for name in _DESCRIPTIONS if name in self._descriptions), None
        )
        extract.published = _first_date(self._published, _PUBLISHED)
        extract.modified = _first_date(self._modified, _MODIFIED)
        extract.metadata = self._entries
        extract.json_ld = self._json_ld

    def _note_date(self, name: str, value: str) -> None:
        if name in _PUBLISHED:
            self._published.setdefault(name, value)
        if name in _MODIFIED:
            self._modified.setdefault(name, value)

    def _dates_of(self, block: str) -> None:
        """The dates of the block's own nodes; those of what they contain (comments, related articles) are not the page's."""
        try:
            parsed: Any = json.loads(block, strict=False)
        except (ValueError, RecursionError):
            return
        nodes = parsed if isinstance(parsed, list) else [parsed]
        for node in nodes:
            graph = node.get("@graph") if isinstance(node, dict) else None
            for one in [node, *(graph if isinstance(graph, list) else [])]:
                if isinstance(one, dict):
                    self._note_dates_of(one)

    def _note_dates_of(self, node: dict[str, Any]) -> None:
        published, modified = node.get("datePublished"), node.get("dateModified")
        if isinstance(published, str):
            self._published.setdefault("json-ld", published)
        if isinstance(modified, str):
            self._modified.setdefault("json-ld", modified)


def _first_date(found: dict[str, str], order: tuple[str, ...]) -> str | None:
    """The most trusted of those that can be read."""
    if not found:
        return None
    return next((found[name] for name in order if name in found and utc_ms(found[name]) is not None), None)
