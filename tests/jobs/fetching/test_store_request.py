"""fetch.store_request: what was sent is kept with the answer, but no secrets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_the_requests_fields_are_kept(crawl: Callable[..., Any], server: Any, tools: Any) -> None:
    url = server.url("/")
    asked = tools.request(url, headers={"X-Own": "1", "Accept": "a/b"}, etag='"e"')
    result = crawl(asked, tools.polite(store_request=True), known=tools.no_robots(url)).only
    kept = dict(result.request_headers)
    assert kept["User-Agent"] == "testbot"
    assert (kept["X-Own"], kept["Accept"], kept["If-None-Match"]) == ("1", "a/b", '"e"')
    (received,) = server.arrivals
    sent = {name.lower(): value for name, value in dict(received.headers).items()}
    assert {name.lower(): value for name, value in kept.items()}.items() <= sent.items()


def test_without_the_setting_nothing_is_kept(crawl: Callable[..., Any], server: Any, tools: Any) -> None:
    url = server.url("/")
    assert crawl(url, tools.polite(), known=tools.no_robots(url)).only.request_headers is None


def test_secrets_are_not_kept(crawl: Callable[..., Any], server: Any, tools: Any, tmp_path: Path) -> None:
    url = server.url("/")
    file = tmp_path / "credentials.toml"
    file.write_text(f'["{url.rstrip("/")}"]\nheaders = {{ X-Secret = "s3cret" }}\n')
    settings = tools.polite(store_request=True, credentials_file=str(file), cookies=True)
    result = crawl(url, settings, known=tools.no_robots(url)).only
    (received,) = server.arrivals
    assert "s3cret" in str(received.headers)
    assert "s3cret" not in str(result.request_headers)
    assert "X-Secret" not in dict(result.request_headers)
