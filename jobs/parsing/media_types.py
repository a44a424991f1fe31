"""What kind of document a body is.

The order, after WHATWG's MIME Sniffing and its mistrust in one point only:
1. A header that says something: its media type, unless the bytes begin like a well-known binary format and the
   header says text; then the bytes are right. XML in general becomes XHTML if its root element is `html`.
2. No header, a malformed or an empty phrase (`application/octet-stream`, `unknown/unknown`, `*/*`): the bytes decide:
   a binary format's mark, `<?xml`, the beginning of an HTML page, control characters (binary), else plain text.
"""

from __future__ import annotations

import functools
import re

HTML, XHTML, XML, TEXT, BINARY = (
    "text/html", "application/xhtml+xml", "application/xml", "text/plain", "application/octet-stream",
)  # fmt: skip

_SAYS_NOTHING = frozenset({"application/octet-stream", "application/unknown", "unknown/unknown", "*/*",
                           "application/x-unknown-content-type", "content/unknown", "binary/octet-stream"})  # fmt: skip
_XML = frozenset({"application/xml", "text/xml"})
_MAGIC = (
    (b"%PDF-", "application/pdf"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"), (b"\xff\xd8\xff", "image/jpeg"), (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b\x08", "application/gzip"), (b"Rar!\x1a\x07", "application/x-rar-compressed"),
    (b"%!PS-Adobe-", "application/postscript"), (b"\x00\x00\x01\x00", "image/x-icon"), (b"OggS\0", "application/ogg"),
    (b"ID3", "audio/mpeg"), (b"wOFF", "font/woff"), (b"wOF2", "font/woff2"), (b"\x7fELF", BINARY),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole"),
    (b"BZh", "application/x-bzip2"), (b"\xfd7zXZ\0", "application/x-xz"), (b"\0asm", "application/wasm"),
)  # fmt: skip
_HEAD = 1024

_media_type = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*(?:[;,]|$)").match
_start = re.compile(rb"(?:\xef\xbb\xbf)?[\s\0]*").match
# The elements that browsers take as the mark of an HTML page, and `<title`, `<meta`, `<link` that real ones begin with
_html = re.compile(
    rb"<(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p|meta|link|center|ul|form"
    rb"|frameset|span|base)[\s>/]|<!--",
    re.IGNORECASE,
).match
_root = re.compile(
    rb"(?:<\?.*?\?>|<!--.*?-->|<!doctype[^>\[]*(?:\[.*?\]\s*)?>|\s)*<(?:[\w.-]+:)?html[\s>/]", re.I | re.S
).match
_control = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]").search


def media_type(content: bytes, header: str | None) -> str:
    """The media type of `content` in lower case, without parameters; `header` is the Content-Type's value."""
    declared = _declared(header) if header else None
    if declared is None:
        return sniff(content)
    if declared.startswith("text/") or declared == XHTML:
        magic = _by_magic(content)
        if magic:
            return magic
    if declared in _XML:
        return XHTML if _is_xhtml(content) else declared
    return declared


def sniff(content: bytes) -> str:
    """The media type by the bytes alone."""
    magic = _by_magic(content)
    if magic:
        return magic
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:_HEAD]:
        # Perhaps UTF-16: without the zero bytes, its ASCII characters show
        head = content[: 2 * _HEAD].replace(b"\0", b"").removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff")
        return HTML if _html(head.lstrip()) else TEXT if content.startswith((b"\xff\xfe", b"\xfe\xff")) else BINARY
    begin = _start(content[:_HEAD]).end()  # type: ignore[union-attr]  # it matches the empty string too
    head = content[begin : begin + _HEAD]
    if head.startswith(b"<?xml"):
        return XHTML if _is_xhtml(content) else XML
    if _html(head):
        return HTML
    return BINARY if _control(head) else TEXT


@functools.lru_cache(1024)
def _declared(header: str) -> str | None:
    match = _media_type(header)
    declared = match[1].lower() if match else None
    return None if declared in _SAYS_NOTHING else declared


def _by_magic(content: bytes) -> str | None:
    if content[:1] in b"<\n\r \t":  # also an empty body; no format of the list begins so
        return None
    for mark, name in _MAGIC:
        if content.startswith(mark):
            return name
    return "image/webp" if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else None


def _is_xhtml(content: bytes) -> bool:
    return _root(content[:_HEAD].removeprefix(b"\xef\xbb\xbf").lstrip()) is not None
