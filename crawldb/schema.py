"""Every column of every dataset: its name, Arrow type, unit, meaning and an example.

Owns the vocabulary (`Status`, `FetchOutcome`) and the schemas of the crawldb's state and deltas, of the host store,
of the link store and of a segment's datasets. Does not read or write anything: `shards` does.

Times are UTC milliseconds. A null `method` means a plain GET without body; that is nearly every request, so
`method`, `headers` and `body` cost nothing on disk for them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

SCHEMA_VERSION = 1
"""Stored in every file and log entry; a newer one is refused instead of misread.

A new nullable column does not raise it: who does not know the column ignores it, and in files that came before it, it
is read as null.
"""

FINGERPRINT = pa.binary(20)
SIGNATURE = pa.binary(16)
TIME = pa.timestamp("ms", tz="UTC")
NAME = pa.dictionary(pa.int32(), pa.string())
"""A string column of few distinct values: dictionary-encoded in memory, a plain string to other readers."""
METADATA = pa.map_(pa.string(), pa.string())
HEADERS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))


class Status(enum.IntEnum):
    """What the crawldb holds of a request. Nutch's db_* statuses (CrawlDatum.java), by the same names."""

    unfetched = 0
    fetched = 1
    redir_temp = 2
    redir_perm = 3
    gone = 4
    notmodified = 5
    duplicate = 6
    orphan = 7


class FetchOutcome(enum.IntEnum):
    """What one attempt to fetch a request came to. Nutch's fetch_* statuses, and `postponed`."""

    success = 0
    redir_temp = 1
    redir_perm = 2
    gone = 3
    notmodified = 4
    retry = 5
    """A failure that may pass: counted in `retries`, due again after a back-off."""
    postponed = 6
    """Not the page's failure (its host's robots.txt is unreachable): due again later, not counted."""


STATUS_NAMES = pa.array([status.name for status in Status], pa.string())
OUTCOME_NAMES = pa.array([outcome.name for outcome in FetchOutcome], pa.string())


@dataclass(frozen=True)
class Column:
    """One column: `example` is what `dump.py` shows for it in jsonl."""

    name: str
    type: pa.DataType
    description: str
    example: Any
    unit: str | None = None
    nullable: bool = True


_REQUEST = (
    Column("fingerprint", FINGERPRINT, "SHA-1 of the canonical request, the key of everything (Scrapy's)",
           "6dcd4ce23d88e2ee9568ba546c007c63d9131c1b", nullable=False),
    Column("url", pa.string(), "The canonical URL", "https://example.com/a?b=1", nullable=False),
    Column("method", NAME, "The HTTP method; null is GET", None),
    Column("headers", METADATA, "Request headers of this request alone, from its seed", None),
    Column("body", pa.binary(), "The request's body; null is none", None),
    Column("host", NAME, "The URL's host, without port", "example.com", nullable=False),
)  # fmt: skip

_LINEAGE = (
    Column("score", pa.float32(), "How much the request matters: the larger, the sooner it is fetched", 0.25),
    Column("depth", pa.int16(), "Links from the nearest seed; a seed has 0", 2, unit="links"),
    Column("priority", pa.int32(), "From the seed, inherited by what it leads to; orders `priority`", 0),
    Column("metadata", METADATA, "From the seed; the keys in metadata.inherit pass to outlinks",
           {"collection": "news"}),
)  # fmt: skip

_ANSWER = (
    Column("http_status", pa.int16(), "Status code of the last answer; null when there was none", 200),
    Column("reason", NAME, "Why, in one word, when it is not plain success", "http_404"),
    Column("fetched_at", TIME, "When the last attempt was made", "2026-11-24T10:15:00.000Z"),
    Column("etag", pa.string(), "The server's ETag, as it was sent", '"abc"'),
    Column("last_modified", pa.string(), "The server's Last-Modified, as it was sent",
           "Tue, 24 Nov 2026 10:00:00 GMT"),
    Column("redirect_to", pa.string(), "Where the last answer pointed, canonical", "https://example.com/b"),
)  # fmt: skip

_OF_CONTENT = (
    Column("content_type", NAME, "The media type of the last content, as the parser was chosen by", "text/html"),
    Column("canonical", FINGERPRINT, "The request that the page names as its canonical one; null: none, or itself", None),
    Column("simhash", pa.uint64(), "Fingerprint of the text for near-duplicates (parse.simhash); null: not computed",
           None),
)  # fmt: skip

_LISTED = (
    Column("lastmod", TIME, "When it was last modified, as a sitemap says", "2026-11-20T00:00:00.000Z"),
    Column("changefreq", NAME, "How often it changes, as a sitemap says: always, hourly, …, never", "weekly"),
    Column("sitemap_priority", pa.float32(), "Its priority in a sitemap, 0 to 1", 0.5),
)  # fmt: skip

_LINKED_AT = Column("linked_at", TIME, "When a link to it was last seen; kept only with schedule.orphan_after",
                    "2026-11-24T10:15:00.000Z")  # fmt: skip
_DUPLICATE_OF = Column("duplicate_of", FINGERPRINT, "The request that stands for it, of status duplicate", None)

_SIGNATURE = Column("signature", SIGNATURE, "Digest of the content (rendered where it is), to see changes and duplicates",
                    "9e107d9d372bb6826bd81d3542a419d6")  # fmt: skip
_DISCOVERED = (
    Column("discovered_at", TIME, "When the request entered the crawldb", "2026-11-24T10:15:00.000Z"),
    Column("discovered_from", FINGERPRINT, "The page that first linked here; null for a seed",
           "6dcd4ce23d88e2ee9568ba546c007c63d9131c1b"),
)  # fmt: skip

STATE_COLUMNS = (
    *_REQUEST,
    Column("status", NAME, "unfetched, fetched, redir_temp, redir_perm, gone, notmodified, duplicate or orphan",
           "fetched", nullable=False),
    *_ANSWER,
    Column("due_at", TIME, "When it may be fetched (again)", "2026-12-24T10:15:00.000Z", nullable=False),
    Column("modified_at", TIME, "When a fetch last saw the content changed", "2026-11-24T10:15:00.000Z"),
    Column("interval", pa.int32(), "From one fetch to the next", 2592000, unit="seconds", nullable=False),
    Column("interval_fixed", pa.bool_(), "True: schedules leave `interval` alone (from the seed)", None),
    Column("retries", pa.int8(), "Failed attempts since the last success", 0, nullable=False),
    *_LINEAGE,
    _SIGNATURE,
    *_OF_CONTENT,
    _DUPLICATE_OF,
    *_LISTED,
    *_DISCOVERED,
    _LINKED_AT,
)  # fmt: skip

DELTA_COLUMNS = (
    *_REQUEST,
    Column("outcome", NAME, "What the fetch came to (FetchOutcome); null: it was not fetched", "success"),
    *_ANSWER,
    Column("retry_after", TIME, "The server asked not to be asked again before (Retry-After)", None),
    _SIGNATURE,
    Column("injected", pa.bool_(), "True: a seed named it in this commit", None),
    Column("update", pa.bool_(), "True: the seed's score, interval, priority and metadata replace the old", None),
    Column("interval", pa.int32(), "The seed's fetch interval", None, unit="seconds"),
    Column("interval_fixed", pa.bool_(), "The seed asked for exactly this interval", None),
    Column("inlinks", pa.int32(), "Links to it in this commit", 3),
    Column("inlink_score", pa.float64(), "What those links passed on, in all (multiples of 2^-32, so that sums "
           "do not depend on their order)", 0.125),
    *_LINEAGE,
    *_DISCOVERED,
    *_OF_CONTENT,
    _LINKED_AT,
    Column("listed", pa.bool_(), "True: a sitemap listed it in this commit", None),
    *_LISTED,
    Column("mark", NAME, "The status that a command gives it: duplicate, fetched (no longer duplicate), orphan or gone",
           None),
    _DUPLICATE_OF,
    Column("new_score", pa.float32(), "The score that a command computed, instead of the old one", None),
)  # fmt: skip

FETCHLIST_COLUMNS = (
    *_REQUEST,
    Column("etag", pa.string(), "For If-None-Match", '"abc"'),
    Column("last_modified", pa.string(), "For If-Modified-Since", "Tue, 24 Nov 2026 10:00:00 GMT"),
    *_LINEAGE,
)  # fmt: skip

CONTENT_COLUMNS = (
    *_REQUEST,
    *_LINEAGE,
    Column("outcome", NAME, "What the fetch came to (FetchOutcome)", "success", nullable=False),
    *_ANSWER,
    Column("retry_after", TIME, "The server asked not to be asked again before (Retry-After)", None),
    Column("detail", pa.string(), "More about the reason: the error's text, the robots.txt rule", None),
    Column("elapsed", pa.int32(), "From the request's start to the body's last byte", 35, unit="ms"),
    Column("dns_time", pa.int32(), "Before that: to look up the host's addresses; null: they were known, or it was for robots.txt", 2, unit="ms"),
    Column("connect_time", pa.int32(), "Of `elapsed`: to connect; null: on a kept connection", 8, unit="ms"),
    Column("tls_time", pa.int32(), "Of `elapsed`: the TLS handshake; null: there was none", 12, unit="ms"),
    Column("first_byte_time", pa.int32(), "From sending the request to the answer's first byte", 20, unit="ms"),
    Column("protocol", NAME, "http/1.0, http/1.1 or h2, as the server answered", "http/1.1"),
    Column("tls", NAME, "verified or unverified (fetch.verify_tls); null: no TLS", "verified"),
    Column("ip_address", NAME, "The address that was connected to", "192.0.2.1"),
    Column("response_headers", HEADERS, "The answer's header fields, in order, as sent",
           [{"name": "Content-Type", "value": "text/html"}]),
    Column("request_headers", HEADERS, "The request's header fields, in order, without passwords and cookies; kept with "
           "fetch.store_request", None),
    Column("content", pa.binary(), "The answer's body, content-encoding removed", b"<html>..."),
    Column("content_bytes", pa.int32(), "Length of `content`, for who does not read it", 30_000, unit="bytes"),
    Column("truncated", NAME, "Why the content is cut off (bytes, seconds, broken); null: it is whole", None),
    Column("rendered", pa.binary(), "The DOM after the page's scripts ran, as HTML in UTF-8; null: not rendered", None),
    Column("discovered_from", FINGERPRINT, "The request whose redirect was followed to this one; null for a request of "
           "the fetchlist", None),
    Column("rendered_url", pa.string(), "Where the page's scripts had led by then", None),
)  # fmt: skip

OUTLINK = pa.struct([
    ("fingerprint", FINGERPRINT), ("url", pa.string()), ("host", pa.string()), ("anchor", pa.string()),
    ("rel", pa.string()), ("kind", pa.string()),
])  # fmt: skip

PARSED_COLUMNS = (
    Column("fingerprint", FINGERPRINT, "The request; rows stand in the order of the content chunk", "6dcd4c…",
           nullable=False),
    Column("parse_status", NAME, "parsed, no_parser, failed; null: there was nothing to parse", "parsed"),
    Column("parse_detail", pa.string(), "Why it was not parsed", None),
    Column("content_type", NAME, "The media type the parser was chosen by", "text/html"),
    Column("charset", NAME, "The encoding the text was decoded from", "utf-8"),
    Column("title", pa.string(), "The document's title", "Example"),
    Column("text", pa.string(), "The visible text, blocks on lines of their own", "Example Domain\nThis domain…"),
    Column("language", NAME, "As the document declares it, else as its text was detected to be", "en"),
    Column("language_by", NAME, "declared or detected", "declared"),
    Column("description", pa.string(), "What the document says it is about", "An example domain"),
    Column("published_at", TIME, "When it was published, as it declares", None),
    Column("modified_at", TIME, "When it was last modified, as it declares", None),
    Column("metadata", METADATA, "Its meta elements and Open Graph properties, or a file format's own, by name",
           {"og:type": "article"}),
    Column("json_ld", pa.list_(pa.string()), "Its JSON-LD blocks, as they stand", None),
    Column("main_text", pa.string(), "The text without navigation and the like (parse.main_text)", None),
    Column("canonical_url", pa.string(), "rel=canonical, made absolute and canonical", None),
    Column("noindex", pa.bool_(), "True: robots meta or X-Robots-Tag says noindex", None),
    Column("nofollow", pa.bool_(), "True: robots meta or X-Robots-Tag says nofollow", None),
    _SIGNATURE,
    *(column for column in _OF_CONTENT if column.name != "content_type"),
    Column("refused", pa.int32(), "Links that filters, limits or nofollow left out", 2),
    Column("outlinks", pa.list_(OUTLINK), "Links that passed; kind is link, redirect or refresh", []),
)  # fmt: skip


ORIGIN = pa.struct([
    ("origin", pa.string()), ("fetched_at", TIME), ("status", pa.int16()), ("failing_since", TIME),
    ("sitemaps", pa.list_(pa.string())),
])  # fmt: skip
"""What is known of one origin's robots.txt; the fields are those of LEARNED_COLUMNS by the same names."""

LATENCY_BUCKETS = 16

_NAME = Column("host", pa.string(), "The host, without port", "example.com", nullable=False)

HOST_COLUMNS = (
    Column("fingerprint", FINGERPRINT, "SHA-1 of the host's name, the key of the host store",
           "0caaf24ab1a0c33440c06afe99df986365b0781f", nullable=False),
    _NAME,
    Column("robots", pa.list_(ORIGIN), "What was last learned of the robots.txt of each of its origins", []),
    Column("robots_at", TIME, "When one of them could last be read", "2026-11-24T10:15:00.000Z"),
    Column("crawl_delay", pa.float32(), "What that one asked for; null: nothing", 2.0, unit="seconds"),
    Column("rank", pa.float64(), "Its share of the rank of all hosts (linkrank); null: not ranked", 0.001),
    Column("ranked_at", TIME, "When linkrank computed that", None),
    Column("requests", pa.int64(), "Its requests that came to an outcome, in all rounds", 120, nullable=False),
    *(Column(outcome.name, pa.int64(), f"Of them: outcome {outcome.name}", 100 if not outcome else 2, nullable=False)
      for outcome in FetchOutcome),
    Column("reasons", pa.map_(pa.string(), pa.int64()), "Of them: by reason", {"http_404": 2}),
    Column("bytes", pa.int64(), "Content it sent, in all rounds", 3_600_000, unit="bytes", nullable=False),
    Column("latency", pa.list_(pa.int32(), LATENCY_BUCKETS), "How many of its answers took 2^i up to 2^(i+1) ms, by i "
           "(the first: less than 2 ms; the last: 2^15 ms and more), in the last round that had any",
           [0, 0, 0, 0, 3, 40, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0], nullable=False),
    Column("measured_at", TIME, "When that round began; null: it never answered", "2026-11-24T10:00:00.000Z"),
    Column("answered_at", TIME, "When it was last asked something that it answered", "2026-11-24T10:15:00.000Z"),
    Column("worked_at", TIME, "When it was last asked something that it answered with neither 5xx nor 429",
           "2026-11-24T10:15:00.000Z"),
    Column("failed_at", TIME, "When it was last asked something, its robots.txt maybe, that it answered with 5xx or 429 "
           "or not at all", None),
    Column("statuses", pa.map_(pa.string(), pa.int64()), "Its requests in the crawldb by status, as of `counted_at`",
           {"fetched": 100, "unfetched": 20}),
    Column("counted_at", TIME, "When domainstats counted them; null: never", None),
    Column("first_seen", TIME, "When it was first asked", "2026-11-01T08:00:00.000Z"),
    Column("last_seen", TIME, "When it was last asked", "2026-11-24T10:15:00.000Z"),
)  # fmt: skip

HOSTLIST_COLUMNS = (
    Column("fingerprint", FINGERPRINT, "SHA-1 of the origin, the key of the cache of robots.txt files",
           "8e7c1a9cd2f1a0b0a3cbb4a1e4cf3bb0b6ed1b7a", nullable=False),
    _NAME,
    Column("origin", pa.string(), "Scheme, host and port that the robots.txt holds for", "https://example.com",
           nullable=False),
    Column("url", pa.string(), "Where it was found, redirects followed", "https://example.com/robots.txt"),
    Column("fetched_at", TIME, "When it was last asked for", "2026-11-24T10:15:00.000Z", nullable=False),
    Column("status", pa.int16(), "Status code of the last answer; null: there was none", 200),
    Column("body", pa.large_binary(), "The file, of a 2xx answer", b"User-agent: *"),
    Column("truncated", pa.bool_(), "True: the file is longer", False),
    Column("failing_since", TIME, "When the attempts in a row began that ended with 5xx, 429 or no answer; null: it "
           "does not fail", None),
)  # fmt: skip
"""One robots.txt: a row of the cache, and of what a fetch task is told of its hosts."""

LEARNED_COLUMNS = (
    *HOSTLIST_COLUMNS,
    Column("sitemaps", pa.list_(pa.string()), "The sitemaps it names, as they stand there",
           ["https://example.com/sitemap.xml"]),
    Column("crawl_delay", pa.float32(), "What it asks of us", 2.0, unit="seconds"),
)  # fmt: skip
"""The same as a fetch task learned it, with what it says of more than paths."""


LINK_COLUMNS = (
    Column("fingerprint", FINGERPRINT, "The first 10 bytes of the target's fingerprint, then the first 10 of the "
           "source's: the links to one target stand together", "6dcd4ce23d88e2ee95680caaf24ab1a0c33440c0",
           nullable=False),
    Column("target", FINGERPRINT, "The request that is linked to", "6dcd4ce23d88e2ee9568ba546c007c63d9131c1b",
           nullable=False),
    Column("source", FINGERPRINT, "The page that links", "0caaf24ab1a0c33440c06afe99df986365b0781f", nullable=False),
    Column("host", NAME, "The target's host, without port", "example.com", nullable=False),
    Column("anchor", pa.string(), "The link's text, cut at linkdb.max_anchor", "About us"),
    Column("rel", NAME, "The link's rel attribute", "noopener"),
    Column("kind", NAME, "link, redirect or refresh", "link"),
    Column("seen_at", TIME, "When the source was fetched with it; another one fetched later without it ends it",
           "2026-11-24T10:15:00.000Z", nullable=False),
)  # fmt: skip
"""The link store: one link of a page to another."""

SOURCE_COLUMNS = (
    Column("fingerprint", FINGERPRINT, "The page", "0caaf24ab1a0c33440c06afe99df986365b0781f", nullable=False),
    Column("url", pa.string(), "Its canonical URL; null for a page without links", "https://example.com/"),
    Column("host", NAME, "Its host, without port; null for a page without links", "example.com"),
    Column("links", pa.int32(), "The links that it had", 12, nullable=False),
    Column("parsed_at", TIME, "When it was fetched with these: a link of it that was seen earlier is no more",
           "2026-11-24T10:15:00.000Z", nullable=False),
    Column("segment", NAME, "The segment whose parsed pages have them, …", "20261124T101500Z"),
    Column("file", NAME, "… and the file there", "part-00000-0003-0caaf24ab1a0.parquet"),
)  # fmt: skip
"""What is known of each page whose links the link store has, or had."""

_SITEMAP = (
    Column("fingerprint", FINGERPRINT, "Of the plain GET of its URL, the key of the sitemap store",
           "a9993e364706816aba3e25717850c26c9cd0d89d", nullable=False),
    Column("url", pa.string(), "The canonical URL it was asked for by", "https://example.com/sitemap.xml",
           nullable=False),
    Column("host", NAME, "The URL's host, without port", "example.com", nullable=False),
)  # fmt: skip

SITEMAP_COLUMNS = (
    *_SITEMAP,
    Column("read_at", TIME, "When it was last asked for", "2026-11-24T10:15:00.000Z", nullable=False),
    Column("http_status", pa.int16(), "Status code of the answer; null when there was none", 200),
    Column("reason", NAME, "Why it was not, or not wholly, read (bad_xml, robots_denied, …); null: it was", None),
    Column("detail", pa.string(), "More about the reason: the place of the error, where it redirects to", None),
    Column("format", NAME, "urlset, index, rss, atom or text; null: it was not read", "urlset"),
    Column("bytes", pa.int64(), "That were read, gzip undone", 30_000, unit="bytes"),
    Column("entries", pa.int64(), "URLs, or of an index sitemaps, that it names", 1200),
    Column("listed", pa.int64(), "Of them: that entered the crawldb, or were asked for", 1190),
    Column("left_out", pa.map_(pa.string(), pa.int64()), "The others, by reason; and values passed over (bad_lastmod, …)",
           {"out_of_scope": 10}),
    Column("index", FINGERPRINT, "The index that names it; null: robots.txt or a list does", None),
    Column("etag", pa.string(), "The server's ETag, of a sitemap that was wholly read", '"abc"'),
    Column("last_modified", pa.string(), "Its Last-Modified, likewise", "Tue, 24 Nov 2026 10:00:00 GMT"),
)  # fmt: skip

SITEMAPLIST_COLUMNS = (
    *_SITEMAP,
    Column("authority", pa.string(), "A host (with port, if not the scheme's own) whose robots.txt names it, or the "
           "index that leads to it; null: none", "example.com"),
    Column("hops", pa.int8(), "Redirects that led there", 0, nullable=False),
    Column("index", FINGERPRINT, "The index that names it", None),
)  # fmt: skip
"""What one task of the sitemaps job is to read: a row for each authority of a sitemap."""


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The Arrow schema of a dataset, its descriptions and units in the fields' metadata."""
    return pa.schema([
        pa.field(column.name, column.type, column.nullable,
                 {"description": column.description, **({"unit": column.unit} if column.unit else {})})
        for column in columns
    ])  # fmt: skip


STATE = arrow_schema(STATE_COLUMNS)
DELTA = arrow_schema(DELTA_COLUMNS)
FETCHLIST = arrow_schema(FETCHLIST_COLUMNS)
CONTENT = arrow_schema(CONTENT_COLUMNS)
PARSED = arrow_schema(PARSED_COLUMNS)
HOST = arrow_schema(HOST_COLUMNS)
HOSTLIST = arrow_schema(HOSTLIST_COLUMNS)
LINK = arrow_schema(LINK_COLUMNS)
SOURCE = arrow_schema(SOURCE_COLUMNS)
LEARNED = arrow_schema(LEARNED_COLUMNS)
SITEMAP = arrow_schema(SITEMAP_COLUMNS)
SITEMAPLIST = arrow_schema(SITEMAPLIST_COLUMNS)


def codes(column: pa.ChunkedArray | pa.Array, names: pa.StringArray) -> np.ndarray[Any, np.dtype[np.int8]]:
    """Each value's position in `names` as int8, null as -1, of a NAME column of any dictionary."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    position = {name: place for place, name in enumerate(names.to_pylist())}
    parts = []
    for chunk in chunks:
        to_code = np.array([position[name] for name in chunk.dictionary.to_pylist()] + [-1], np.int8)
        parts.append(to_code[chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False)])
    return np.concatenate(parts) if parts else np.empty(0, np.int8)


def from_codes(values: np.ndarray[Any, np.dtype[np.int8]], names: pa.StringArray) -> pa.DictionaryArray:
    """The inverse of `codes`: a NAME column whose dictionary is `names`; -1 becomes null."""
    return pa.DictionaryArray.from_arrays(pa.array(values.astype(np.int32), mask=values < 0), names)
