"""The state machine: `apply(state, delta, policy) -> state`, the only place where a status changes.

Pure and vectorised over columns. Owns what becomes of a request when a seed names it, a page links to it or a
fetch came to an outcome; the times come from the delta's own rows and the settings from the delta's log entry, so
that it does not matter when or by whom the result is read. Reads and writes nothing: `store` does.

What becomes of the status (Nutch's CrawlDbReducer; an outcome acts the same whatever the old status was):

    outcome        new status                               due again
    success        fetched, or notmodified if the           as the schedule says
                   signature is the old one
    notmodified    notmodified                              as the schedule says
    redir_temp     redir_temp                               as the schedule says
    redir_perm     redir_perm                               as the schedule says
    gone           gone                                     interval × gone_factor, at most 0.9 max_interval;
                                                            a seed's fixed interval as it is
    retry          unfetched, retries + 1;                  retry_delay × retry_backoff^retries, not before Retry-After;
                   gone once max_retries is reached         then as gone
    postponed      unchanged                                retry_delay, not before Retry-After
    (link only)    unchanged; unfetched if new              unchanged; at once if new
    (seed)         unchanged; unfetched if new              unchanged; at once if new
    (sitemap)      unchanged; unfetched if new              at once if it was modified since the last fetch
    (mark)         the mark: duplicate, fetched, …          unchanged

An orphan that a link, a sitemap or a seed names again is fetched if content of it was ever seen, else unfetched. What
makes a request an orphan is time alone: `age`, at compaction. A mark or a score for a request that is not there is
nothing.

Whatever was fetched is due again after max_interval at the latest: Nutch's generate takes what is due later than that
for due now, and so does ours. Where Nutch makes a page with a longer interval unfetched (forceRefetch), only its
interval and due time are brought back: that it was fetched stays true.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crawldb import schema, shards
from crawldb.families import find
from crawldb.schedules import SCHEDULES, Answered, Names, host_bounds
from crawldb.schema import FetchOutcome, Status
from crawldb.scoring import SCORES
from crawldb.settings import Policy, ScheduleSettings, StoreSettings

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

DECIDING = (
    "fingerprint", "status", "due_at", "fetched_at", "modified_at", "interval", "interval_fixed", "retries", "score",
    "depth", "signature", "content_type", "changefreq",
)  # fmt: skip
"""The state's columns that `apply` looks at. It computes these and whatever other columns the state it is given has."""

_FROM_BIRTH = ("url", "method", "headers", "body", "host", "discovered_from")
_FROM_SEED = ("priority", "metadata")
_FROM_FETCH = ("http_status", "reason", "redirect_to")
_VALIDATORS = ("etag", "last_modified")
_FROM_CONTENT = ("canonical", "simhash")
_FROM_SITEMAP = ("lastmod", "sitemap_priority")


def needed_of_delta(columns: Sequence[str]) -> list[str]:
    """The delta's columns that `apply` needs to compute these columns of the state."""
    optional = {
        *(name for name in _FROM_BIRTH if name != "host"), *_FROM_SEED, *_FROM_FETCH, *_VALIDATORS, *_FROM_CONTENT, "sitemap_priority", "duplicate_of",
        "linked_at",
    }  # fmt: skip
    return [name for name in schema.DELTA.names if name in columns or name not in optional]


def apply(state: pa.Table, delta: pa.Table, policy: Policy) -> pa.Table:
    """The state after what one commit learned.

    `state` has (at least) the DECIDING columns of schema.STATE, `delta` those that `needed_of_delta` names; both are
    sorted by fingerprint, each fingerprint once. So is the result, with the columns of `state`.
    """
    place, known = shards.match(shards.key_bytes(state["fingerprint"]), shards.key_bytes(delta["fingerprint"]))
    if not known.all() and (nothing := ~known & ~_brings(delta)).any():  # a mark of what is no longer there
        delta, place, known = delta.filter(pa.array(~nothing)), place[~nothing], known[~nothing]
    before = state.take(pa.array(place, mask=~known))
    return _splice(state, place, known, _transition(before, known, delta, policy))


def apply_all(state: pa.Table, deltas: Iterable[tuple[pa.Table, Policy]]) -> pa.Table:
    """`apply` for several deltas in their order, moving the rows that none of them touches only once."""
    deltas = [(delta, policy) for delta, policy in deltas if delta.num_rows]
    if len(deltas) < 2:
        return apply(state, *deltas[0]) if deltas else state
    names = pa.chunked_array([chunk for delta, _ in deltas for chunk in delta["fingerprint"].chunks])
    keys = shards.key_bytes(names)
    keys = keys[shards.sort_order(keys)]
    keys = keys[np.concatenate([[True], (keys[1:] != keys[:-1]).any(axis=1)])]
    place, known = shards.match(shards.key_bytes(state["fingerprint"]), keys)
    touched = state.take(pa.array(place[known]))
    for delta, policy in deltas:
        touched = apply(touched, delta, policy)
    if touched.num_rows < len(keys):
        place, known = shards.match(shards.key_bytes(state["fingerprint"]), shards.key_bytes(touched["fingerprint"]))
    return _splice(state, place, known, touched)


def _brings(delta: pa.Table) -> Bools:
    """Rows that make a request which is not there yet: of a fetch, a seed, a link or a sitemap. Marks and scores don't."""
    linked = _ints(delta["inlinks"], 0) > 0
    return ~_nulls(delta["outcome"]) | _bools(delta["injected"]) | _bools(delta["listed"]) | linked


def _splice(state: pa.Table, place: Ints, known: Bools, rows: pa.Table) -> pa.Table:
    """`state` with `rows` at `place`: instead of the row there where `known`, before it elsewhere."""
    if not state.num_rows:
        return rows
    source = np.arange(state.num_rows)
    own = np.arange(len(place)) + state.num_rows
    source[place[known]] = own[known]
    source = np.insert(source, place[~known], own[~known])
    return pa.concat_tables([state, rows]).unify_dictionaries().take(pa.array(source))


def _transition(old: pa.Table, known: Bools, delta: pa.Table, policy: Policy) -> pa.Table:
    """The new rows for the delta's requests; `old` stands row by row beside it, null where a request is new."""
    schedule = policy.schedule
    outcome = schema.codes(delta["outcome"], schema.OUTCOME_NAMES)
    seeded = _bools(delta["injected"])
    # A seed speaks for a new request, and for a known one only when it was injected with --update.
    heard = seeded & (_bools(delta["update"]) | ~known)

    linked, listed = _ints(delta["inlinks"], 0) > 0, _bools(delta["listed"])
    bounds = host_bounds(delta["host"], schedule)

    modified_before = _ints(old["modified_at"], 0)
    status = np.where(known, schema.codes(old["status"], schema.STATUS_NAMES), Status.unfetched).astype(np.int8)
    found_again = (status == Status.orphan) & (linked | listed | seeded)
    status = np.where(found_again, np.where(modified_before > 0, Status.fetched, Status.unfetched), status)
    retries = _ints(old["retries"], 0)
    interval = np.where(heard, _ints(delta["interval"], -1), -1)
    spoken = interval >= 0
    interval = np.where(spoken, interval, np.where(known, _ints(old["interval"], schedule.interval), bounds.interval))
    fixed = np.where(spoken, _bools(delta["interval_fixed"]), _bools(old["interval_fixed"]))
    discovered_at = (
        _ints(old["discovered_at"], 0) if "discovered_at" in old.column_names else np.zeros(len(known), np.int64)
    )
    discovered_at = np.where(known, discovered_at, _first(delta["discovered_at"], delta["fetched_at"]))
    due_at = np.where(known, _ints(old["due_at"], 0), discovered_at)
    last_fetch = _ints(old["fetched_at"], 0)
    answered_before = known & (last_fetch > 0) & ~np.isin(status, [Status.unfetched, Status.gone])
    longest = bounds.longest * 1000
    due_at = np.where(spoken & answered_before, last_fetch + np.minimum(interval * 1000, longest), due_at)

    # -- the fetch
    fetched = outcome >= 0
    fetched_at = np.where(fetched, _ints(delta["fetched_at"], 0), last_fetch)
    success = outcome == FetchOutcome.success
    same = success & _same(old["signature"], delta["signature"])
    compared = success & old["signature"].is_valid().to_numpy() & delta["signature"].is_valid().to_numpy()
    unchanged = same | (outcome == FetchOutcome.notmodified)
    redirected = (outcome == FetchOutcome.redir_temp) | (outcome == FetchOutcome.redir_perm)
    answered = success | redirected | (outcome == FetchOutcome.notmodified)
    failed = outcome == FetchOutcome.retry
    postponed = outcome == FetchOutcome.postponed
    given_up = failed & (retries + 1 >= schedule.max_retries)
    gone = (outcome == FetchOutcome.gone) | given_up

    modified_at = np.where(success & ~same, fetched_at, modified_before)
    content_type = _choose(success & ~_nulls(delta["content_type"]), delta["content_type"], old["content_type"])
    changefreq = _choose(listed, delta["changefreq"], old["changefreq"])
    interval, due_at = _reschedule(
        answered, due_at, fixed, schedule,
        Answered(
            interval, fetched_at, np.where((modified_before > 0) & (unchanged | ~compared), modified_before, fetched_at),
            np.where(unchanged, -1, np.where(compared, 1, 0)).astype(np.int8), bounds.shortest, bounds.longest,
            Names.of(content_type), Names.of(changefreq),
        ),
    )  # fmt: skip
    # Capped only where it is stretched, so that a fixed interval stays what the seed asked for.
    longer = np.minimum(interval * schedule.gone_factor, 0.9 * bounds.longest).astype(np.int64)
    interval = np.where(gone & ~fixed, np.maximum(longer, 1), interval)
    due_at = np.where(gone, fetched_at + interval * 1000, due_at)
    patience = schedule.retry_delay * schedule.retry_backoff ** np.minimum(np.where(postponed, 0, retries), 30)
    patience = np.minimum(patience, bounds.longest) * 1000
    later = np.maximum(fetched_at + patience.astype(np.int64), _ints(delta["retry_after"], 0))
    due_at = np.where((failed & ~given_up) | postponed, later, due_at)
    due_at = np.where(fetched, np.minimum(due_at, fetched_at + longest), due_at)
    retries = np.where(answered, 0, np.where(failed, np.minimum(retries + 1, 127), retries))

    status = np.select(
        [unchanged, success, outcome == FetchOutcome.redir_temp, outcome == FetchOutcome.redir_perm, gone, failed],
        [Status.notmodified, Status.fetched, Status.redir_temp, Status.redir_perm, Status.gone, Status.unfetched],
        status,
    ).astype(np.int8)

    # -- marks
    mark = schema.codes(delta["mark"], schema.STATUS_NAMES)
    status = np.where(mark >= 0, mark, status).astype(np.int8)

    # -- seeds, links and sitemaps
    news = listed & known & (fetched_at > 0) & (_ints(delta["lastmod"], 0) > fetched_at)
    due_at = np.where(news, np.minimum(due_at, _ints(delta["discovered_at"], 0)), due_at)
    offered = np.where(seeded & ~heard, np.iinfo(np.int16).max, _ints(delta["depth"], np.iinfo(np.int16).max))
    depth = np.minimum(np.where(known, _ints(old["depth"], 0), np.iinfo(np.int16).max), offered)
    depth = np.where(~known & (depth == np.iinfo(np.int16).max), 0, depth)
    given = np.where(heard, _floats(delta["score"], np.nan), np.nan)
    given = np.where(np.isnan(given) & seeded & ~known, policy.score.injected, given)
    given = np.where(np.isnan(given) & listed & ~known, _floats(delta["score"], policy.score.injected), given)
    scoring = find(SCORES, policy.score.name, "score.name")
    score = np.where(known, _floats(old["score"], 0.0), scoring.first(policy.score))
    score = np.where(np.isnan(given), score, given)
    if linked.any():
        score = np.where(linked, scoring.update(score, _floats(delta["inlink_score"], 0.0), depth), score)
    score = np.where(_nulls(delta["new_score"]), score, _floats(delta["new_score"], 0.0))

    new: dict[str, Any] = {
        "fingerprint": delta["fingerprint"],
        "status": schema.from_codes(status, schema.STATUS_NAMES),
        "due_at": _times(due_at),
        "fetched_at": _times(fetched_at, missing=~(fetched | (last_fetch > 0))),
        "modified_at": _times(modified_at, missing=modified_at == 0),
        "interval": interval,
        "interval_fixed": pa.array(fixed, mask=~fixed),
        "retries": retries,
        "score": score.astype(np.float32),
        "depth": depth,
        "signature": _choose(success & ~_nulls(delta["signature"]), delta["signature"], old["signature"]),
        "content_type": content_type,
        "changefreq": changefreq,
        "discovered_at": _times(discovered_at, missing=discovered_at == 0),
    }  # fmt: skip
    columns = set(old.column_names)
    birth = pa.array(~known)
    for name in columns.intersection(_FROM_BIRTH):
        new[name] = _choose(birth, delta[name], old[name])
    for name in columns.intersection(_FROM_SEED):
        new[name] = _choose(birth if name not in delta.column_names else pa.array(~known | (heard & ~_nulls(delta[name]))),
                            delta[name], old[name])  # fmt: skip
    for name in columns.intersection(_FROM_FETCH):
        new[name] = _choose(fetched, delta[name], old[name])
    for name in columns.intersection(_VALIDATORS):
        # A 304 need not repeat its validators; a page that failed for now keeps them; one that moved or went has none.
        kept = (outcome == FetchOutcome.notmodified) & _nulls(delta[name])
        new[name] = _choose(fetched & ~kept & ~failed & ~postponed, delta[name], old[name])
    for name in columns.intersection(_FROM_CONTENT):
        new[name] = _choose(success, delta[name], old[name])
    for name in columns.intersection(_FROM_SITEMAP):
        new[name] = _choose(listed, delta[name], old[name])
    if "duplicate_of" in columns:
        of = _choose(mark >= 0, delta["duplicate_of"], old["duplicate_of"])
        new["duplicate_of"] = _choose(status == Status.duplicate, of, pa.chunked_array([pa.nulls(len(known), of.type)]))
    if "linked_at" in columns:
        # A sitemap or a seed that names it is as good as a link.
        named_at = np.where(listed | seeded, _ints(delta["discovered_at"], 0), 0)
        seen_at = np.maximum(named_at, _ints(delta["linked_at"], 0)) if schedule.orphan_after else 0
        seen_at = np.maximum(_ints(old["linked_at"], 0), seen_at)
        new["linked_at"] = _times(seen_at, missing=seen_at == 0)
    return pa.table({name: _typed(new[name], old.schema.field(name).type) for name in old.column_names}, old.schema)


def _reschedule(
    answered: Bools, due_at: Ints, fixed: Bools, settings: ScheduleSettings, pages: Answered
) -> tuple[Ints, Ints]:
    """Interval and due time after the schedule had its say on the pages that answered."""
    interval = pages.interval
    if not answered.any():
        return interval, due_at
    schedule = find(SCHEDULES, settings.name, "schedule.name")
    columns: list[Any] = [column[answered] for column in pages]
    planned = schedule(Answered(*columns), settings)
    interval, due_at, kept = interval.copy(), due_at.copy(), fixed[answered]
    due_at[answered] = np.where(kept, pages.fetched_at[answered] + interval[answered] * 1000, planned.due_at)
    interval[answered] = np.where(kept, interval[answered], planned.interval)
    return interval, due_at


# -- what time alone does ------------------------------------------------------------------------------------


class Aged(NamedTuple):
    """A state as compaction writes it."""

    state: pa.Table
    orphans: int
    """Requests that became orphans."""
    purged: int
    """Rows that were dropped: gone pages and orphans."""


def age(state: pa.Table, schedule: ScheduleSettings, store: StoreSettings, now: int, kept: Bools | None = None) -> Aged:
    """What becomes of some of the state, all columns, when it is compacted at `now` (UTC milliseconds).

    A request that no link was seen to for schedule.orphan_after becomes an orphan, unless it is a seed (depth 0) or gone;
    what is gone or an orphan for longer than store.purge_gone and purge_orphans is dropped. Rows of `kept` are not.
    """
    if not (schedule.orphan_after or store.purge_gone or store.purge_orphans) or not state.num_rows:
        return Aged(state, 0, 0)
    status = schema.codes(state["status"], schema.STATUS_NAMES)
    unlinked_for = now - _first(state["linked_at"], state["discovered_at"])
    lost = np.zeros(len(status), np.bool_)
    if schedule.orphan_after:
        lost = (unlinked_for > schedule.orphan_after * 1000) & (_ints(state["depth"], 0) > 0)
        lost &= (status != Status.gone) & (status != Status.orphan)
        # When the request entered the crawldb is unknown: then there is nothing to count from.
        lost &= ~(_nulls(state["linked_at"]) & _nulls(state["discovered_at"]))
    if lost.any():
        status = np.where(lost, Status.orphan, status).astype(np.int8)
        place = state.schema.get_field_index("status")
        state = state.set_column(place, state.schema.field(place), schema.from_codes(status, schema.STATUS_NAMES))
        if "duplicate_of" in state.column_names:
            place = state.schema.get_field_index("duplicate_of")
            none = pa.chunked_array([pa.nulls(len(status), schema.FINGERPRINT)])
            state = state.set_column(
                place, state.schema.field(place), _choose(status == Status.duplicate, state["duplicate_of"], none)
            )
    dropped = np.zeros(len(status), np.bool_)
    if store.purge_gone:
        dropped |= (status == Status.gone) & (now - _ints(state["fetched_at"], now) > store.purge_gone * 1000)
    if store.purge_orphans:
        dropped |= (status == Status.orphan) & (unlinked_for > store.purge_orphans * 1000)
    if kept is not None:
        dropped &= ~kept
    orphans = int(np.count_nonzero(lost & ~dropped))
    if dropped.any():
        state = state.filter(pa.array(~dropped))
    return Aged(state, orphans, int(np.count_nonzero(dropped)))


# -- columns to arrays and back ------------------------------------------------------------------------------


def _ints(column: pa.ChunkedArray, missing: int) -> Ints:
    values: Ints = column.cast(pa.int64()).fill_null(missing).to_numpy()
    return values


def _floats(column: pa.ChunkedArray, missing: float) -> NDArray[np.float64]:
    values: NDArray[np.float64] = column.cast(pa.float64()).fill_null(missing).to_numpy()
    return values


def _bools(column: pa.ChunkedArray) -> Bools:
    values: Bools = column.fill_null(False).to_numpy()
    return values


def _nulls(column: pa.ChunkedArray) -> Bools:
    values: Bools = column.is_null().to_numpy()
    return values


def _first(column: pa.ChunkedArray, instead: pa.ChunkedArray) -> Ints:
    """The column's times, the other's where it has none."""
    return np.where(_nulls(column), _ints(instead, 0), _ints(column, 0))


def _same(left: pa.ChunkedArray, right: pa.ChunkedArray) -> Bools:
    return _bools(pc.equal(left, right))


def _times(values: Ints, missing: Bools | None = None) -> pa.Array:
    return pa.array(values, mask=missing).cast(schema.TIME)


def _choose(where: Any, then: pa.ChunkedArray, otherwise: pa.ChunkedArray) -> pa.ChunkedArray:
    """Row by row `then` or `otherwise`, for any type: maps and dictionaries too."""
    where = np.asarray(where)
    if where.all():
        return then
    if not where.any():
        return otherwise
    both = pa.table({"value": otherwise.cast(then.type)})
    both = pa.concat_tables([both, pa.table({"value": then})]).unify_dictionaries()
    rows = np.arange(len(where))
    return both["value"].take(pa.array(np.where(where, rows + len(where), rows)))


def _typed(column: Any, wanted: pa.DataType) -> Any:
    column = pa.array(column) if isinstance(column, np.ndarray) else column
    return column if column.type == wanted else column.cast(wanted)
