"""One host's cookies: what is kept, where it is sent back to, and that it is bounded."""

from __future__ import annotations

import threading
import time
import warnings

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.fetching.cookies import CookieJar

HERE = "https://www.shop.example/a/b?c=d"


def jar(*values: str, url: str = HERE) -> CookieJar:
    made = CookieJar()
    made.store(url, [("Content-Type", "text/html"), *(("set-COOKIE", value) for value in values)])
    return made


def test_what_was_set_is_sent_back() -> None:
    ours = jar("a=1", "b=2; Path=/; HttpOnly; SameSite=Lax", 'c="x y"; path=/')
    assert ours.header(HERE) == 'a=1; b=2; c="x y"'
    assert ours.header("https://www.shop.example/") == 'b=2; c="x y"'
    ours.store(HERE, [("Set-Cookie", "b=3; Path=/")])
    assert ours.header("https://www.shop.example/") == 'b=3; c="x y"'


def test_nothing_set_nothing_sent() -> None:
    assert CookieJar().header(HERE) is None
    ours = CookieJar()
    ours.store(HERE, [("Content-Type", "text/html"), ("X-Set-Cookie", "a=1")])
    assert ours.header(HERE) is None
    assert len(ours) == 0


@pytest.mark.parametrize(
    ("value", "path", "sent"),
    [
        ("a=1", "/a/", True),
        ("a=1", "/a/x/y", True),
        ("a=1", "/a", True),
        ("a=1", "/ab", False),
        ("a=1", "/", False),
        ("a=1; Path=/", "/", True),
        ("a=1; Path=/x", "/x/y", True),
        ("a=1; Path=/x", "/xy", False),
    ],
)
def test_paths(value: str, path: str, sent: bool) -> None:
    assert (jar(value).header(f"https://www.shop.example{path}") is not None) == sent


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("a=1; Domain=www.shop.example", True),
        ("a=1; Domain=shop.example", True),
        ("a=1; Domain=.Shop.Example", True),
        ("a=1; Domain=example", False),
        ("a=1; Domain=other.example", False),
        ("a=1; Domain=x.www.shop.example", False),
        ("a=1; Domain=hop.example", False),
    ],
)
def test_domains(value: str, kept: bool) -> None:
    assert (jar(value).header("https://www.shop.example/a/x") is not None) == kept


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("https://a.co.uk/", "co.uk"),
        ("https://me.github.io/", "github.io"),
        ("https://a.b.kawasaki.jp/", "b.kawasaki.jp"),
    ],
)
def test_a_public_suffix_is_nobodys_domain(url: str, domain: str) -> None:
    assert jar(f"a=1; Domain={domain}", url=url).header(url) is None
    assert jar("a=1", url=url).header(url) == "a=1"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/", "http://[::1]:8080/", "http://[::1]/", "http://localhost/", "http://intranet:81/"]
)
def test_hosts_without_a_domain(url: str) -> None:
    assert jar("a=1", url=url).header(url) == "a=1"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "intranet", "github.io", "www.shop.example"])
@pytest.mark.parametrize("domain", ["{}", ".{}", '"{}"', " {} ; Secure"])
def test_a_domain_that_is_the_host_itself_says_nothing(host: str, domain: str) -> None:
    url = f"https://{host}/"
    ours = jar(f"a=1; Domain={domain.format(host)}; Path=/", url=url)
    assert ours.header(url) == "a=1"
    ours.store(url, [("Set-Cookie", f"a=; Max-Age=0; Path=/; domain={host}")])
    assert ours.header(url) is None


def test_no_other_host_gets_it() -> None:
    ours = jar("a=1; Domain=shop.example; Path=/")
    for url in (
        "https://shop.example/",
        "https://x.shop.example/",
        "https://x.www.shop.example/",
        "https://other.example/",
    ):
        assert ours.header(url) is None
        ours.store(url, [("Set-Cookie", "b=2; Path=/")])
        assert ours.header(url) is None
    assert ours.header(HERE) == "a=1"
    assert ours.header("https://www.shop.example:8443/") == "a=1", "RFC 6265 §8.5: ports share"


def test_secure_cookies_go_over_https_alone() -> None:
    ours = jar("a=1; Secure; Path=/", "b=2; Path=/")
    assert ours.header("https://www.shop.example/") == "a=1; b=2"
    assert ours.header("http://www.shop.example/") == "b=2"
    assert jar("a=1; Secure", url="http://www.shop.example/").header("https://www.shop.example/") is None


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("__Secure-a=1; Secure", True),
        ("__Secure-a=1", False),
        ("__Host-a=1; Secure; Path=/", True),
        ("__Host-a=1; Secure; Path=/a", False),
        ("__Host-a=1; Secure; Path=/; Domain=www.shop.example", False),
        ("__host-a=1; Path=/", False),
    ],
)
def test_prefixes(value: str, kept: bool) -> None:
    assert len(jar(value)) == kept


def test_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    ours = jar("a=1; Max-Age=100", "b=2; Expires=Wed, 21 Oct 2099 07:28:00 GMT", "c=3; Max-Age=0", "d=4; Max-Age=-1",
               "e=5; Expires=Wed, 21 Oct 2015 07:28:00 GMT", "f=6; Expires=Wed, 21 Oct 2015 07:28:00 GMT; Max-Age=50",
               "g=7")  # fmt: skip
    assert ours.header(HERE) == "a=1; b=2; f=6; g=7"
    monkeypatch.setattr(time, "time", lambda: now + 75)
    assert ours.header(HERE) == "a=1; b=2; g=7"
    ours.store(HERE, [("Set-Cookie", "g=; Max-Age=0")])
    assert ours.header(HERE) == "a=1; b=2"
    monkeypatch.setattr(time, "time", lambda: now + 101)
    assert ours.header(HERE) == "b=2"


def test_the_oldest_go_first_whatever_their_paths() -> None:
    ours = jar("session=old; Path=/", *(f"c{number}=1; Path=/a" for number in range(49)))
    ours.store(HERE, [("Set-Cookie", "session=new; Path=/")])
    ours.store(HERE, [("Set-Cookie", "c49=1; Path=/a; turn=0")])
    sent = (ours.header(HERE) or "").split("; ")
    assert len(sent) == 50
    assert "c0=1" not in sent
    assert {"session=new", "c49=1"} <= set(sent)


def test_what_has_expired_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    ours = jar("keep=1; Path=/", *(f"c{number}=1; Max-Age=10" for number in range(49)))
    monkeypatch.setattr(time, "time", lambda: now + 60)
    ours.store(HERE, [("Set-Cookie", "new=1; Path=/")])
    assert ours.header(HERE) == "keep=1; new=1"


def test_number_and_size_are_bounded() -> None:
    ours = CookieJar()
    for number in range(200):
        ours.store(HERE, [("Set-Cookie", f"n{number}=x")])
    assert len(ours) == 50
    ours.store(HERE, [("Set-Cookie", f"m{number}=x") for number in range(200)])
    assert len(ours) == 50
    assert "m199=x" in (ours.header(HERE) or "")
    assert len(jar("a=" + "x" * 4095)) == 1
    assert len(jar("a=" + "x" * 4096)) == 0
    assert len(jar("a=1; Path=/" + "x" * 10_000)) == 0
    full = jar(*(f"n{number}=" + "x" * 4000 for number in range(50)))
    assert len(full) == 50
    assert (full.header(HERE) or "").count("=") == 2, "one header line has 8 KiB at most"


@pytest.mark.parametrize(
    "value", ["", "=", "=x", ";", "; Path=/", "a=1\r\nX: y", "a=\x00", "a=\u20ac", "a=\xe9", "a=\x7f"]
)
def test_what_is_no_cookie(value: str) -> None:
    header = jar(value).header(HERE)
    assert header is None or (header.isascii() and header.isprintable())


@given(
    st.lists(
        st.text(max_size=50)
        | st.lists(
            st.sampled_from(["a", "=", "b", ";", " ", '"', ",", "\\", "Path", "Domain", "Expires", "Max-Age", "Secure",
                             "Version", "Port", "/", "1", "99999999999999999999", ".example", "Wed, 21 Oct 2099 07:28:00 GMT"])
        ).map("".join),
        max_size=4,
    )
)  # fmt: skip
@example(["0;MAX-AGE"])
def test_nothing_raises_and_what_is_sent_is_one_line(values: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        header = jar(*values).header(HERE)
    assert header is None or (header.isascii() and header.isprintable())


def test_threads() -> None:
    ours = CookieJar()
    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for number in range(50):
                ours.store(HERE, [("Set-Cookie", f"{name}{number}=x")])
                assert ours.header(HERE)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(ours) == 50
