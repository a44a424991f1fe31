"""Which pages need a browser: by host, by URL, or because they are shells that only a script fills.

Pure functions; the look at a page is one pass over its bytes and no parser's work.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from crawldb.errors import UsageError
from crawldb.settings import Settings

SHELL_TEXT = 30
"""Bytes of text, spaces apart, up to which a page counts as empty: "Loading, please wait …"."""

_SCAN_BYTES = 1 << 20

_TAG = re.compile(rb"[a-zA-Z][^\s/>]*")
_TAG_STOP = re.compile(rb"[>\"']")
_SPACE = re.compile(rb"\s+|&(?:nbsp|zwnj|zwj|#160|#xa0);", re.IGNORECASE)
_HREF = re.compile(rb"\shref\s*=", re.IGNORECASE)
_TYPE = re.compile(rb"\stype\s*=\s*[\"']?([^\"'\s>]*)", re.IGNORECASE)
_JAVASCRIPT = re.compile(rb"$|module$|(text|application)/(x-)?(java|ecma)script(;.*)?$", re.IGNORECASE)
_REFRESH = re.compile(rb"\shttp-equiv\s*=\s*[\"']?refresh", re.IGNORECASE)
_HIDDEN = {
    name: re.compile(rb"</" + name + rb"(?=[\s/>])", re.IGNORECASE)
    for name in (b"script", b"style", b"noscript", b"template", b"svg", b"title", b"textarea", b"iframe", b"noembed")
}
"""Elements whose content is no text of the page, and how they end."""


def wanted(settings: Settings) -> Callable[[str, str, bool, bytes], bool]:
    """`wanted(settings)(url, host, is_html, content)`: whether the page is to be rendered.

    Raises UsageError for a bad pattern in browser.urls.
    """
    options = settings.browser
    patterns = []
    for pattern in options.urls:
        try:
            patterns.append(re.compile(pattern))
        except re.error as error:
            raise UsageError(f"browser.urls: {pattern}: not a regular expression: {error}") from None
    hosts = {host.strip().lower() for host in options.hosts if not host.strip().startswith("*.")}
    above = {host.strip().lower()[2:] for host in options.hosts if host.strip().startswith("*.")}

    def is_wanted(url: str, host: str, is_html: bool, content: bytes) -> bool:
        if not is_html:
            return False
        labels = host.split(".")
        return (
            host in hosts
            or any(".".join(labels[start:]) in above for start in range(1, len(labels)))
            or any(pattern.search(url) for pattern in patterns)
            or (options.empty_pages and is_shell(content))
        )

    return is_wanted


def is_shell(content: bytes) -> bool:
    """True for HTML with a script, but neither a link nor more than SHELL_TEXT of text. Linear in its size."""
    page = content[:_SCAN_BYTES]
    has_script = False
    text = position = 0
    while position < len(page):
        start = page.find(b"<", position)
        text += len(_SPACE.sub(b"", page[position : start if start >= 0 else len(page)]))
        if text > SHELL_TEXT:
            return False
        if start < 0:
            break
        if page.startswith(b"<!--", start):
            position = _after(page, b"-->", start + 4)
            continue
        name = _TAG.match(page, start + 1)
        end = _end_of_tag(page, start + 1) if name else _after(page, b">", start + 1)
        position = end
        if name is None:
            continue  # an end tag, <!doctype> or <?xml?>
        tag, attributes = name[0].lower(), page[name.end() : end]
        if _is_link(tag, attributes):
            return False
        if tag == b"script":
            kind = _TYPE.search(attributes)
            has_script |= bool(_JAVASCRIPT.match(kind[1] if kind else b""))
        if tag in _HIDDEN:
            closing = _HIDDEN[tag].search(page, end)
            position = closing.end() if closing else len(page)
    return has_script


def _is_link(tag: bytes, attributes: bytes) -> bool:
    if tag in (b"a", b"area"):
        return bool(_HREF.search(attributes))
    return tag == b"frame" or (tag == b"meta" and bool(_REFRESH.search(attributes)))


def _end_of_tag(page: bytes, position: int) -> int:
    """After the `>` that ends the tag; quoted ones do not."""
    while stop := _TAG_STOP.search(page, position):
        if stop[0] == b">":
            return stop.end()
        position = _after(page, stop[0], stop.end())
    return len(page)


def _after(page: bytes, mark: bytes, position: int) -> int:
    found = page.find(mark, position)
    return found + len(mark) if found >= 0 else len(page)
