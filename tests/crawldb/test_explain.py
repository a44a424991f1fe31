"""What --url says: every spelling finds the row, every status has its sentence, and what is missing has a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crawldb import explain, schema
from crawldb.fingerprint import url_fingerprint
from crawldb.store import Snapshot
from tests.crawldb.golden_crawldb import DAY, NOW, SEED, base_rows, build
from tests.crawldb.tables import table


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return build(tmp_path_factory.mktemp("crawl")).snapshot()


@pytest.fixture(autouse=True)
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration of our own, whatever the checkout's says."""
    monkeypatch.setenv("COBNUT_CONF_DIR", str(tmp_path))
    (tmp_path / "regex-urlfilter.txt").write_text("-\\.jpg$\n+.\n")
    return tmp_path


@pytest.mark.parametrize(
    "spelling",
    [SEED, "https://example.com", "HTTPS://Example.COM:443/./#top", "example.com", "https://user:pw@example.com/"],
)
def test_any_spelling_finds_the_row(snapshot: Snapshot, spelling: str) -> None:
    assert explain.find(snapshot, spelling)["url"].to_pylist() == [SEED]


def test_without_a_scheme_http_is_found_too(snapshot: Snapshot) -> None:
    assert explain.find(snapshot, "other.example:8080")["url"].to_pylist() == ["http://other.example:8080/"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mailto:a@b.example", "not in the crawldb"),
        ("ftp://example.com/", "ftp://example.com/: not a URL that can be crawled (http or https, with a valid host)"),
        ("http://example.com/", "http://example.com/: not in the crawldb; but https://example.com/ is"),
        ("https://www.example.com/", "but https://example.com/ is"),
        ("https://example.com/old/", "but https://example.com/old is"),
        ("https://EXAMPLE.com/a.jpg", "(its canonical form is https://example.com/a.jpg); the URL filters refuse it: regex"),
        ("https://example.com/x", "no seed names it and no page parsed so far links to it"),
        ("example.com/x", "(its canonical form is https://example.com/x or http://example.com/x)"),
    ],
)  # fmt: skip
def test_what_is_missing_has_a_reason(snapshot: Snapshot, url: str, message: str) -> None:
    with pytest.raises(explain.NotFoundError) as caught:
        explain.find(snapshot, url)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_scope_is_named(snapshot: Snapshot, conf: Path) -> None:
    (conf / "crawl-site.toml").write_text('[filter]\nscope = "host"\n')
    with pytest.raises(explain.NotFoundError, match=r"filter\.scope = host refuses links from elsewhere"):
        explain.find(snapshot, "https://elsewhere.example/")


def test_broken_filters_do_not_hide_that_the_row_is_missing(snapshot: Snapshot, conf: Path) -> None:
    (conf / "crawl-site.toml").write_text("[filter]\nuse = 3\n")
    with pytest.raises(
        explain.NotFoundError, match=r"not in the crawldb; whether a filter refuses it is unknown: .*use"
    ):
        explain.find(snapshot, "https://elsewhere.example/")


def reasons(snapshot: Snapshot, url: str) -> list[str]:
    return explain.reasons(snapshot, explain.find(snapshot, url), NOW)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("", "Fetched 2 days ago (200)."),
        ("old", "Redirects for good to https://example.com/, as of 2 days ago (301)."),
        ("away", "Redirects for now to http://other.example/, as of 2 days ago (302, redirect)."),
        ("same", "Unchanged when it was last asked for, 2 days ago (304); the content is of 90 days ago."),
        ("copy", "A duplicate of https://example.com/; fetched 2 days ago."),
        ("lost", "An orphan: no page links here any more; fetched 2 days ago (200)."),
    ],
)
def test_every_status_has_a_sentence(snapshot: Snapshot, path: str, sentence: str) -> None:
    assert reasons(snapshot, f"{SEED}{path}")[0] == sentence


def test_gone(snapshot: Snapshot) -> None:
    assert reasons(snapshot, "http://other.example/")[0] == "Gone: the last attempt failed 2 days ago (404)."


def test_failed_for_now(snapshot: Snapshot) -> None:
    first = snapshot.store.snapshot(0)
    assert reasons(first, "http://other.example:8080/") == [
        "Not fetched: the last attempt failed 2 hours ago (timeout), 2 in a row.",
        "Due in 90 minutes.",
        "Discovered 3 days ago on https://example.com/, 1 link from a seed.",
    ]
    assert reasons(snapshot, "http://other.example:8080/")[0] == "Fetched 60 seconds ago (200)."


def test_new_ones(snapshot: Snapshot) -> None:
    assert reasons(snapshot, "http://other.example:8080/new") == [
        "Never fetched so far.",
        "Due since 60 seconds: the next generate may choose it.",
        "Discovered 60 seconds ago on http://other.example:8080/, 2 links from a seed.",
    ]
    assert reasons(snapshot, "https://xn--bcher-kva.example/")[2] == "Injected as a seed."


def test_who_linked_may_be_unknown(snapshot: Snapshot) -> None:
    assert reasons(snapshot, f"{SEED}lost")[2] == f"Discovered 3 days ago on the page {'00' * 20}, 1 link from a seed."


@pytest.mark.parametrize("status", [status.name for status in schema.Status])
@pytest.mark.parametrize("fetched_at", [None, NOW - DAY, NOW + 5 * DAY])
@pytest.mark.parametrize("due_at", [NOW, NOW + 1, -NOW])
def test_every_row_has_three_sentences(snapshot: Snapshot, status: str, fetched_at: int | None, due_at: int) -> None:
    row: dict[str, Any] = {**base_rows()[0], "status": status, "fetched_at": fetched_at, "due_at": due_at,
                           "modified_at": None, "redirect_to": None, "http_status": None}  # fmt: skip
    found = explain.reasons(snapshot, table([row], schema.STATE), NOW)
    assert len(found) == 3
    assert all(sentence.endswith(".") and "None" not in sentence for sentence in found)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "less than a second"),
        (999, "less than a second"),
        (1000, "1 second"),
        (60_000, "60 seconds"),
        (120_000, "2 minutes"),
        (5_400_000, "90 minutes"),
        (DAY, "24 hours"),
        (2 * DAY - 1, "47 hours"),
        (2 * DAY, "2 days"),
        (3000 * DAY, "3,000 days"),
    ],
)
def test_spans(milliseconds: int, text: str) -> None:
    assert explain._span(milliseconds) == text


def test_the_vertical_form_keeps_what_a_server_sent_off_the_terminal() -> None:
    row = table([{**base_rows()[0], "etag": "\x1b[2J\n"}], schema.STATE)
    text = explain.vertical(row, ["url", "etag", "status"], ["a.", "b\x1b."])
    assert text == f"url     {SEED}\netag    \\u001b[2J\\u000a\nstatus  fetched\nwhy     a.\n        b\\u001b.\n"
    assert row["fingerprint"][0].as_py() == url_fingerprint(SEED)


def test_a_host_that_a_rule_skips_is_named(snapshot: Snapshot, conf: Path) -> None:
    row = explain.find(snapshot, SEED)
    assert not any("left out" in reason for reason in explain.reasons(snapshot, row, NOW))
    (conf / "crawl-site.toml").write_text("[hosts]\nskip = ['example.com', 'other.example']\n")
    assert "Its host is left out of every round by hosts.skip: example.com." in explain.reasons(snapshot, row, NOW)
    (conf / "crawl-site.toml").write_text("[generate]\nhost_rules = ['requests > 0 → skip']\n")  # it was never asked
    assert not any("left out" in reason for reason in explain.reasons(snapshot, row, NOW))
