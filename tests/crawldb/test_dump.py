"""The command: its output against golden files, its options alone and together, its mistakes, and a closed pipe."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb import dump, schema
from crawldb.fingerprint import url_fingerprint
from crawldb.store import Snapshot
from tests.crawldb.golden_crawldb import COMMANDS, NOW, SEED, build, without_sizes

GOLDEN = Path(__file__).parent / "golden"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("a crawl")
    build(directory)
    return directory


@pytest.fixture
def run(crawl: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Runs dump on the golden crawldb: (exit code, stdout, stderr)."""

    def run(*options: str) -> tuple[int, str, str]:
        try:
            code = dump.main([str(crawl), *options], NOW)
        except SystemExit as stop:
            code = int(str(stop.code))
        captured = capfdbinary.readouterr()
        return code, captured.out.decode(), captured.err.decode()

    return run


def urls(output: str) -> list[str]:
    return [json.loads(line)["url"].replace("https://example.com/", "/") for line in output.splitlines()]


@pytest.mark.parametrize("name", COMMANDS)
def test_output_is_what_it_was(run: Run, name: str) -> None:
    code, output, errors = run(*COMMANDS[name])
    assert (code, errors) == (0, "")
    assert without_sizes(output) == (GOLDEN / name).read_bytes().decode()


def test_jsonl_has_every_column_in_the_schemas_order(run: Run) -> None:
    _, output, _ = run()
    rows = [json.loads(line) for line in output.splitlines()]
    assert len(rows) == 11
    assert all(list(row) == schema.STATE.names for row in rows)
    keys = [row["fingerprint"] for row in rows]
    assert keys == sorted(set(keys))
    for column in schema.STATE_COLUMNS:  # and looks as its example does, where it is not null
        values = [row[column.name] for row in rows if row[column.name] is not None]
        if column.example is not None:
            assert {type(value) for value in values} == {type(column.example)}


# -- which rows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--host", "other.example"], ["http://other.example:8080/", "http://other.example/", "http://other.example:8080/new"]),
        (["--host", "OTHER.example."], []),
        (["--host", "Bücher.example"], ["https://xn--bcher-kva.example/"]),
        (["--host", "https://Other.Example/x", "--status", "gone"], ["http://other.example/"]),
        (["--status", "redir_temp, redir_perm"], ["/old", "/away"]),
        (["--top", "2"], ["/copy", "/"]),
        (["--top", "100", "--host", "example.com"], ["/copy", "/", "/search", "/away", "/old", "/same", "/lost"]),
        (["--top", "1", "--status", "fetched", "--where", "score < 1"], ["http://other.example:8080/"]),
        (["--where", "metadata['collection'] LIKE '%é%' AND due_at > now()"], ["/"]),
        (["--where", "method = 'POST' AND length(body) = 4"], ["/search"]),
        (["--as-of", "0", "--where", "score IS NULL"], ["http://other.example:8080/"]),
        (["--where", "score IS NULL"], []),
    ],
)  # fmt: skip
def test_filters(run: Run, options: list[str], expected: list[str]) -> None:
    code, output, errors = run("--columns", "url", *options)
    assert code == 0
    assert urls(output) == expected
    assert errors == ("" if expected else "dump: no row meets the conditions\n")


def test_statistics_are_of_the_filtered_rows(run: Run) -> None:
    _, output, _ = run("--stats", "--format", "jsonl", "--host", "example.com", "--where", "depth >= 1")
    result = json.loads(output)
    assert result["rows"] == 5
    assert result["top_hosts"] == [{"host": "example.com", "rows": 5}]


SCORES = st.lists(st.lists(st.none() | st.sampled_from([0.0, 0.5, 1.0, -1.0, float("inf"), float("nan")]), max_size=9),
                  max_size=6)  # fmt: skip


@given(SCORES, st.integers(1, 12), st.integers(0, 6))
def test_the_highest_scores_are_those_of_sorting_all(parts: list[list[float | None]], top: int, slack: int) -> None:
    place, tables = 0, []
    for part in parts:
        tables.append(
            pa.table(
                {"score": pa.array(part, pa.float32()), "place": pa.array(range(place, place + len(part)), pa.int64())}
            )
        )
        place += len(part)
    scores = [-np.inf if score is None or np.isnan(score) else score for part in parts for score in part]
    expected = sorted(range(place), key=lambda at: (-scores[at], at))[:top]
    before = dump._TOP_SLACK
    dump._TOP_SLACK = slack
    try:
        result = dump.highest(tables, top)
    finally:
        dump._TOP_SLACK = before
    assert result.num_rows == len(expected)
    if tables:
        assert result["place"].to_pylist() == expected


def test_url_reads_no_more_than_the_row_and_who_linked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[bytes] = []
    lookup = Snapshot.lookup

    def counted(self: Snapshot, key: bytes) -> pa.Table:
        looked_up.append(key)
        return lookup(self, key)

    monkeypatch.setattr(Snapshot, "lookup", counted)
    monkeypatch.setattr(Snapshot, "scan", None)
    code, output, errors = run("--url", "HTTPS://EXAMPLE.com/x/../old#top")
    assert (code, errors) == (0, "")
    assert looked_up == [url_fingerprint(f"{SEED}old"), url_fingerprint(SEED)]
    lines = output.splitlines()
    assert lines[1] == "url               https://example.com/old"
    assert lines[-3:] == [
        "why               Redirects for good to https://example.com/, as of 2 days ago (301).",
        "                  Due in 28 days.",
        "                  Discovered 3 days ago on https://example.com/, 1 link from a seed.",
    ]


@pytest.mark.parametrize("name", ["jsonl", "csv"])
def test_url_in_other_formats_is_the_row_of_the_whole_dump(run: Run, name: str) -> None:
    _, row, _ = run("--url", SEED, "--format", name)
    _, everything, _ = run("--format", name)
    assert row.splitlines()[-1] in everything.splitlines()
    assert len(row.splitlines()) == (2 if name == "csv" else 1)


def test_url_with_columns(run: Run) -> None:
    _, output, _ = run("--url", SEED, "--columns", "status,url")
    assert output.splitlines()[:3] == ["status  fetched", f"url     {SEED}", "why     Fetched 2 days ago (200)."]


def test_url_not_found(run: Run) -> None:
    code, output, errors = run("--url", "http://EXAMPLE.com/old")
    assert (code, output) == (1, "")
    assert errors == (
        "dump: http://EXAMPLE.com/old: not in the crawldb (its canonical form is http://example.com/old); "
        "but https://example.com/old is\n"
    )


def test_url_as_of(run: Run) -> None:
    url = "http://other.example:8080/new"
    assert run("--url", url)[0] == 0
    assert run("--url", url, "--as-of", "0")[0] == 1


# -- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--columns", "url,statsu"], "--columns: no column 'statsu'; did you mean status?"),
        (["--columns", "url,,status"], "--columns: no column ''; there are fingerprint, url,"),
        (["--columns", "url,url"], "--columns: url is named twice"),
        (["--status", "fetchd"], "--status fetchd: no such status; did you mean fetched?"),
        (["--host", "http://"], "--host http://: not a host"),
        (["--where", "url = "], "--where: character 7: expected a column or a value, found the end"),
        (["--where", "body = 'x'"], "--where: character 8: expected bytes to compare with, found a text"),
        (["--as-of", "7"], "--as-of 7: there are the versions 0-1"),
        (["--url", SEED, "--host", "a"], "--url and --host do not go together"),
        (["--url", SEED, "--stats"], "--url and --stats do not go together"),
        (["--stats", "--top", "3"], "--stats and --top do not go together"),
        (["--stats", "--columns", "url"], "--stats and --columns do not go together"),
        (["--stats", "--format", "csv"], "--stats is printed as table or jsonl, not as csv"),
        (["--refused", "--stats"], "--refused and --stats do not go together"),
        (["--refused", "--as-of", "0"], "--refused and --as-of do not go together"),
        (["-o", "."], "-o .: a directory; give a file name"),
        (["-o", "/nowhere/at/all"], "-o /nowhere/at/all: no directory /nowhere/at"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(run: Run, options: list[str], message: str) -> None:
    code, output, errors = run(*options)
    assert (code, output) == (2, "")
    assert errors.startswith(f"dump: {message}")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    "options", [["--format", "xml"], ["--top", "0"], ["--top", "x"], ["--as-of", "x"], ["more"], ["--nope"]]
)
def test_wrong_arguments_exit_2(run: Run, options: list[str]) -> None:
    code, output, errors = run(*options)
    assert (code, output) == (2, "")
    assert errors.splitlines()[-1].startswith("dump: error: ")


def test_help_names_every_status_and_exit_code(run: Run) -> None:
    code, output, _ = run("--help")
    text = " ".join(output.split())
    assert code == 0
    assert all(status.name in text for status in schema.Status)
    assert "1 failed or --url not found" in text


def test_no_crawldb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dump.main([str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.startswith(f"dump: {tmp_path / 'nowhere'}: no crawldb here")


def test_parquet_is_refused_on_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    code, output, errors = run("--format", "parquet")
    assert (code, output, errors) == (2, "", "dump: parquet is not for terminals; give -o FILE\n")


def test_a_table_is_cut_to_the_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    _, output, _ = run("--format", "table")
    assert max(map(len, output.splitlines())) == 100
    assert "…" in output


# -- where it goes -----------------------------------------------------------------------------------------------


def test_a_file_has_what_stdout_would_have_and_appears_whole(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    code, output, errors = run("-o", str(target))
    assert (code, output, errors) == (0, "", "")
    assert target.read_text() == (GOLDEN / "dump-all.jsonl").read_text()
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~mask
    assert os.listdir(tmp_path) == ["out.jsonl"]


def test_parquet_in_a_file_is_the_state(run: Run, tmp_path: Path, crawl: Path) -> None:
    target = tmp_path / "out.parquet"
    assert run("--format", "parquet", "-o", str(target))[0] == 0
    read = pq.read_table(target)
    assert read.schema.equals(schema.STATE)
    expected: list[Any] = pa.concat_tables(dump.Store(str(crawl)).snapshot().scan()).to_pylist()
    assert read.to_pylist() == expected


def test_parquet_through_a_pipe(crawl: Path) -> None:
    done = subprocess.run(_command(crawl, "--format", "parquet"), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert pq.read_table(io.BytesIO(done.stdout)).num_rows == 11


def test_a_dump_that_fails_leaves_the_old_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("old")
    scan = Snapshot.scan

    def breaks_off(self: Snapshot, columns: list[str]) -> Any:
        yield next(iter(scan(self, columns)))
        raise OSError(28, "No space left on device", "disk")

    monkeypatch.setattr(Snapshot, "scan", breaks_off)
    code, _, errors = run("-o", str(target))
    assert (code, errors) == (1, "dump: disk: No space left on device\n")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.jsonl"]


def test_a_link_is_followed_and_a_pipe_written_to(run: Run, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    assert run("--columns", "url", "--top", "1", "-o", str(tmp_path / "link"))[0] == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == '{"url":"https://example.com/copy"}\n'
    assert run("-o", "/dev/null")[0] == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


PROGRAM = "import sys; from crawldb.dump import main; sys.exit(main())"


def _command(crawl: Path, *options: str) -> list[str]:
    return [sys.executable, "-W", "error", "-c", PROGRAM, str(crawl), *options]


@pytest.mark.parametrize("options", [[], ["--stats"], ["--url", SEED], ["--format", "parquet"], ["--format", "table"]])
def test_a_closed_pipe_is_no_error(crawl: Path, options: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)  # nobody will ever read
    try:
        done = subprocess.run(_command(crawl, *options), stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_is_an_error_in_one_line(crawl: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(_command(crawl), stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, b"dump: the output: No space left on device\n")
