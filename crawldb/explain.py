"""One request in words: what `dump.py --url` says of a row, and why there may be none.

Owns finding a request by any spelling of its URL and the sentences about it. Reads one row at a time, by fingerprint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from crawldb import fingerprint, formats, hostrules, hosts, rowtext, settings, urlfilters, urls
from crawldb.errors import CobnutError, UsageError
from crawldb.segments import Segments
from crawldb.store import Snapshot, Store

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


_LOOK_BACK = 8
"""Segments that may have been in flight at once, so that the one of the last attempt is among them."""


class NotFoundError(CobnutError):
    """The crawldb has no request with this URL; the message says why that may be."""


def find(snapshot: Snapshot, url: str) -> pa.Table:
    """The row of the plain GET of `url`, all columns. NotFoundError if there is none.

    Any spelling does; without a scheme, https and then http are tried.
    """
    canonical = canonical_forms(url)
    for form in canonical:
        row = _look_up(snapshot, form)
        if row.num_rows:
            return row
    raise NotFoundError(_why_missing(snapshot, url, canonical))


def canonical_forms(url: str) -> list[str]:
    """The canonical URLs that `url`, which may lack a scheme, may stand for. NotFoundError if there are none."""
    spellings = [url] if _SCHEME.match(url) else [f"https://{url}", f"http://{url}"]
    canonical = [form for form in map(urls.canonicalize, spellings) if form is not None]
    if not canonical:
        raise NotFoundError(f"{url}: not a URL that can be crawled (http or https, with a valid host)")
    return canonical


def vertical(row: pa.Table, columns: list[str], reasons: list[str]) -> str:
    """A column a line, and then the sentences about the row."""
    width = max(map(len, [*columns, "why"])) + 2
    lines = [f"{name:<{width}}{formats.printable(rowtext.plain(row[name].combine_chunks()))[0]}" for name in columns]
    for place, reason in enumerate(reasons):
        lines.append(f"{'' if place else 'why':<{width}}{formats.printable(pa.array([reason]))[0]}")
    return "\n".join(lines) + "\n"


def reasons(snapshot: Snapshot, row: pa.Table, now: int) -> list[str]:
    """Why the request is what it is: its last fetch, when it is due and who linked to it."""
    values = {name: row[name][0].as_py() for name in ("status", "reason", "http_status", "retries", "redirect_to",
                                                      "discovered_from", "depth", "duplicate_of")}  # fmt: skip
    for name in ("fetched_at", "due_at", "modified_at", "discovered_at"):
        values[name] = row[name][0].value
    due = "Never due, as an orphan" if values["status"] == "orphan" else _due(values["due_at"], now)
    said = [f"{_status(values, now)}.", f"{due}.", f"{_origin(snapshot, values, now)}."]
    if values["duplicate_of"] is not None:
        said[0] = f"{_duplicate(snapshot, values, now)}."
    if values["reason"] is not None and (detail := _detail(snapshot, row)) is not None:
        said.insert(1, f"In full: {detail}")
    if (rule := _host_rule(snapshot, row["host"][0].as_py(), now)) is not None:
        said.insert(-1, f"Its host is left out of every round by {rule}.")
    return said


def _host_rule(snapshot: Snapshot, host: str, now: int) -> str | None:
    """The rule on hosts, as they are set now, that skips this one."""
    try:
        site = settings.load()
        store = Store(snapshot.store.crawl_dir, hosts.HOSTDB)
        rules = hostrules.load(site, store.snapshot_or_new(site.store), now, [host])
    except UsageError:
        return None  # generate will say so
    skipped = int(rules.of([host]).skipped[0])
    return None if skipped < 0 else rules.texts[skipped]


def _detail(snapshot: Snapshot, row: pa.Table) -> str | None:
    """What the content row of the last attempt says of its reason, such as the line of robots.txt; None if its segment
    is no longer there."""
    at, key = row["fetched_at"][0].value, row["fingerprint"][0]
    began = [
        segment
        for segment in Segments(snapshot.store.crawl_dir).committed()
        if segment.merged_from or segment.began <= (at or 0)
    ]
    for segment in began[: -_LOOK_BACK - 1 : -1]:
        if not segment.is_complete("content"):
            continue
        for file in segment.files("content"):
            chunk = segment.read("content", file.name, ["fingerprint", "fetched_at", "detail"])
            mine = chunk.filter(
                pc.and_(pc.equal(chunk["fingerprint"], key), pc.equal(chunk["fetched_at"].cast(pa.int64()), at))
            )
            if mine.num_rows:
                detail: str | None = mine["detail"][0].as_py()
                return detail
    return None


# -- a row that is there -----------------------------------------------------------------------------------------


def _status(row: dict[str, Any], now: int) -> str:
    answers = [str(row["http_status"])] if row["http_status"] is not None else []
    # The reason of a failure with a status code is often that code again: http_404.
    if row["reason"] is not None and row["reason"] != f"http_{row['http_status']}":
        answers.append(row["reason"])
    answer = f" ({', '.join(answers)})" if answers else ""
    if row["fetched_at"] is None:
        lost = "An orphan: no page links here any more; never fetched"
        return lost if row["status"] == "orphan" else f"Never fetched so far{answer}"
    when = f"{_ago(row['fetched_at'], now)}{answer}"
    unchanged = f"; the content is of {_ago(row['modified_at'], now)}" if row["modified_at"] is not None else ""
    target = row["redirect_to"] or "an address that cannot be crawled"
    sentences = {
        "unfetched": f"Not fetched: the last attempt failed {when}, {row['retries']} in a row"
        if row["retries"]
        else f"Not fetched: put off {when}",
        "fetched": f"Fetched {when}",
        "notmodified": f"Unchanged when it was last asked for, {when}{unchanged}",
        "redir_temp": f"Redirects for now to {target}, as of {when}",
        "redir_perm": f"Redirects for good to {target}, as of {when}",
        "gone": f"Gone: the last attempt failed {when}",
        "duplicate": f"A duplicate: another page has the same content; fetched {when}",
        "orphan": f"An orphan: no page links here any more; fetched {when}",
    }
    return sentences[row["status"]]


def _duplicate(snapshot: Snapshot, row: dict[str, Any], now: int) -> str:
    """Whose duplicate the request is, and whose that one is, if it is one: for another reason, such as its canonical
    link. That never goes in a circle."""
    said, of = "A duplicate", row["duplicate_of"]
    while of is not None:
        page = snapshot.lookup(of)
        if not page.num_rows:
            said += f" of the request {of.hex()}, which is no longer there"
            break
        said += f" of {page['url'][0].as_py()}"
        of = page["duplicate_of"][0].as_py()
        said += ", itself a duplicate" if of is not None else ""
    return said if row["fetched_at"] is None else f"{said}; fetched {_ago(row['fetched_at'], now)}"


def _due(due_at: int, now: int) -> str:
    if due_at <= now:
        return f"Due since {_span(now - due_at)}: the next generate may choose it"
    return f"Due in {_span(due_at - now)}"


def _origin(snapshot: Snapshot, row: dict[str, Any], now: int) -> str:
    when = f" {_ago(row['discovered_at'], now)}" if row["discovered_at"] is not None else ""
    if row["discovered_from"] is None:
        return f"Injected as a seed{when}"
    depth = "" if row["depth"] is None else f", {row['depth']} link{'s' if row['depth'] != 1 else ''} from a seed"
    page = snapshot.lookup(row["discovered_from"])
    name = page["url"][0].as_py() if page.num_rows else f"the page {row['discovered_from'].hex()}"
    return f"Discovered{when} on {name}{depth}"


_UNITS = (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1000))


def _span(milliseconds: int) -> str:
    """`3 days`, `2 hours`: in the largest unit of which there are two, else in the largest of which there is one."""
    for least in (2, 1):
        for unit, size in _UNITS:
            if milliseconds >= least * size:
                number = milliseconds // size
                return f"{number:,} {unit}{'s' if number != 1 else ''}"
    return "less than a second"


def _ago(time: int, now: int) -> str:
    return f"{_span(now - time)} ago" if time <= now else f"in {_span(time - now)} (by a clock ahead of this one)"


# -- a row that is not -------------------------------------------------------------------------------------------


def _look_up(snapshot: Snapshot, canonical: str) -> pa.Table:
    return snapshot.lookup(fingerprint.url_fingerprint(canonical))


def _why_missing(snapshot: Snapshot, url: str, canonical: list[str]) -> str:
    forms = " or ".join(canonical)
    found = f"{url}: not in the crawldb" + (f" (its canonical form is {forms})" if forms != url else "")
    near = next((form for form in _alike(canonical) if _look_up(snapshot, form).num_rows), None)
    if near:
        return f"{found}; but {near} is"
    return f"{found}; {_refusal(canonical[0])}"


def _alike(canonical: list[str]) -> Iterator[str]:
    """URLs that people mix up with these: the other scheme, with or without www. or the last slash."""
    for form in canonical:
        scheme, _, rest = form.partition("://")
        other = "http" if scheme == "https" else "https"
        bare = rest[4:] if rest.startswith("www.") else f"www.{rest}"
        slash = rest[:-1] if rest.endswith("/") else f"{rest}/"
        for spelling in (f"{other}://{rest}", f"{scheme}://{slash}", f"{scheme}://{bare}", f"{other}://{bare}"):
            variant = urls.canonicalize(spelling)
            if variant is not None and variant not in canonical:
                yield variant


def _refusal(canonical: str) -> str:
    """What the URL filters, as they are set now, say of the URL."""
    host = urls.host_of(canonical)
    try:
        site = settings.load()
        refuse = urlfilters.build(site)
    except UsageError as error:
        return f"whether a filter refuses it is unknown: {error}"
    if reason := refuse(urlfilters.Link(canonical, host, None, 0)):
        return f"the URL filters refuse it: {reason}"
    if reason := refuse(urlfilters.Link(canonical, host, host, 1)):  # even from its own site
        return f"no seed names it, and the URL filters refuse links to it: {reason}"
    if "scope" in site.filter.use and site.filter.scope != "any":
        return f"no seed names it, and filter.scope = {site.filter.scope} refuses links from elsewhere"
    return "the URL filters let it pass, so no seed names it and no page parsed so far links to it"
