"""A parser with default settings, and a short way to have it read something."""

from __future__ import annotations

from crawldb.settings import Settings, load
from jobs.parsing import Document, Page, PageParser

URL = "http://h.example/d/page.html?q=1"


def make_settings(*overrides: str) -> Settings:
    """The defaults, an agent name, no rule file, and `overrides` as after --set."""
    return load(None, ["http.agent_name=Cobnut", "filter.use=length,scope,depth", *overrides])


def read(
    content: bytes | str,
    content_type: str | None = "text/html; charset=utf-8",
    *overrides: str,
    url: str = URL,
    depth: int = 0,
    headers: tuple[tuple[str, str], ...] = (),
    truncated: bool = False,
) -> Document:
    """What a page with this body says."""
    body = content.encode() if isinstance(content, str) else content
    host = url.split("/")[2].partition(":")[0]
    return PageParser(make_settings(*overrides)).parse(
        Page(url, host, depth, body, content_type, list(headers), truncated)
    )
