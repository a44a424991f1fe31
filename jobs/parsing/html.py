"""HTML and XHTML: from bytes to lxml's parser, and from there to `reader`.

Nearly all pages go through a tree and a stylesheet, both in C; Python sees the few elements that mean something, which
saves some of the time on ordinary pages and none on those that are all links (benchmarks/README.md). What
libxml2 would cut short as a tree (more than 255 open elements, attributes of megabytes) goes through one pass of its
SAX parser instead, which loses nothing. Both read the same markup alike, for both end in the same `Reader`. Markup
errors are libxml2's to mend.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Mapping
from typing import Any

from lxml import etree

from crawldb.settings import ParseSettings
from jobs.parsing.charset import decide, decode, whole_utf8
from jobs.parsing.contract import Extract
from jobs.parsing.reader import Reader
from jobs.parsing.stylesheet import stylesheet

_PIECE_BYTES = 1 << 14
"""A page for the SAX parser is fed in pieces of about this size; between two of them its depth is looked at. libxml2
searches all open elements for each end tag, so without it the time could grow with the square of the page's size."""

_XHTML_NAMESPACE = "{http://www.w3.org/1999/xhtml}"
# An entity that only a DTD knows: an XML parser that loads no DTD would drop it silently
_dtd_entity = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos);)[A-Za-z]").search

# The controls that `reader` and `whitespace` use as marks, and references to them
_OWN = str.maketrans("\x7f\x81\x8d", "\ufffd\ufffd\ufffd")
_NUMBER = rb"(?:[xX]0*(?:7[fF]|8[1dD])(?![0-9a-fA-F])|0*1(?:27|29|41)(?![0-9]));?"
_is_own = re.compile(_NUMBER).match
_own_references = re.compile(b"&#" + _NUMBER).sub


def parse_html(content: bytes, content_type: str | None, settings: ParseSettings) -> Extract:
    """A `contract.Parser` for text/html."""
    charset, body = _as_utf8(content, content_type, settings)
    extract = _read_html(body, settings)
    extract.charset = charset
    return extract


def parse_xhtml(content: bytes, content_type: str | None, settings: ParseSettings) -> Extract:
    """A `contract.Parser` for application/xhtml+xml: read as XML if it is well-formed, else as HTML."""
    charset, body = _as_utf8(content, content_type, settings)
    extract = None if _dtd_entity(body) else _read_xml(body, settings)
    if extract is None:
        extract = _read_html(body, settings)
    extract.charset = charset
    return extract


def _as_utf8(content: bytes, content_type: str | None, settings: ParseSettings) -> tuple[str, bytes]:
    """The charset, and the page in UTF-8, valid, without NULs and our own marks: what every libxml2 reads alike."""
    charset, start = decide(content, content_type, settings.default_charset)
    text = whole_utf8(content) if charset == "utf-8" else None
    if text is None:
        text = decode(content, charset, start)
        body = None
    else:
        body = content[start:] if start else content
    if "\0" in text or "\x7f" in text or "\x81" in text or "\x8d" in text:
        text = text.replace("\0", "").translate(_OWN)
        body = None
    if body is None:
        body = text.encode("utf-8", "replace")
    if b"&#" in body and any(map(_is_own, body.split(b"&#"))):  # a part of the time that `sub` takes
        body = _own_references("\ufffd".encode(), body)
    return charset, body


class _Parsers(threading.local):
    """A thread's reader, parsers and stylesheet: setting up lxml's parser takes a tenth of the time that a page takes."""

    def __init__(self) -> None:
        self.reader = Reader()
        target: Any = self.reader  # lxml's stubs want a class derived from theirs
        self.events = etree.HTMLParser(encoding="utf-8", target=target, huge_tree=True)
        self.tree = etree.HTMLParser(
            encoding="utf-8", remove_comments=True, remove_pis=True, collect_ids=False, default_doctype=False
        )
        self.flatten = stylesheet()


_parsers = _Parsers()


def _read_html(body: bytes, settings: ParseSettings) -> Extract:
    stream = _flattened(body)
    if stream is None:
        return _read_events(body, settings)
    reader = _parsers.reader
    reader.begin(settings)
    reader.read(stream)
    return reader.finish()


def _flattened(body: bytes) -> str | None:
    """The page as `Reader.read` takes it, or None if it cannot be had whole this way."""
    parser = _parsers.tree
    try:
        root = etree.fromstring(body, parser)
        last = parser.error_log.last_error
        if root is None or (last is not None and last.level == etree.ErrorLevels.FATAL):  # libxml2 went no further
            return None
        return str(_parsers.flatten(root))
    except etree.LxmlError:
        return None


def _read_events(body: bytes, settings: ParseSettings) -> Extract:
    reader, parser = _parsers.reader, _parsers.events
    reader.begin(settings)
    position, size = 0, len(body)
    try:
        while position < size:
            cut = body.find(b"<", position + _PIECE_BYTES)
            cut = size if cut < 0 else cut
            parser.feed(body[position:cut])
            position = cut
            if reader.depth() > settings.max_depth and position < size and not reader.raw:
                parser.close()  # ends all open elements; the next piece begins anew
        parser.close()
    except etree.LxmlError:
        _reset(parser)  # no element at all, or beyond repair; what was read until here counts
    except BaseException:
        _parsers.__init__()  # type: ignore[misc]  # whatever state this left behind
        raise
    return reader.finish()


def _reset(parser: etree.HTMLParser) -> None:
    with contextlib.suppress(etree.LxmlError):
        parser.close()


def _read_xml(body: bytes, settings: ParseSettings) -> Extract | None:
    reader = Reader()
    reader.begin(settings)
    target: Any = _XhtmlTarget(reader)
    try:
        parser = etree.XMLParser(encoding="utf-8", target=target, no_network=True)
        etree.fromstring(body, parser)
    except (etree.LxmlError, ValueError):
        return None
    return reader.finish()


class _XhtmlTarget:
    """Passes the elements of the XHTML namespace on; others are not HTML's, whatever their names."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.data = reader.data

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._reader.start(tag.removeprefix(_XHTML_NAMESPACE), attributes)

    def end(self, tag: str) -> None:
        self._reader.end(tag.removeprefix(_XHTML_NAMESPACE))

    def close(self) -> None:
        """The page ends with the reader's `finish`."""
