"""The settings: documentation that cannot go stale, and mistakes answered with file, key and the nearest name."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb import settings as module
from crawldb.errors import UsageError
from crawldb.settings import Policy, Settings, default_toml, load, names

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FIELDS = [
    (section, field)
    for section, value in vars(Settings()).items()
    for field in dataclasses.fields(value)
    if field.name != "properties"
]
"""All settings that have a name of their own; `hadoop.properties` holds those that have not."""


@pytest.fixture(autouse=True)
def empty_conf_directory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No settings of whoever runs the tests."""
    directory = tmp_path_factory.mktemp("conf")
    monkeypatch.setenv("COBNUT_CONF_DIR", str(directory))
    return directory


def loaded(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "my.toml"
    file.write_text(text, "utf-8")
    return load(str(file))


def refusal(tmp_path: Path, text: str) -> str:
    """The message that a settings file is refused with, without its path."""
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, text)
    message = str(caught.value)
    assert "\n" not in message
    prefix = f"{tmp_path / 'my.toml'}: "
    assert message.startswith(prefix)
    return message[len(prefix) :]


# -- conf/ ---------------------------------------------------------------------------------------------------


def test_the_default_file_is_the_tree(checkout: Path) -> None:
    text = (checkout / "conf/crawl-default.toml").read_text("utf-8")
    assert text == default_toml(), "run: python -m crawldb.settings > conf/crawl-default.toml"
    written = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "crawldb.settings"], cwd=checkout, capture_output=True, check=True
    )
    assert written.stdout.decode("utf-8") == text


def test_the_default_file_can_be_loaded_and_changes_nothing(checkout: Path) -> None:
    assert load(str(checkout / "conf/crawl-default.toml")).to_json() == load_in(checkout / "conf").to_json()


def load_in(directory: Path) -> Settings:
    """The defaults, with the names of files made absolute as beside a file in `directory`."""
    settings = Settings()
    module._locate_files(settings, directory)
    return settings


def test_the_site_file_can_be_loaded(checkout: Path) -> None:
    """As it comes, it changes nothing: not even agent_name, so that fetch asks for one."""
    site = load(str(checkout / "conf/crawl-site.toml"))
    assert site.to_json() == load_in(checkout / "conf").to_json()
    assert site.http.agent_name == ""


def test_what_the_site_file_suggests_is_valid(checkout: Path, tmp_path: Path) -> None:
    text = (checkout / "conf/crawl-site.toml").read_text("utf-8")
    uncommented = re.sub(r"^# (?=[a-z_]+ = )", "", text, flags=re.MULTILINE)
    settings = loaded(tmp_path, uncommented)
    assert settings.http.agent_name == "my-crawler"
    assert settings.filter.scope == "domain"
    assert settings.fetch.time_limit == 3600.0
    assert uncommented.count("\n# ") == text.count("\n# ") - sum(
        len(values) for values in tomllib.loads(uncommented).values()
    )


def test_the_site_file_is_read_without_conf(empty_conf_directory: Path) -> None:
    (empty_conf_directory / "crawl-site.toml").write_text("[fetch]\ndelay = 7\n")
    assert load().fetch.delay == 7.0


def test_conf_replaces_the_site_file(empty_conf_directory: Path, tmp_path: Path) -> None:
    (empty_conf_directory / "crawl-site.toml").write_text("[fetch]\ndelay = 7\n")
    settings = loaded(tmp_path, "[fetch]\nthreads = 3\n")
    assert (settings.fetch.delay, settings.fetch.threads) == (5.0, 3)


def test_set_wins_over_the_file(empty_conf_directory: Path) -> None:
    (empty_conf_directory / "crawl-site.toml").write_text("[fetch]\ndelay = 7\nthreads = 3\n")
    settings = load(None, ["fetch.delay=1", "fetch.delay=2"])
    assert (settings.fetch.delay, settings.fetch.threads) == (2.0, 3)


def test_a_missing_conf_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load(str(tmp_path / "none.toml"))


# -- documentation -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("section", "field"), FIELDS, ids=names())
def test_every_setting_is_documented(section: str, field: dataclasses.Field[object]) -> None:
    doc = field.metadata["doc"]
    assert len(doc) > 10
    assert doc[-1] in ".,…", doc
    assert field.metadata["unit"] in ("", "seconds", "hours", "bytes")
    assert re.fullmatch(r"[a-z][a-z_]*[a-z]", field.name)


@pytest.mark.parametrize("section", vars(Settings()))
def test_every_section_is_documented(section: str) -> None:
    assert (type(getattr(Settings(), section)).__doc__ or "").rstrip().endswith(".")


@pytest.mark.parametrize(("section", "field"), FIELDS, ids=names())
def test_every_setting_does_something(section: str, field: dataclasses.Field[object], checkout: Path) -> None:
    """Its name is read somewhere outside settings.py."""
    used = any(
        re.search(rf"\.{field.name}\b", path.read_text("utf-8"))
        for room in ("jobs", "crawldb") for path in (checkout / room).rglob("*.py") if path.name != "settings.py"
    )  # fmt: skip
    assert used, f"{section}.{field.name} is read nowhere"


# -- mistakes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[fetch]\ndelai = 1", "unknown setting fetch.delai; did you mean fetch.delay?"),
        ("[fetch]\nthread = 1", "unknown setting fetch.thread; did you mean fetch.threads?"),
        ("[http]\nthreads = 1", "unknown setting http.threads; did you mean fetch.threads?"),
        ("[fecth]\ndelay = 1", "unknown setting fecth.delay; did you mean fetch.delay?"),
        ("[fetch.delay]\nx = 1", "fetch.delay = {'x': 1}: expected a number"),
        ("agent_name = 'x'", "agent_name stands outside a section; did you mean http.agent_name?"),
        ("zzzzzzzz = 1", "zzzzzzzz stands outside a section; conf/crawl-default.toml lists them all"),
        ("[fetch]\ndelay = true", "fetch.delay = True: expected a number"),
        ("[fetch]\ndelay = 'soon'", "fetch.delay = 'soon': expected a number of seconds, such as \"90s\", \"12h\" or \"30d\""),
        ("[fetch]\ndelay = '3 parsecs'", "fetch.delay = '3 parsecs': expected a number of seconds, such as \"90s\", \"12h\" or \"30d\""),
        ("[fetch]\ndelay = -1", "fetch.delay = -1: must not be negative"),
        ("[fetch]\nthreads = 1.5", "fetch.threads = 1.5: expected a whole number"),
        ("[fetch]\nthreads = '2s'", "fetch.threads = '2s': expected a whole number"),
        ("[fetch]\nthreads = [1]", "fetch.threads = [1]: expected a whole number"),
        ("[fetch]\nmax_bytes = '1s'", "fetch.max_bytes = '1s': expected a whole number of bytes, such as \"64MiB\""),
        ("[fetch]\nconditional = 'yes'", "fetch.conditional = 'yes': expected true or false"),
        ("[fetch]\nconditional = 1", "fetch.conditional = 1: expected true or false"),
        ("[http]\nagent_name = 1", "http.agent_name = 1: expected a string"),
        ("[filter]\nscope = 'galaxy'", "filter.scope = 'galaxy': expected one of host, domain, any"),
        ("[filter]\nuse = 'regex'", "filter.use = 'regex': expected a list of strings"),
        ("[filter]\nuse = [1]", "filter.use = [1]: expected a list of strings"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_file_and_key(text: str, message: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, text) == message


def test_broken_toml_is_told_with_its_line(tmp_path: Path) -> None:
    assert "line 2" in refusal(tmp_path, "[fetch]\ndelay =\n")


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_bytes("# größer".encode("latin-1"))
    with pytest.raises(UsageError, match=r"my\.toml: .*utf-8"):
        load(str(tmp_path / "my.toml"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("fetch.delay", "--set fetch.delay: expected KEY=VALUE, for example fetch.delay=2"),
        ("fetch.delai=1", "--set: unknown setting fetch.delai; did you mean fetch.delay?"),
        ("delay=1", "--set: unknown setting delay; did you mean fetch.delay?"),
        ("=1", "--set: unknown setting ; "),
        ("fetch=1", "--set: unknown setting fetch"),
        ("fetch.delay.x=1", "--set: unknown setting fetch.delay.x"),
        ("fetch.conditional=maybe", "--set: fetch.conditional = 'maybe': expected true or false"),
        ("to_json.x=1", "--set: unknown setting to_json.x"),
        ("store.shards=3", "store.shards = 3: expected a power of two"),
        ("store.shards=0", "store.shards = 0: expected a power of two"),
        ("fetch.threads=0", "fetch.threads = 0: must be more than 0"),
        ("schedule.interval=0", "interval = 0: must be at least 1"),
        ("schedule.interval=100000d", "schedule.interval: must be less than 2^31 seconds"),
    ],
)
def test_a_mistake_in_set_is_told(override: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(None, [override])
    assert message in str(caught.value)


def answer(override: str) -> str:
    """The refusal's message, or `taken`."""
    try:
        load(None, [override])
    except UsageError as error:
        return str(error)
    return "taken"


@given(st.text(), st.text())
def test_set_takes_any_text_or_refuses_it(key: str, value: str) -> None:
    assert answer(f"{key}={value}").startswith(("--set", "taken"))


@given(st.sampled_from(names()), st.text())
def test_any_value_of_a_known_key_is_taken_or_refused(key: str, value: str) -> None:
    said = answer(f"{key}={value}")
    assert said == "taken" or key.partition(".")[2] in said


# -- values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("fetch.delay", "90", 90.0), ("fetch.delay", "90s", 90.0), ("fetch.delay", "0.5", 0.5), ("fetch.delay", ".5", 0.5),
        ("fetch.delay", "1.5m", 90.0), ("fetch.delay", "2min", 120.0), ("fetch.delay", "1.5h", 5400.0),
        ("fetch.delay", "30d", 2_592_000.0), ("fetch.delay", "1 w", 604_800.0), ("fetch.delay", "2H", 7200.0),
        ("schedule.interval", "12h", 43_200), ("schedule.interval", "1.5h", 5400),
        ("store.keep_hours", "36", 36.0), ("store.keep_hours", "2d", 48.0), ("store.keep_hours", "1w", 168.0),
        ("fetch.max_bytes", "64MiB", 1 << 26), ("fetch.max_bytes", "64mb", 64_000_000), ("fetch.max_bytes", "100", 100),
        ("fetch.max_bytes", "100B", 100), ("fetch.max_bytes", "1GiB", 1 << 30), ("fetch.max_bytes", "0.5KiB", 512),
        ("generate.top", "50_000", 50_000), ("generate.top", "0", 0),
        ("fetch.conditional", "false", False), ("fetch.conditional", "True", True),
        ("http.agent_description", "a=b, c", "a=b, c"), ("http.agent_name", "", ""),
        ("filter.use", "regex, scope", ["regex", "scope"]), ("filter.use", "", []),
        ("filter.scope", "host", "host"),
    ],
)  # fmt: skip
def test_units_and_types(name: str, text: str, value: object, tmp_path: Path) -> None:
    """From --set; and the same from TOML, as a string where TOML has no such type."""
    section, key = name.split(".")
    result = getattr(getattr(load(None, [f"{name}={text}"]), section), key)
    assert (result, type(result)) == (value, type(value))
    toml = json.dumps(value if isinstance(value, (bool, list)) else text)
    assert getattr(getattr(loaded(tmp_path, f"[{section}]\n{key} = {toml}\n"), section), key) == value


def test_lists_of_two_settings_are_two_lists() -> None:
    one, other = Settings(), Settings()
    one.filter.use.append("x")
    assert "x" not in other.filter.use


def test_filter_files_stand_beside_the_file_that_names_them(empty_conf_directory: Path, tmp_path: Path) -> None:
    for directory in (empty_conf_directory, tmp_path):
        (directory / "mine.txt").touch()
    (empty_conf_directory / "regex-urlfilter.txt").touch()
    filters = loaded(tmp_path, '[filter]\nsuffix_file = "mine.txt"\n').filter
    assert filters.suffix_file == str(tmp_path / "mine.txt")
    assert filters.regex_file == str(empty_conf_directory / "regex-urlfilter.txt")
    assert filters.domain_file == ""


# -- on their way --------------------------------------------------------------------------------------------


def test_settings_travel_as_one_line() -> None:
    settings = load(None, ["fetch.delay=2", "filter.use=regex,depth", "http.agent_name=größer\n"])
    assert "\n" not in settings.to_json()
    assert Settings.from_json(settings.to_json()) == settings


def test_a_policy_travels_and_newer_settings_get_their_defaults() -> None:
    settings = load(None, ["schedule.interval=7d", "score.name=depth"])
    policy = Policy(settings.schedule, settings.score)
    assert Policy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy
    older = policy.to_dict()
    del older["schedule"]["gone_factor"]
    assert Policy.from_dict(older) == policy


def test_names_are_in_order_and_distinct() -> None:
    assert len(set(names())) == len(names()) == len(FIELDS)
    assert names()[0] == "http.agent_name"


def test_hadoops_own_properties_pass_through(tmp_path: Path) -> None:
    conf = tmp_path / "crawl-site.toml"
    conf.write_text("[hadoop]\nqueue = 'crawl'\nmapreduce.map.memory.mb = 2048\n'mapreduce.map.speculative' = true\n")
    settings = load(str(conf), ["hadoop.mapreduce.map.memory.mb=4096", "hadoop.mapreduce.job.user.name=x=y"])
    assert settings.hadoop.queue == "crawl"
    assert settings.hadoop.properties == {
        "mapreduce.map.memory.mb": "4096", "mapreduce.map.speculative": "true", "mapreduce.job.user.name": "x=y",
    }  # fmt: skip
    assert Settings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize("name", ["hadoop.properties", "hadoop.que", "hadoop.memory", "fetch.a.b"])
def test_only_dotted_names_pass_through(name: str) -> None:
    with pytest.raises(UsageError, match=rf"unknown setting {name}; "):
        load(None, [f"{name}=1"])
