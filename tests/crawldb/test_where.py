"""The condition language: against SQLite on the same rows, and what only we have, case by case."""

from __future__ import annotations

import re
import sqlite3
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawldb import conditions, schema, where
from crawldb.errors import UsageError

NOW = int(datetime(2026, 11, 24, 10, 15, tzinfo=timezone.utc).timestamp() * 1000)
DAY = 86_400_000

ROWS: list[dict[str, Any]] = [
    {"url": "https://a.example/a_b%c", "host": "a.example", "status": "fetched", "http_status": 200, "retries": 0,
     "score": 0.5, "depth": 0, "interval_fixed": True, "etag": None, "metadata": [("k", "x"), ("o", None)]},
    {"url": "https://b.example/ÄÖ", "host": "b.example", "status": "gone", "http_status": 404, "reason": "http_404",
     "retries": 3, "score": 0.25, "depth": None, "interval_fixed": False, "etag": "", "metadata": []},
    {"url": "https://b.example/A\nB", "host": "b.example", "status": "unfetched", "http_status": None, "retries": 1,
     "reason": "timeout", "score": None, "depth": 7, "interval_fixed": None, "etag": '"it\'s"', "metadata": None},
    {"url": "https://c.example/", "host": "c.example", "status": "unfetched", "http_status": None, "retries": 0,
     "score": -1.0, "depth": 2, "interval_fixed": None, "etag": "W/x", "metadata": [("k", "y")]},
]  # fmt: skip
TIMES = [(-DAY, None), (0, -3 * DAY), (DAY, -DAY), (40 * DAY, None)]
"""due_at and fetched_at, in milliseconds from NOW."""


def table(**encodings: Any) -> pa.Table:
    """ROWS as a state table in two chunks, each with its own dictionaries."""
    complete = [
        {"fingerprint": bytes([place] * 20), "interval": 86400 * place, "due_at": NOW + due,
         "fetched_at": None if fetched is None else NOW + fetched, "body": None if place else b"ab", **row}
        for place, (row, (due, fetched)) in enumerate(zip(ROWS, TIMES, strict=True))
    ]  # fmt: skip
    return pa.concat_tables([pa.Table.from_pylist(part, schema=schema.STATE) for part in (complete[:1], complete[1:])])


TABLE = table()


def chosen(text: str) -> list[int]:
    """The numbers of the rows for which the condition is true."""
    condition = where.parse(text, NOW)
    assert set(condition.columns) <= set(schema.STATE.names)
    rows = condition.filter(TABLE.select([*condition.columns, "fingerprint"] if "fingerprint" not in condition.columns
                                         else list(condition.columns)))  # fmt: skip
    return [fingerprint[0] for fingerprint in rows["fingerprint"].to_pylist()]


def verdicts(text: str) -> list[bool | None]:
    """True, false or null for each row; needing no columns but those the condition names."""
    condition = where.parse(text, NOW)
    names = list(condition.columns) or ["url"]
    return list(where.parse(text, NOW).mask(TABLE.select(names)).to_pylist())


# -- against SQLite ----------------------------------------------------------------------------------------------


def sqlite() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.create_function(
        "REGEXP", 2, lambda pattern, text: None if text is None else bool(re.search(pattern, text))
    )
    connection.execute("PRAGMA case_sensitive_like = ON")
    connection.execute("CREATE TABLE t (url, host, status, reason, http_status, retries, score, depth, "
                       "interval_fixed, etag, k, n)")  # fmt: skip
    for number, row in enumerate(ROWS):
        values = [row.get(name) for name in ("url", "host", "status", "reason", "http_status", "retries", "score",
                                             "depth", "interval_fixed", "etag")]  # fmt: skip
        connection.execute(f"INSERT INTO t VALUES ({','.join('?' * 12)})",
                           [*values, dict(row["metadata"] or []).get("k"), number])  # fmt: skip
    return connection


SQLITE = sqlite()

TEXTS = st.sampled_from(["'a.example'", "'b.example'", "'http_404'", "'timeout'", "''", "'x'", "'W/x'", "'\"it''s\"'"])
TEXT_COLUMNS = st.sampled_from(["url", "host", "reason", "etag", "metadata['k']"])
TEXT_VALUES = st.one_of(TEXT_COLUMNS, TEXTS, st.builds("lower({})".format, st.sampled_from(["host", "etag", "'Ab'"])))
NUMBERS = st.sampled_from(["0", "1", "-1", "0.25", "0.5", "2.5", "200", "404", "1e2", "99999999999"])
NUMBER_VALUES = st.one_of(
    st.sampled_from(["http_status", "retries", "score", "depth", "length(host)", "length(etag)", "length(url)"]),
    NUMBERS,
)
COMPARE = st.sampled_from(["=", "==", "!=", "<>", "<", "<=", ">", ">="])
NOT = st.sampled_from(["", "NOT "])
PATTERNS = st.sampled_from(["'%'", "'a%'", "'%B'", "'http____'", "'%_%'", "'%it''s%'", "''", "'W/x'", "'%.e%'"])
REGEXES = st.sampled_from(["'^a'", "'e$'", "'[0-9]+'", "'x|y'", "''", "'it''s'"])


def lists(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values | st.just("null"), min_size=1, max_size=4).map(", ".join)


PREDICATES = st.one_of(
    st.builds("{} {} {}".format, TEXT_VALUES, COMPARE, TEXT_VALUES),
    st.builds("{} {} {}".format, NUMBER_VALUES, COMPARE, NUMBER_VALUES),
    st.builds("{} {}IN ({})".format, TEXT_VALUES, NOT, lists(TEXT_VALUES)),
    st.builds("{} {}in ({})".format, NUMBER_VALUES, NOT, lists(NUMBER_VALUES)),
    st.builds("{} {}BETWEEN {} AND {}".format, NUMBER_VALUES, NOT, NUMBER_VALUES, NUMBER_VALUES),
    st.builds("{} {}Between {} and {}".format, TEXT_VALUES, NOT, TEXT_VALUES, TEXT_VALUES),
    st.builds("{} IS {}NULL".format, TEXT_VALUES | NUMBER_VALUES | st.just("interval_fixed"), NOT),
    st.builds("{} {}LIKE {}".format, TEXT_VALUES, NOT, PATTERNS),
    st.builds("{} {}REGEXP {}".format, TEXT_VALUES, NOT, REGEXES),
    st.builds("interval_fixed {} {}".format, st.sampled_from(["=", "!="]), st.sampled_from(["true", "false"])),
    st.sampled_from(["interval_fixed", "true", "FALSE", "null", "status = 'gone'", "status IN ('fetched', 'gone')"]),
)
CONDITIONS = st.recursive(
    PREDICATES,
    lambda inner: st.one_of(
        st.builds("{} AND {}".format, inner, inner),
        st.builds("{} OR {}".format, inner, inner),
        st.builds("NOT {}".format, inner),
        st.builds("({})".format, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=500)
@given(CONDITIONS)
def test_means_what_sqlite_means(text: str) -> None:
    in_sqlite = text.replace("metadata['k']", "k")
    answers = SQLITE.execute(f"SELECT ({in_sqlite}) FROM t ORDER BY n").fetchall()
    assert verdicts(text) == [None if answer is None else bool(answer) for (answer,) in answers]


@given(CONDITIONS)
def test_a_condition_needs_only_its_columns_and_not_the_dictionaries(text: str) -> None:
    condition = where.parse(text, NOW)
    plain = TABLE.cast(pa.schema([
        field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field for field in schema.STATE
    ]))  # fmt: skip
    unified = TABLE.unify_dictionaries().combine_chunks()
    assert condition.mask(TABLE).to_pylist() == condition.mask(plain).to_pylist() == condition.mask(unified).to_pylist()
    assert condition.mask(TABLE.slice(0, 0)).to_pylist() == []


# -- what SQLite does not have -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("due_at <= now()", [0, 1]),
        ("due_at < '2026-11-24T10:15'", [0]),
        ("due_at <= '2026-11-24 10:15:00.000Z'", [0, 1]),
        ("due_at < '2026-11-24T12:15:00.001+02:00'", [0, 1]),
        ("due_at < '2026-11-24t08:15:00.001-0200'", [0, 1]),
        ("due_at BETWEEN '2026-11-24' AND '2026-11-26'", [1, 2]),
        ("'2026-11-25' < due_at", [2, 3]),
        ("due_at IN ('2026-11-25T10:15', now())", [1, 2]),
        ("due_at > now() + 7 days", [3]),
        ("due_at > now() + 7d - 1 week", [2, 3]),
        ("due_at < now() + '1 day'", [0, 1]),
        ("due_at <= now() + interval '24 hours'", [0, 1, 2]),
        ("fetched_at > now() - 2d", [2]),
        ("due_at - fetched_at = 3 days", [1]),
        ("due_at - fetched_at < 259201", [1, 2]),
        ("fetched_at + interval <= now()", [1]),
        ("interval > 1 day", [2, 3]),
        ("interval = 86400s", [1]),
        ("interval BETWEEN 1d AND 1440 minutes", [1]),
        ("1 day < interval AND interval < 3 d", [2]),
        (f"fingerprint = '{'01' * 20}'", [1]),
        (f"fingerprint IN ('{'02' * 20}', '')", [2]),
        ("fingerprint LIKE '03%' OR fingerprint REGEXP '^(00)+$'", [0, 3]),
        ("length(fingerprint) = 40", [0, 1, 2, 3]),
        ("body IS NOT NULL AND length(body) = 2", [0]),
        ("metadata IS NULL", [2]),
        ("metadata['k'] IS NULL", [1, 2]),
        ("METADATA['k'] = 'y' or Metadata[\"k\"] LIKE 'x'", [0, 3]),
        ("headers['Accept'] IS NULL", [0, 1, 2, 3]),
        ('status = "gone"', [1]),
        ("url LIKE '%a\\_b\\%c'", [0]),
        ("url LIKE '%/A_B'", [2]),
        ("url LIKE '%/__'", [1]),
        ("(status = 'gone') = (retries = 3)", [0, 1, 2, 3]),
        ("lower(url) LIKE '%äö'", [1]),
        ("not (depth > 1)", [0]),
        ("1 = 1", [0, 1, 2, 3]),
        ("now() < '2026-11-24'", []),
        pytest.param(f"retries < {'9' * 5000}", [0, 1, 2, 3], id="beyond every integer"),
        ("score > -1e300 AND depth < 1e400", [0, 3]),
    ],
)
def test_times_durations_hex_and_maps(text: str, rows: list[int]) -> None:
    assert chosen(text) == rows


def test_a_score_is_compared_as_it_is_shown() -> None:
    scores = pa.table({"score": pa.array([0.1, 0.2, None], pa.float32())})
    for text, expected in (("score = 0.1", [True, False, None]), ("score > 0.1", [False, True, None]),
                           ("score IN (0.2, 5)", [False, True, None]), ("0.1 >= score", [True, False, None])):  # fmt: skip
        assert where.parse(text, NOW).mask(scores).to_pylist() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "character 1: expected a column or a value, found the end"),
        ("statsu = 'gone'", "character 1: no column statsu (text stands in quotes: 'statsu'); did you mean status?"),
        ("status = gone", "character 10: no column gone (text stands in quotes: 'gone')"),
        ("status = 'feched'", "character 10: no status 'feched'; did you mean fetched?"),
        ("status in ('gone', 'zzz')", "character 20: no status 'zzz'; there are unfetched, fetched,"),
        ("status", "character 1: expected a condition, found a text alone; compare it to something"),
        ("depth and true", "character 1: expected a condition, found a number alone"),
        ("depth = 'x'", "character 9: expected a number to compare with, found a text"),
        ("due_at < 5", "character 10: expected a time to compare with, found a number"),
        ("due_at < 'soon'", "character 10: 'soon' is no time; expected one such as '2026-11-24'"),
        ("due_at < '2026-02-30'", "character 10: '2026-02-30' is no time"),
        ("reason = null", "character 8: = null is never true; write IS NULL or IS NOT NULL"),
        ("interval_fixed < true", "character 16: a condition cannot be ordered; expected = or !="),
        ("interval_fixed between true and false", "character 1: a condition cannot be ordered"),
        ("metadata = 'x'", "character 1: metadata is a map; write metadata['key'], or metadata IS NULL"),
        ("metadata[k] = 'x'", "character 10: expected a key in quotes: metadata['key'], found k"),
        ("metadata['k' = 'x'", "character 14: expected ] after the key, found ="),
        ("url LIKE host", "character 10: expected a text in quotes after LIKE, found host"),
        ("depth LIKE '1'", "character 1: LIKE works on text, this is a number"),
        ("url REGEXP '(a'", "character 12: not a regular expression: missing ): (a"),
        ("url NOT 'x'", "character 9: expected IN, BETWEEN, LIKE or REGEXP after NOT, found 'x'"),
        ("url IS 'x'", "character 8: expected NULL or NOT NULL, found 'x'"),
        ("url IS NOT 'x'", "character 12: expected NULL, found 'x'"),
        ("depth IN 3", "character 10: expected ( after IN, found 3"),
        ("depth IN (3 4)", "character 13: expected ) or , in the list of IN, found 4"),
        ("depth BETWEEN 1 OR 2", "character 17: expected AND after BETWEEN …, found OR"),
        ("(depth = 1", "character 11: expected ) to close the one at character 1, found the end"),
        ("depth = 1)", "character 10: expected AND, OR or the end, found )"),
        ("depth = 1 depth = 2", "character 11: expected AND, OR or the end, found depth"),
        ("url = 'x", "character 7: the quote ' is not closed"),
        ("url ~ 'x'", "character 5: unexpected '~'; text stands in quotes"),
        ("upper(url) = 'X'", "character 1: no function upper; there are now(), length() and lower()"),
        ("lower(depth) = 'x'", "character 7: lower() takes a text, this is a number"),
        ("depth + 1 = 2", "character 7: + takes a time and a duration, such as now() - 7 days"),
        ("due_at > now() - 'x'", "character 18: 'x' is no duration; expected one such as '7 days'"),
        ("interval = 5 parsecs", "character 14: parsecs is no unit of time; expected seconds,"),
        ("due_at > now() + 99999999 weeks", "character 18: a duration of more than 3,000 years"),
        ("AND depth = 1", "character 1: expected a column or a value, found AND"),
        ("depth = 'a\nb'", "character 9: expected a number"),
        ("(" * 60 + "true" + ")" * 60, "character 52: nested more than 50 deep"),
        ("not " * 60 + "true", "nested more than 50 deep"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        where.parse(text, NOW)
    said = str(caught.value)
    assert said.startswith("--where: character ")
    assert message in said
    assert "\n" not in said


WORDS = ["status", "depth", "metadata", "'x'", '"', "7", "d", "now", "(", ")", "[", "]", ",", "=", "<", "-", "+", "and",
         "not", "in", "is", "null", "like", "between", "regexp", "lower", "true", "due_at", "interval", " ", "²", "\n"]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join) | st.text(max_size=30))
def test_whatever_is_written_it_is_a_condition_or_one_line(text: str) -> None:
    said = ""
    try:
        rows = where.parse(text, NOW).mask(TABLE).length()
    except UsageError as error:
        rows, said = len(ROWS), str(error)
    assert rows == len(ROWS)
    assert len(said.splitlines()) <= 1


def test_conditions_join() -> None:
    both = conditions.all_of([conditions.one_of("status", ["gone", "unfetched"]), where.parse("retries > 0", NOW)])
    assert both.columns == ("status", "retries")
    assert both.mask(TABLE).to_pylist() == [False, True, True, False]
    assert conditions.all_of([]).mask(TABLE).to_pylist() == [True] * 4
