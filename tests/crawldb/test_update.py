"""The state machine: every status × outcome × schedule against a row-by-row model, and what holds for all rows."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawldb import schema, shards
from crawldb.schema import FetchOutcome, Status
from crawldb.settings import Policy, ScheduleSettings, ScoreSettings
from crawldb.update import DECIDING, apply, apply_all, needed_of_delta
from tests.crawldb import tables
from tests.crawldb.tables import DAY, NOW, SECOND, by_key, delta, key, rows, state

OLD, NEW = b"a" * 16, b"b" * 16
A_DAY = 86_400
MONTH = 30 * A_DAY
LONGEST = 90 * A_DAY

POLICIES = {
    "default": Policy(),
    "adaptive": Policy(ScheduleSettings(name="adaptive")),
    "adaptive without sync": Policy(ScheduleSettings(name="adaptive", sync_delta=False), ScoreSettings(name="depth")),
    "other numbers": Policy(
        ScheduleSettings(
            name="adaptive", interval=3600, max_interval=7 * A_DAY, min_interval=600, increase=1.0, decrease=0.5,
            sync_delta_rate=0.5, retry_delay=60, retry_backoff=10.0, max_retries=2, gone_factor=3.0,
        ),
        ScoreSettings(injected=0.25),
    ),
    "mime": Policy(
        ScheduleSettings(name="mime", types=["text/html 1.0 0.5", "image/* 0.0 0.9"], orphan_after=90 * A_DAY),
        ScoreSettings(name="linkrank", initial=0.5),
    ),
    "changefreq": Policy(ScheduleSettings(name="changefreq", sync_delta=False), ScoreSettings(name="host_authority", initial=0.25)),
    "hosts": Policy(
        ScheduleSettings(
            name="adaptive", orphan_after=1,
            hosts=["host1.test interval=1d min=1h max=3d", "*.test min=2d", "host2.test max=1m", "host3.test max=100d"],
        ),
        ScoreSettings(name="freshness"),
    ),
}  # fmt: skip


# -- the model: Nutch's rules for one row, in plain Python ---------------------------------------------------------


def model(old: dict[str, Any] | None, new: dict[str, Any], policy: Policy) -> dict[str, Any] | None:
    """What must become of the row `old` (None: unknown) by the delta row `new`; None: there is still no row."""
    named = bool(new["inlinks"] or new["injected"] or new["listed"])
    if old is None and not named and new["outcome"] is None:
        return None
    policy = Policy(_of_host(policy.schedule, new["host"]), policy.score)
    row = dict(old) if old is not None else _born(new, policy)
    if row["status"] == "orphan" and named:
        row["status"] = "unfetched" if row["modified_at"] is None else "fetched"
    speaks = bool(new["injected"]) and (old is None or bool(new["update"]))
    if (new["injected"] or new["listed"]) and old is None:
        row["score"] = policy.score.injected if new["score"] is None else new["score"]
    if speaks:
        for name in ("score", "priority", "metadata"):
            if new[name] is not None:
                row[name] = new[name]
        if new["interval"] is not None:
            row["interval"], row["interval_fixed"] = new["interval"], new["interval_fixed"]
            if row["fetched_at"] is not None and row["status"] not in ("unfetched", "gone"):
                row["due_at"] = row["fetched_at"] + min(row["interval"], policy.schedule.max_interval) * SECOND
    if new["depth"] is not None and (speaks or not new["injected"]):
        row["depth"] = new["depth"] if row["depth"] is None else min(row["depth"], new["depth"])
    row["depth"] = row["depth"] or 0
    if new["inlinks"]:
        if policy.score.name in ("opic", "freshness"):
            row["score"] = float(np.float32(row["score"] + new["inlink_score"]))
        elif policy.score.name == "depth":
            row["score"] = float(np.float32(1 / (1 + row["depth"])))
    if new["listed"]:
        for name in ("lastmod", "changefreq", "sitemap_priority"):
            row[name] = new[name]
    if new["outcome"] is not None:
        _fetched(row, new, policy.schedule)
    if old is not None and new["listed"] and row["fetched_at"] and (new["lastmod"] or 0) > row["fetched_at"]:
        row["due_at"] = min(row["due_at"], new["discovered_at"])
    if new["mark"] is not None:
        row["status"], row["duplicate_of"] = new["mark"], new["duplicate_of"]
    if row["status"] != "duplicate":
        row["duplicate_of"] = None
    if new["new_score"] is not None:
        row["score"] = new["new_score"]
    if policy.schedule.orphan_after:
        seen = [row["linked_at"], new["linked_at"], new["discovered_at"] if new["listed"] or new["injected"] else None]
        row["linked_at"] = max((time for time in seen if time is not None), default=None)
    return row


def _of_host(settings: ScheduleSettings, host: str) -> ScheduleSettings:
    """The settings for one host, in which the first entry that names it has its say."""
    for entry in settings.hosts:
        pattern, *fields = entry.split()
        if pattern == host or (pattern[0] == "*" and host.endswith(pattern[1:])):
            said = dict(field.split("=") for field in fields)
            own = {name: int(text[:-1]) * {"m": 60, "h": 3600, "d": A_DAY}[text[-1]] for name, text in said.items()}
            longest = own.get("max", settings.max_interval)
            return dataclasses.replace(
                settings, max_interval=longest, min_interval=min(own.get("min", settings.min_interval), longest),
                interval=min(own.get("interval", settings.interval), longest),
            )  # fmt: skip
    return settings


def _born(new: dict[str, Any], policy: Policy) -> dict[str, Any]:
    row = dict.fromkeys(schema.STATE.names)
    for name in ("fingerprint", "url", "host", "method", "headers", "body", "metadata", "priority", "discovered_from"):
        row[name] = new[name]
    found = new["discovered_at"] if new["discovered_at"] is not None else new["fetched_at"]
    return row | {
        "status": "unfetched", "due_at": found, "discovered_at": found, "interval": policy.schedule.interval,
        "retries": 0, "score": policy.score.initial if policy.score.name in ("linkrank", "host_authority") else 0.0,
    }  # fmt: skip


def _fetched(row: dict[str, Any], new: dict[str, Any], settings: ScheduleSettings) -> None:
    outcome, at = new["outcome"], new["fetched_at"]
    row["fetched_at"] = at
    for name in ("http_status", "reason", "redirect_to"):
        row[name] = new[name]
    if outcome == "success":
        row["canonical"], row["simhash"] = new["canonical"], new["simhash"]
        row["content_type"] = new["content_type"] or row["content_type"]
    if outcome in ("success", "redir_temp", "redir_perm", "gone"):
        row["etag"], row["last_modified"] = new["etag"], new["last_modified"]
    elif outcome == "notmodified":
        row["etag"] = new["etag"] if new["etag"] is not None else row["etag"]
        row["last_modified"] = new["last_modified"] if new["last_modified"] is not None else row["last_modified"]
    earliest = new["retry_after"] or 0
    if outcome == "postponed":
        row["due_at"] = max(at + settings.retry_delay * SECOND, earliest)
    elif outcome == "retry":
        failures_before = row["retries"]
        row["retries"] += 1
        if row["retries"] < settings.max_retries:
            row["status"] = "unfetched"
            wait = min(settings.retry_delay * settings.retry_backoff**failures_before, settings.max_interval)
            row["due_at"] = max(at + int(wait) * SECOND, earliest)
        else:
            _gone(row, at, settings)
    elif outcome == "gone":
        _gone(row, at, settings)
    else:
        _answered(row, new, settings)
    row["due_at"] = min(row["due_at"], at + settings.max_interval * SECOND)


def _gone(row: dict[str, Any], at: int, settings: ScheduleSettings) -> None:
    row["status"] = "gone"
    if not row["interval_fixed"]:
        row["interval"] = int(min(row["interval"] * settings.gone_factor, 0.9 * settings.max_interval))
    row["due_at"] = at + row["interval"] * SECOND


def _answered(row: dict[str, Any], new: dict[str, Any], settings: ScheduleSettings) -> None:
    at, outcome = new["fetched_at"], new["outcome"]
    row["retries"] = 0
    change = "unknown"
    if outcome == "notmodified":
        change = "same"
    elif outcome == "success" and row["signature"] is not None and new["signature"] is not None:
        change = "same" if row["signature"] == new["signature"] else "changed"
    since = row["modified_at"] if row["modified_at"] is not None and change != "changed" else at
    row["status"] = {"success": "fetched"}.get(outcome, outcome) if change != "same" else "notmodified"
    if outcome == "success" and new["signature"] is not None:
        row["signature"] = new["signature"]
    if outcome == "success" and change != "same":
        row["modified_at"] = at
    if row["interval_fixed"]:
        row["due_at"] = at + row["interval"] * SECOND
    elif settings.name == "default":
        if row["interval"] > settings.max_interval:
            row["interval"] = int(0.9 * settings.max_interval)
        row["due_at"] = at + row["interval"] * SECOND
    elif settings.name == "changefreq" and (row["changefreq"] or "").lower() in ("always", "weekly", "never"):
        said = {"always": 0, "weekly": 7 * A_DAY, "never": settings.max_interval}[row["changefreq"].lower()]
        row["interval"] = min(max(said, settings.min_interval), settings.max_interval)
        row["due_at"] = at + row["interval"] * SECOND
    else:
        increase, decrease = settings.increase, settings.decrease
        if settings.name == "mime":
            shares = {"text/html": (1.0, 0.5), "image/png": (0.0, 0.9)}
            increase, decrease = shares.get(row["content_type"], (increase, decrease))
        factor = {"same": 1 + increase, "changed": 1 - decrease, "unknown": 1}[change]
        interval = math.floor(row["interval"] * factor)
        pull = 0
        if settings.sync_delta:
            age = max(at - since, 0) / 1000
            interval = max(interval, math.floor(age))
            pull = round(age * settings.sync_delta_rate * 1000)
        row["interval"] = min(max(interval, settings.min_interval), settings.max_interval)
        row["due_at"] = max(at - pull + row["interval"] * SECOND, at + settings.min_interval * SECOND)


# -- the matrix -------------------------------------------------------------------------------------------------

STATUSES = [None, *(status.name for status in Status)]
OUTCOMES = [None, *(outcome.name for outcome in FetchOutcome)]


EXTRAS: list[dict[str, Any]] = [
    {},
    {"mark": "duplicate", "duplicate_of": key(9)},
    {"mark": "fetched"},
    {"mark": "orphan"},
    {"listed": True, "discovered_at": NOW - 3 * DAY, "lastmod": NOW + DAY, "changefreq": "weekly", "depth": 1},
    {"listed": True, "discovered_at": NOW - 3 * DAY, "lastmod": NOW - 30 * DAY, "sitemap_priority": 0.5, "score": 0.5},
    {"new_score": 3.5},
]
"""What a delta's row may say besides. Seven, so that each meets every status and outcome."""


def matrix() -> tuple[pa.Table, pa.Table]:
    """Every combination as a request of its own: the state before (for those that are known) and the delta."""
    before, learned = [], []
    combinations = itertools.product(
        STATUSES, OUTCOMES, [(OLD, OLD), (OLD, NEW), (OLD, None), (None, NEW), (None, None)], [0, 1, 2],
        [None, True], [50, MONTH, LONGEST + A_DAY],
    )  # fmt: skip
    kinds = [None, "text/html", "image/png", "application/pdf"]
    for number, (status, outcome, digests, retries, fixed, interval) in enumerate(combinations):
        request = {"fingerprint": number.to_bytes(20, "big")}
        if status is not None:
            fetched = status != "unfetched" or retries > 0
            before.append(request | {
                "status": status, "signature": digests[0], "retries": retries, "interval": interval,
                "interval_fixed": fixed, "etag": '"1"', "last_modified": "then", "http_status": 200,
                "reason": "because", "redirect_to": "http://x.test/",
                "fetched_at": NOW - 10 * DAY if fetched else None, "modified_at": NOW - 40 * DAY if fetched else None,
                "duplicate_of": key(8) if status == "duplicate" else None, "content_type": kinds[number % 4],
                "canonical": key(2), "simhash": 1 << 63, "changefreq": [None, "always", "never"][number // 7 % 3],
                "lastmod": NOW - 99 * DAY, "linked_at": [None, NOW - 20 * DAY][number // 5 % 2],
            })  # fmt: skip
        row = request | {"depth": number % 3}
        if outcome is not None:
            row |= {
                "outcome": outcome, "signature": digests[1] if outcome == "success" else None, "fetched_at": NOW,
                "http_status": 299, "etag": [None, '"2"'][number // 2 % 2], "retry_after": [None, NOW + 5 * DAY][number // 4 % 2],
                "content_type": kinds[number // 11 % 4], "canonical": [None, key(3)][number // 3 % 2],
                "simhash": [None, 5][number // 9 % 2],
            }  # fmt: skip
        if number % 2:
            row |= {"inlinks": 2, "inlink_score": 0.375, "discovered_at": NOW - 7 * DAY, "discovered_from": key(3),
                    "linked_at": NOW - 7 * DAY}  # fmt: skip
        learned.append(row | EXTRAS[number % len(EXTRAS)])
    return state(*before), delta(*learned)


@pytest.mark.parametrize("name", POLICIES)
def test_every_status_outcome_and_schedule(name: str) -> None:
    before, learned = matrix()
    after = by_key(apply(before, learned, POLICIES[name]))
    known, asked = by_key(before), by_key(learned)
    assert len(asked) == 9 * 8 * 5 * 3 * 2 * 3
    assert len(after) < len(asked)  # marks of what is not there
    for fingerprint, row in asked.items():
        assert after.get(fingerprint) == model(known.get(fingerprint), row, POLICIES[name]), known.get(fingerprint)


@given(tables.states, tables.deltas, st.sampled_from(sorted(POLICIES)))
def test_any_rows(before: pa.Table, learned: pa.Table, name: str) -> None:
    after = apply(before, learned, POLICIES[name])
    known, asked = by_key(before), by_key(learned)
    expected = known | {
        fingerprint: model(known.get(fingerprint), row, POLICIES[name]) for fingerprint, row in asked.items()
    }
    assert rows(after) == [row for fingerprint in sorted(expected) if (row := expected[fingerprint])]
    assert after.schema == before.schema


# -- the main transitions, in so many words ----------------------------------------------------------------------

FETCHED = {"fetched_at": NOW}
SEEN = {"status": "fetched", "fetched_at": NOW - 30 * DAY, "modified_at": NOW - 60 * DAY, "signature": OLD}

TRANSITIONS: dict[str, tuple[dict[str, Any] | None, dict[str, Any], dict[str, Any]]] = {
    "a link to an unknown page": (
        None,
        {"inlinks": 1, "inlink_score": 0.25, "depth": 3, "discovered_at": NOW, "discovered_from": key(9)},
        {"status": "unfetched", "due_at": NOW, "score": 0.25, "depth": 3, "retries": 0, "interval": 2_592_000,
         "discovered_at": NOW, "discovered_from": key(9), "fetched_at": None, "signature": None},
    ),
    "a link to a known page": (
        {"status": "gone", "retries": 3, "score": 1.0, "depth": 4, "due_at": NOW + DAY},
        {"inlinks": 2, "inlink_score": 0.5, "depth": 2, "discovered_at": NOW, "discovered_from": key(9)},
        {"status": "gone", "retries": 3, "score": 1.5, "depth": 2, "due_at": NOW + DAY, "discovered_from": None,
         "discovered_at": NOW - 50 * DAY},
    ),
    "the first success": (
        {"status": "unfetched", "retries": 2},
        {**FETCHED, "outcome": "success", "http_status": 200, "signature": OLD, "etag": '"1"'},
        {"status": "fetched", "retries": 0, "signature": OLD, "fetched_at": NOW, "modified_at": NOW, "etag": '"1"',
         "due_at": NOW + 30 * DAY, "interval": 2_592_000, "http_status": 200},
    ),
    "the same content again": (
        SEEN,
        {**FETCHED, "outcome": "success", "signature": OLD},
        {"status": "notmodified", "signature": OLD, "modified_at": NOW - 60 * DAY, "due_at": NOW + 30 * DAY},
    ),
    "other content": (
        SEEN,
        {**FETCHED, "outcome": "success", "signature": NEW},
        {"status": "fetched", "signature": NEW, "modified_at": NOW, "due_at": NOW + 30 * DAY},
    ),
    "304": (
        {**SEEN, "etag": '"1"', "last_modified": "then", "retries": 1},
        {**FETCHED, "outcome": "notmodified", "http_status": 304, "etag": '"2"'},
        {"status": "notmodified", "signature": OLD, "etag": '"2"', "last_modified": "then", "retries": 0,
         "http_status": 304, "due_at": NOW + 30 * DAY},
    ),
    "a success without validators has none": (
        {**SEEN, "etag": '"1"', "last_modified": "then"},
        {**FETCHED, "outcome": "success", "signature": NEW},
        {"etag": None, "last_modified": None},
    ),
    "a temporary redirect": (
        {**SEEN, "etag": '"1"'},
        {**FETCHED, "outcome": "redir_temp", "http_status": 302, "redirect_to": "http://y.test/"},
        {"status": "redir_temp", "redirect_to": "http://y.test/", "etag": None, "due_at": NOW + 30 * DAY},
    ),
    "a permanent redirect": (
        {"status": "unfetched"},
        {**FETCHED, "outcome": "redir_perm", "redirect_to": "http://y.test/"},
        {"status": "redir_perm", "redirect_to": "http://y.test/"},
    ),
    "a page that is there again after a redirect": (
        {"status": "redir_temp", "redirect_to": "http://y.test/", "fetched_at": NOW - DAY},
        {**FETCHED, "outcome": "success", "signature": NEW},
        {"status": "fetched", "redirect_to": None},
    ),
    "gone": (
        {**SEEN, "interval": 10 * A_DAY, "retries": 1},
        {**FETCHED, "outcome": "gone", "http_status": 404, "reason": "http_404"},
        {"status": "gone", "interval": 15 * A_DAY, "due_at": NOW + 15 * DAY, "signature": OLD, "retries": 1,
         "reason": "http_404"},
    ),
    "gone for long": (
        {"status": "gone", "interval": 80 * A_DAY},
        {**FETCHED, "outcome": "gone"},
        {"status": "gone", "interval": 81 * A_DAY, "due_at": NOW + 81 * DAY},
    ),
    "gone, with the interval that its seed asked for": (
        {"status": "fetched", "interval": 7 * A_DAY, "interval_fixed": True},
        {**FETCHED, "outcome": "gone"},
        {"status": "gone", "interval": 7 * A_DAY, "due_at": NOW + 7 * DAY},
    ),
    "the first failure": (
        {**SEEN, "etag": '"1"'},
        {**FETCHED, "outcome": "retry", "reason": "timeout"},
        {"status": "unfetched", "retries": 1, "due_at": NOW + DAY, "reason": "timeout", "etag": '"1"',
         "signature": OLD, "interval": 2_592_000},
    ),
    "the second failure": (
        {"status": "unfetched", "retries": 1},
        {**FETCHED, "outcome": "retry"},
        {"status": "unfetched", "retries": 2, "due_at": NOW + 2 * DAY},
    ),
    "one failure too many": (
        {"status": "unfetched", "retries": 2},
        {**FETCHED, "outcome": "retry"},
        {"status": "gone", "retries": 3, "interval": 45 * A_DAY, "due_at": NOW + 45 * DAY},
    ),
    "failures after that": (
        {"status": "gone", "retries": 127, "interval": 45 * A_DAY},
        {**FETCHED, "outcome": "retry"},
        {"status": "gone", "retries": 127, "interval": int(67.5 * A_DAY)},
    ),
    "Retry-After": (
        {"status": "unfetched"},
        {**FETCHED, "outcome": "retry", "http_status": 503, "retry_after": NOW + 3 * DAY},
        {"status": "unfetched", "retries": 1, "due_at": NOW + 3 * DAY},
    ),
    "a Retry-After sooner than our own patience": (
        {"status": "unfetched"},
        {**FETCHED, "outcome": "retry", "retry_after": NOW + 5 * SECOND},
        {"due_at": NOW + DAY},
    ),
    "a Retry-After in the far future": (
        {"status": "unfetched"},
        {**FETCHED, "outcome": "postponed", "retry_after": NOW + 1000 * DAY},
        {"due_at": NOW + 90 * DAY},
    ),
    "postponed": (
        {**SEEN, "retries": 2, "etag": '"1"'},
        {**FETCHED, "outcome": "postponed", "reason": "robots_unavailable"},
        {"status": "fetched", "retries": 2, "due_at": NOW + DAY, "signature": OLD, "etag": '"1"',
         "modified_at": NOW - 60 * DAY, "reason": "robots_unavailable"},
    ),
    "an interval above the maximum": (
        {"status": "fetched", "interval": 100 * A_DAY},
        {**FETCHED, "outcome": "success"},
        {"status": "fetched", "interval": 81 * A_DAY, "due_at": NOW + 81 * DAY},
    ),
    "a fixed interval above the maximum": (
        {"status": "fetched", "interval": 365 * A_DAY, "interval_fixed": True},
        {**FETCHED, "outcome": "success"},
        {"interval": 365 * A_DAY, "due_at": NOW + 90 * DAY},
    ),
    "a seed": (
        None,
        {"injected": True, "depth": 0, "discovered_at": NOW, "metadata": [("k", "v")], "priority": 4},
        {"status": "unfetched", "due_at": NOW, "score": 1.0, "depth": 0, "interval": 2_592_000,
         "metadata": [("k", "v")], "priority": 4, "interval_fixed": None, "discovered_from": None},
    ),
    "a seed with its own numbers": (
        None,
        {"injected": True, "depth": 0, "discovered_at": NOW, "score": 7.0, "interval": 60, "interval_fixed": True},
        {"score": 7.0, "interval": 60, "interval_fixed": True, "due_at": NOW},
    ),
    "a known seed": (
        {**SEEN, "score": 3.0, "depth": 2, "priority": 1},
        {"injected": True, "depth": 0, "discovered_at": NOW, "score": 7.0, "interval": 60, "interval_fixed": True,
         "priority": 9, "metadata": [("k", "v")]},
        {"status": "fetched", "score": 3.0, "depth": 2, "interval": 2_592_000, "interval_fixed": None, "priority": 1,
         "metadata": None, "due_at": NOW - DAY, "discovered_at": NOW - 50 * DAY},
    ),
    "a known seed with --update": (
        {**SEEN, "score": 3.0, "depth": 2, "priority": 1, "metadata": [("old", "1")]},
        {"injected": True, "update": True, "depth": 0, "discovered_at": NOW, "score": 7.0, "interval": 86_400,
         "interval_fixed": True, "priority": 9, "metadata": [("k", "v")]},
        {"status": "fetched", "score": 7.0, "depth": 0, "interval": 86_400, "interval_fixed": True, "priority": 9,
         "metadata": [("k", "v")], "due_at": NOW - 29 * DAY, "discovered_at": NOW - 50 * DAY},
    ),
    "--update leaves alone what the seed does not say": (
        {**SEEN, "score": 3.0, "priority": 1, "metadata": [("old", "1")], "interval": 60, "interval_fixed": True},
        {"injected": True, "update": True, "depth": 0, "discovered_at": NOW},
        {"score": 3.0, "priority": 1, "metadata": [("old", "1")], "interval": 60, "interval_fixed": True,
         "due_at": NOW - DAY},
    ),
    "--update with an interval for a page that waits for its next attempt": (
        {"status": "unfetched", "retries": 1, "fetched_at": NOW - DAY, "due_at": NOW + DAY},
        {"injected": True, "update": True, "depth": 0, "discovered_at": NOW, "interval": 60},
        {"interval": 60, "interval_fixed": None, "due_at": NOW + DAY, "retries": 1},
    ),
    "a POST as a seed": (
        None,
        {"injected": True, "depth": 0, "discovered_at": NOW, "method": "POST", "body": b"q=1",
         "headers": [("Accept", "*/*")]},
        {"method": "POST", "body": b"q=1", "headers": [("Accept", "*/*")]},
    ),
}  # fmt: skip

ADAPTIVE: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # 10 days × 1.4; unchanged for 5 days, of which 30 % are taken off
    "unchanged": (
        {**SEEN, "interval": 10 * A_DAY, "modified_at": NOW - 5 * DAY},
        {**FETCHED, "outcome": "success", "signature": OLD},
        {"status": "notmodified", "interval": 14 * A_DAY, "due_at": NOW + int(12.5 * DAY)},
    ),
    "unchanged by the server's word": (
        {**SEEN, "interval": 10 * A_DAY, "modified_at": NOW - 5 * DAY},
        {**FETCHED, "outcome": "notmodified"},
        {"status": "notmodified", "interval": 14 * A_DAY, "due_at": NOW + int(12.5 * DAY)},
    ),
    # unchanged for longer than the interval: that is the interval
    "unchanged for long": (
        {**SEEN, "interval": 10 * A_DAY, "modified_at": NOW - 20 * DAY},
        {**FETCHED, "outcome": "success", "signature": OLD},
        {"interval": 20 * A_DAY, "due_at": NOW + 14 * DAY},
    ),
    # just changed: nothing to synchronise with, however long it had been the same
    "changed": (
        {**SEEN, "interval": 10 * A_DAY, "modified_at": NOW - 80 * DAY},
        {**FETCHED, "outcome": "success", "signature": NEW},
        {"status": "fetched", "interval": 8 * A_DAY, "due_at": NOW + 8 * DAY, "modified_at": NOW},
    ),
    "nothing to compare with": (
        {"status": "unfetched", "interval": 10 * A_DAY},
        {**FETCHED, "outcome": "success", "signature": NEW},
        {"status": "fetched", "interval": 10 * A_DAY, "due_at": NOW + 10 * DAY},
    ),
    "never below the minimum": (
        {**SEEN, "interval": 60},
        {**FETCHED, "outcome": "success", "signature": NEW},
        {"interval": 60, "due_at": NOW + 60 * SECOND},
    ),
    "never above the maximum": (
        {**SEEN, "interval": 80 * A_DAY, "modified_at": NOW - 10 * DAY},
        {**FETCHED, "outcome": "success", "signature": OLD},
        {"interval": 90 * A_DAY, "due_at": NOW + 87 * DAY},
    ),
    "fixed": (
        {**SEEN, "interval": 10 * A_DAY, "interval_fixed": True},
        {**FETCHED, "outcome": "success", "signature": OLD},
        {"status": "notmodified", "interval": 10 * A_DAY, "due_at": NOW + 10 * DAY},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSITIONS)
def test_transition(name: str) -> None:
    _check(*TRANSITIONS[name], Policy())


@pytest.mark.parametrize("name", ADAPTIVE)
def test_transition_with_the_adaptive_schedule(name: str) -> None:
    _check(*ADAPTIVE[name], POLICIES["adaptive"])


def _check(old: dict[str, Any] | None, new: dict[str, Any], expected: dict[str, Any], policy: Policy) -> None:
    request = {"fingerprint": key(1)}
    before = state(request | old) if old is not None else state()
    [row] = rows(apply(before, delta(request | new), policy))
    assert {name: row[name] for name in expected} == expected


def test_a_failing_page_is_asked_ever_more_rarely_then_gone_and_asked_more_rarely_still() -> None:
    now, waits, statuses = NOW, [], []
    table = state({"fingerprint": key(1), "due_at": NOW})
    for _ in range(6):
        failed = delta({"fingerprint": key(1), "outcome": "retry", "fetched_at": now})
        table = apply(table, failed, Policy(ScheduleSettings(interval=20 * A_DAY, max_retries=3)))
        [row] = rows(table)
        waits.append((row["due_at"] - now) / DAY)
        statuses.append(row["status"])
        now = row["due_at"]
    assert statuses == ["unfetched", "unfetched", "gone", "gone", "gone", "gone"]
    assert waits == [1, 2, 45, 67.5, 81, 81]


fewer = settings(max_examples=40)  # where an example applies several deltas


# -- what holds for all rows -----------------------------------------------------------------------------------


@fewer
@given(tables.states, tables.deltas, st.lists(st.integers(0, 3), min_size=12, max_size=12), st.randoms())
def test_parts_of_a_delta_in_any_order_are_the_delta(
    before: pa.Table, learned: pa.Table, part_of: list[int], random: Any
) -> None:
    parts = tables.shuffled_parts(learned, part_of)
    random.shuffle(parts)
    after = before
    for part in parts:
        after = apply(after, part, Policy())
    assert rows(after) == rows(apply(before, learned, Policy()))


@fewer
@given(
    tables.states,
    st.lists(st.tuples(tables.deltas, st.sampled_from(sorted(POLICIES)).map(POLICIES.__getitem__)), max_size=4),
)
def test_all_deltas_at_once_are_one_after_the_other(before: pa.Table, learned: list[tuple[pa.Table, Policy]]) -> None:
    after = before
    for part, policy in learned:
        after = apply(after, part, policy)
    assert rows(apply_all(before, learned)) == rows(after)
    assert rows(apply_all(before, iter(learned))) == rows(after)


@fewer
@given(tables.states, tables.deltas, st.sampled_from([1, 2, 8, 64]))
def test_sharding_does_not_matter(before: pa.Table, learned: pa.Table, number: int) -> None:
    whole = {shard: rows(part) for shard, part in shards.split(apply(before, learned, Policy()), number)}
    states, deltas = dict(shards.split(before, number)), dict(shards.split(learned, number))
    alone = {
        shard: rows(apply(states.get(shard, before.slice(0, 0)), deltas.get(shard, learned.slice(0, 0)), Policy()))
        for shard in sorted({*states, *deltas})
    }
    assert alone == whole


@fewer
@given(tables.states, tables.deltas, st.sampled_from(sorted(POLICIES)))
def test_apply_changes_nothing_it_is_given_and_always_says_the_same(
    before: pa.Table, learned: pa.Table, name: str
) -> None:
    given_state, given_delta = rows(before), rows(learned)
    after = rows(apply(before, learned, POLICIES[name]))
    assert (rows(before), rows(learned)) == (given_state, given_delta)
    assert rows(apply(before, learned, POLICIES[name])) == after


@fewer
@given(tables.states, tables.deltas, st.sets(st.sampled_from(schema.STATE.names)))
def test_a_projected_state_becomes_the_projection(before: pa.Table, learned: pa.Table, wanted: set[str]) -> None:
    columns = [name for name in schema.STATE.names if name in wanted or name in DECIDING]
    needed = needed_of_delta(columns)
    after = apply(before.select(columns), learned.select(needed), Policy())
    assert after.column_names == columns
    assert rows(after) == rows(apply(before, learned, Policy()).select(columns))


@fewer
@given(tables.states, tables.seeds)
def test_injecting_twice_is_injecting_once(before: pa.Table, learned: pa.Table) -> None:
    once = apply(before, learned, Policy())
    assert rows(apply(once, learned, Policy())) == rows(once)


@fewer
@given(tables.states, tables.deltas)
def test_the_result_is_sorted_with_each_request_once(before: pa.Table, learned: pa.Table) -> None:
    names = apply(before, learned, Policy())["fingerprint"].to_pylist()
    brought = [
        row["fingerprint"] for row in rows(learned)
        if row["outcome"] or row["inlinks"] or row["injected"] or row["listed"]
    ]  # fmt: skip
    assert names == sorted({*before["fingerprint"].to_pylist(), *brought})


@fewer
@given(tables.states, tables.deltas)
def test_tables_in_chunks_with_dictionaries_of_their_own(before: pa.Table, learned: pa.Table) -> None:
    def in_chunks(table: pa.Table) -> pa.Table:
        parts = [tables.table(rows(table.slice(i, 1)), table.schema) for i in range(table.num_rows)]
        return pa.concat_tables([table.slice(0, 0), *parts])

    after = apply(in_chunks(before), in_chunks(learned), Policy())
    assert rows(after) == rows(apply(before, learned, Policy()))


@fewer
@given(tables.states, tables.deltas, st.sampled_from(["default", "adaptive", "adaptive without sync"]))
def test_what_was_fetched_is_due_within_the_longest_interval(before: pa.Table, learned: pa.Table, name: str) -> None:
    after = by_key(apply(before, learned, POLICIES[name]))
    for fingerprint, row in by_key(learned).items():
        if row["outcome"] is not None:
            assert row["fetched_at"] < after[fingerprint]["due_at"] <= row["fetched_at"] + 90 * DAY


def test_an_empty_delta_or_state() -> None:
    before = state({"fingerprint": key(1)}, {"fingerprint": key(2)})
    assert rows(apply(before, delta(), Policy())) == rows(before)
    assert rows(apply_all(before, [(delta(), Policy())])) == rows(before)
    assert rows(apply_all(before, [])) == rows(before)
    assert rows(apply(state(), delta(), Policy())) == []
    learned = delta({"fingerprint": key(1), "injected": True, "depth": 0, "discovered_at": NOW})
    assert rows(apply(schema.STATE.empty_table(), learned, Policy())) == rows(apply(state(), learned, Policy()))
