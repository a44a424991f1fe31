"""Credentials go to the origin they are for, and are shown to nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from crawldb.errors import UsageError
from crawldb.settings import Settings
from crawldb.urls import origin_of
from jobs.fetching.credentials import Credentials

SECRET = "s3cr3t"


def load(tmp_path: Path, text: str | bytes, mode: int = 0o600) -> Credentials:
    file = tmp_path / "credentials.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    file.chmod(mode)
    settings = Settings()
    settings.fetch.credentials_file = str(file)
    return Credentials.load(settings)


def test_what_a_file_says(tmp_path: Path) -> None:
    credentials = load(
        tmp_path,
        """
        ["https://Intranet.example"]
        basic = "Aladdin:open sesame"
        headers = { X-Key = "k", Cookie = "a=b" }
        ["http://127.0.0.1:8080/"]
        bearer = "mF_9.B5f-4.1JqM"
        ["https://b\u00fccher.example:443"]
        basic = "us\u00e9r:pass:word"
        ["https://[::1]:8443"]
        headers = { authorization = "Digest x" }
        """,
    )
    assert credentials
    assert credentials.notes == ()
    assert credentials.fields("https://intranet.example") == {
        "X-Key": "k", "Cookie": "a=b", "Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    }  # fmt: skip
    assert credentials.fields("http://127.0.0.1:8080") == {"Authorization": "Bearer mF_9.B5f-4.1JqM"}
    assert credentials.fields("https://xn--bcher-kva.example") == {"Authorization": "Basic dXPDqXI6cGFzczp3b3Jk"}
    assert credentials.fields(origin_of("https://[::1]:8443/x")) == {"authorization": "Digest x"}


@pytest.mark.parametrize(
    "url",
    ["http://intranet.example/", "https://intranet.example:8443/", "https://www.intranet.example/", "https://example/",
     "https://intranet.example.evil.example/", "http://intranet.example:443/"],
)  # fmt: skip
def test_no_other_origin_gets_them(tmp_path: Path, url: str) -> None:
    credentials = load(tmp_path, f'["https://intranet.example"]\nbearer = "{SECRET}"\n')
    assert credentials.fields(origin_of(url)) == {}


def test_none() -> None:
    credentials = Credentials.load(Settings())
    assert not credentials
    assert credentials.fields("https://example.org") == {}


def test_what_comes_out_is_a_copy(tmp_path: Path) -> None:
    credentials = load(tmp_path, '["https://a.example"]\nbearer = "x"\n')
    credentials.fields("https://a.example")["X"] = "y"
    assert credentials.fields("https://a.example") == {"Authorization": "Bearer x"}


def test_nothing_shows_a_secret(tmp_path: Path) -> None:
    credentials = load(tmp_path, f'["https://a.example"]\nbearer = "{SECRET}"\nheaders = {{ X = "{SECRET}" }}\n')
    assert "https://a.example" in repr(credentials)
    for shown in (repr(credentials), str(credentials), f"{credentials}", repr([credentials])):
        assert SECRET not in shown


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f'["https://a.example"]\nbasic = "{SECRET}"', "https://a.example: basic: expected"),
        (f'["https://a.example"]\nbasic = ["{SECRET}", ":"]', "basic: expected"),
        (f'["https://a.example"]\nbasic = "a:{SECRET}\\n"', "basic: expected"),
        (f'["https://a.example"]\nbearer = "{SECRET} x"', "bearer: expected"),
        (f'["https://a.example"]\nbearer = "{SECRET}"\nbasic = "a:{SECRET}"', "exclude each other"),
        (f'["https://a.example"]\npassword = "{SECRET}"', "basic, bearer, headers"),
        ('["https://a.example"]', "basic, bearer, headers"),
        (f'["https://a.example"]\nheaders = "{SECRET}"', "headers: expected a table"),
        (f'["https://a.example"]\nheaders = {{ X = "{SECRET}\\r\\nY: z" }}', "headers: X: expected"),
        (f'["https://a.example"]\nheaders = {{ X = "{SECRET}\u20ac" }}', "headers: X: expected"),
        ('["https://a.example"]\nheaders = { X = 1 }', "headers: X: expected"),
        (f'["https://a.example"]\nheaders = {{ "X Y" = "{SECRET}" }}', "'X Y' cannot be set"),
        (f'["https://a.example"]\nheaders = {{ Host = "{SECRET}" }}', "'Host' cannot be set"),
        (f'["https://a.example"]\nheaders = {{ x = "{SECRET}", X = "a" }}', "'X' cannot be set"),
        (f'["https://a.example"]\nbearer = "{SECRET}"\nheaders = {{ authorization = "x" }}', "Authorization, besides"),
        (f'["https://me:{SECRET}@a.example"]\nbearer = "x"', "has a user in it"),
        (f'["https://a.example/path"]\nbearer = "{SECRET}"', "expected an origin"),
        (f'["https://a.example/?"]\nbearer = "{SECRET}"', "expected an origin"),
        (f'["a.example"]\nbearer = "{SECRET}"', "expected an origin"),
        (f'["ftp://a.example"]\nbearer = "{SECRET}"', "expected an origin"),
        (f'"https://a.example" = "{SECRET}"', "expected a table"),
        (f'["https://a.example"]\nbearer = "{SECRET}"\n["https://A.example:443"]\nbearer = "x"', "is there twice"),
        (f'["https://a.example"]\nbearer = {SECRET}\n', "not TOML at line 2"),
        (f'["https://a.example"]\n{SECRET} = "x"\n{SECRET} = "x"', "not TOML"),
        (b'["https://a.example"]\nbearer = "\xff"', "not UTF-8"),
        ("x = " + "[" * 10_000, "nested too deeply"),
    ],
)
def test_a_mistake_is_told_without_the_secret(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert "credentials.toml: " in message
    assert says in message
    assert SECRET not in message
    assert len(message.splitlines()) == 1
    assert caught.value.__suppress_context__ or caught.value.__context__ is None, "a traceback would show it"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    settings = Settings()
    settings.fetch.credentials_file = str(tmp_path / "none.toml")
    with pytest.raises(UsageError, match=r"none\.toml: No such file"):
        Credentials.load(settings)


def test_a_file_that_others_may_read_is_worth_a_note(tmp_path: Path) -> None:
    (note,) = load(tmp_path, '["https://a.example"]\nbearer = "x"\n', mode=0o644).notes
    assert "chmod 600" in note
