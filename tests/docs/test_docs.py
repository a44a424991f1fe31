"""Documentation under test: what README.md and CONTRIBUTING.md say exists, and what exists is said."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from crawldb.settings import load, names
from jobs.fetching.credentials import Credentials
from jobs.fetching.egress import Egress

DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *(f"docs/{path.name}" for path in sorted(Path(__file__).parents[2].glob("docs/*.md"))),
)
WRITTEN_BY_A_CRAWL = ("crawldb/log/", "segments/log/", "crawldb/0000", "segments/2")
"""Beginnings of paths in a crawl directory, which are no files of the checkout."""


@pytest.fixture(scope="session")
def readme(checkout: Path) -> str:
    return (checkout / "README.md").read_text("utf-8")


def section(text: str, heading: str) -> str:
    """What stands below `## heading`, up to the next heading of that rank."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no section: ## {heading}"
    return found[1]


def table(text: str) -> list[list[str]]:
    """The rows of the Markdown table in a section, without its head; backticks dropped."""
    rows = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip().replace("`", "") for cell in row] for row in rows[2:]]


def help_of(checkout: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command, "--help"], cwd=checkout, capture_output=True, text=True, check=True
    )
    return done.stdout


# -- README.md -----------------------------------------------------------------------------------------------


def test_dependencies_are_explained(readme: str, requirements: dict[str, list[str]]) -> None:
    """One row each, in setup.py's order, with a reason."""
    rows = table(section(readme, "Dependencies"))
    wanted = [re.split(r"[=<>;]", requirement)[0] for requirement in requirements["RUN"]]
    assert sorted(row[0] for row in rows) == sorted(wanted)
    assert all(len(row) == 2 and len(row[1]) >= 4 for row in rows)


def test_every_command_is_in_the_table(readme: str, checkout: Path) -> None:
    verbs = re.findall(r"^  ([a-z]+) ", help_of(checkout, "-m", "jobs.cli").partition("verbs")[2], re.MULTILINE)
    assert {"crawl", "inject", "generate", "fetch", "parse", "updatedb", "compact", "dump"} <= set(verbs)
    commands = [row[0] for row in table(section(readme, "Commands"))]
    documented = {command.split()[1] for command in commands if command.startswith("cobnut ")}
    assert documented == set(verbs)
    assert any(command.startswith("scripts/crawl.sh --demo") for command in commands)


def test_every_option_of_the_loop_is_told(readme: str, checkout: Path) -> None:
    """Short or long: an option that has a short form is documented by it or by the long one."""
    for line in re.findall(r"^  (-.*)", help_of(checkout, "-m", "jobs.crawl"), re.MULTILINE):
        spellings = re.findall(r"(?<![\w-])--?[a-z][a-z-]*", line.partition("  ")[0])
        assert spellings
        assert "--help" in spellings or any(re.search(rf"{name}\b", readme) for name in spellings), line


def test_every_option_in_an_example_exists(readme: str, checkout: Path) -> None:
    """In the lines of code that call crawl.sh or dump.py."""
    known: dict[str, str] = {
        "scripts/crawl.sh": help_of(checkout, "-m", "jobs.crawl"), "scripts/dump.py": help_of(checkout, "scripts/dump.py"),
    }  # fmt: skip
    text = readme + (checkout / "docs/fetching.md").read_text("utf-8")
    calls = re.findall(r"^(scripts/(?:crawl\.sh|dump\.py))(.*)$", text, re.MULTILINE)
    assert len(calls) > 5
    for program, rest in calls:
        for option in re.findall(r" (--?[a-z][a-z-]*)", re.split("[#|]", rest)[0]):
            assert re.search(rf"(?<![\w-]){option}\b", known[program]), f"{program} has no {option}"


def test_settings_in_the_documents_exist(checkout: Path) -> None:
    """`section.key` in backticks or after --set, and blocks of TOML, which must load."""
    sections = {name.partition(".")[0] for name in names()}
    for document in DOCUMENTS:
        text = (checkout / document).read_text("utf-8")
        for name in re.findall(r"(?:`|--set )([a-z]+\.[a-z_]+)(?=[`=])", text):
            assert (
                name in names() or name.partition(".")[0] not in sections or (checkout / "scripts" / name).exists()
            ), name


def test_the_settings_shown_can_be_loaded(readme: str, tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    assert blocks
    for block in blocks:
        (tmp_path / "shown.toml").write_text(block, "utf-8")
        assert load(str(tmp_path / "shown.toml")).http.agent_name


# -- docs/fetching.md ----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def fetching(checkout: Path) -> str:
    return (checkout / "docs/fetching.md").read_text("utf-8")


def test_every_setting_of_fetching_is_explained(fetching: str) -> None:
    for name in names():
        if name.startswith(("fetch.", "egress.", "browser.")):
            assert re.search(rf"\b{re.escape(name)}\b", fetching), f"docs/fetching.md says nothing of {name}"


def test_the_settings_of_fetching_can_be_loaded(fetching: str, tmp_path: Path) -> None:
    blocks = [block for block in re.findall(r"```toml\n(.*?)```", fetching, re.DOTALL) if "[http]" in block]
    assert len(blocks) > 3
    for block in blocks:
        (tmp_path / "shown.toml").write_text(block, "utf-8")
        assert load(str(tmp_path / "shown.toml")).http.agent_name


def test_the_files_of_fetching_can_be_read(fetching: str, tmp_path: Path) -> None:
    """The examples of a credentials file and a proxies file do what the text says."""
    (credentials,) = re.findall(r"```toml\n(\[\"https.*?)```", fetching, re.DOTALL)
    (proxies,) = re.findall(r"```\n(#[^`]*?socks5h:.*?)```", fetching, re.DOTALL)
    (tmp_path / "credentials.toml").write_text(credentials, "utf-8")
    (tmp_path / "proxies.txt").write_text(proxies, "utf-8")
    files = {"fetch.credentials_file": "credentials.toml", "egress.proxies_file": "proxies.txt"}
    settings = load(None, [f"{name}={tmp_path / file}" for name, file in files.items()])
    known = Credentials.load(settings)
    assert known.fields("https://intranet.example")["Authorization"].startswith("Basic ")
    assert known.fields("https://api.example:8443")["X-Team"] == "search"
    assert known.fields("http://intranet.example") == known.fields("https://api.example") == {}
    egress = Egress(settings)
    assert {host: str(egress.route(host).proxy) for host in ("shop.example", "a.shop.example")} == dict.fromkeys(
        ["shop.example", "a.shop.example"], "https://proxy3.example:443"
    )
    assert egress.route("wiki.intranet.example").proxy is None
    assert str(egress.route("www.example.com").proxy) in ("socks5h://proxy1.example:1080", "http://proxy2.example:3128")


def test_the_round_is_drawn_as_in_the_code(readme: str, checkout: Path) -> None:
    drawing = re.search(r"```\n( +seeds .*?)\n```", readme, re.DOTALL)
    assert drawing
    assert drawing[1] in (checkout / "jobs/__init__.py").read_text("utf-8")


# -- all documents -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document: str, checkout: Path) -> None:
    text = (checkout / document).read_text("utf-8")
    for path in re.findall(r"`((?:jobs|crawldb|scripts|conf|tests|benchmarks)/[\w./-]*)", text):
        if not path.startswith(WRITTEN_BY_A_CRAWL):
            assert (checkout / path).exists(), f"{document} names {path}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str, checkout: Path) -> None:
    text = (checkout / document).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        place = (checkout / document).parent / target
        assert target.startswith("https://") or place.exists(), f"{document} links to {target}"


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_what_to_touch_to_add_something(document: str, checkout: Path) -> None:
    """The families at least; a file without a folder stands in the folder named before it in its row."""
    rows = table(section((checkout / document).read_text("utf-8"), "To add a …"))
    told = " ".join(row[1] for row in rows)
    for family in ("urlfilters", "schedules", "scoring", "orders", "parsers", "signatures", "engines"):
        assert f"{family}.py" in told
    for _, touch in rows:
        folder = ""
        for path in re.findall(r"[\w/.-]+\.(?:py|toml|md)\b", touch):
            folder = path.rpartition("/")[0] or folder
            places = (checkout / path, checkout / folder / path)
            assert any(place.exists() for place in places), f"{document} names {path}"


def test_make_targets_in_the_documents_exist(checkout: Path) -> None:
    makefile = (checkout / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert {"help", "setup", "check", "test", "test-fast", "bench", "demo"} <= targets
    for document in DOCUMENTS:
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", (checkout / document).read_text("utf-8"), re.MULTILINE):
            assert target in targets, f"{document}: make {target}"


def test_the_changelog_is_kept(checkout: Path) -> None:
    """Keep a Changelog: newest first, an Unreleased section on top, known kinds of change, setup.py's version in it."""
    text = (checkout / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## \[(.+?)\](?: - \d{4}-\d\d-\d\d)?$", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert kinds
    version = re.search(r'version="(.+?)"', (checkout / "setup.py").read_text("utf-8"))
    assert version
    assert re.search(rf"\b{re.escape(version[1])}\b", text), "this version is not in the changelog"
