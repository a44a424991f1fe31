"""Which encoding a page is in, and its text.

The order is a browser's, then a guess: byte order mark, Content-Type header, declaration in the page (meta or XML),
UTF-16 by its zero bytes, strict UTF-8, statistics (cchardet), `parse.default_charset`. Names are those of the WHATWG
Encoding standard, in lower case. A label that the standard does not know counts as absent.
"""

from __future__ import annotations

import codecs
import functools

import cchardet
from w3lib.encoding import html_body_declared_encoding, http_content_type_encoding, resolve_encoding, to_unicode

_CODECS = {
    "utf-8": "utf-8", "utf-16le": "utf-16-le", "utf-16be": "utf-16-be",
    "ibm866": "cp866", "iso-8859-2": "iso8859-2", "iso-8859-3": "iso8859-3", "iso-8859-4": "iso8859-4",
    "iso-8859-5": "iso8859-5", "iso-8859-6": "iso8859-6", "iso-8859-7": "iso8859-7", "iso-8859-8": "iso8859-8",
    "iso-8859-10": "iso8859-10", "iso-8859-13": "iso8859-13", "iso-8859-14": "iso8859-14",
    "iso-8859-15": "iso8859-15", "iso-8859-16": "iso8859-16", "koi8-r": "koi8-r", "koi8-u": "koi8-u",
    "macintosh": "mac-roman", "windows-874": "cp874", "windows-1250": "cp1250", "windows-1251": "cp1251",
    "windows-1252": "cp1252", "windows-1253": "cp1253", "windows-1254": "cp1254", "windows-1255": "cp1255",
    "windows-1256": "cp1256", "windows-1257": "cp1257", "windows-1258": "cp1258", "x-mac-cyrillic": "mac-cyrillic",
    "gb18030": "gb18030", "big5": "big5hkscs", "euc-jp": "euc_jp", "iso-2022-jp": "iso2022_jp",
    "shift_jis": "cp932", "euc-kr": "cp949",
}  # fmt: skip
"""The standard's names and Python's codecs for them (gbk is read as gb18030, its superset)."""

_NAMES = {codecs.lookup(codec).name: name for name, codec in _CODECS.items()} | {"utf-16": "utf-16le"}

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16le"), (codecs.BOM_UTF16_BE, "utf-16be"))

_LABELS = {
    "unicode-1-1-utf-8": "utf-8", "unicode11utf8": "utf-8", "unicode20utf8": "utf-8", "x-unicode20utf8": "utf-8",
    "unicodefeff": "utf-16le", "unicodefffe": "utf-16be", "csunicode": "utf-16le", "ucs-2": "utf-16le",
    "iso-10646-ucs-2": "utf-16le", "unicode": "utf-16le", "dos-874": "windows-874", "iso-8859-8-i": "iso-8859-8",
    "iso-8859-8-e": "iso-8859-8", "logical": "iso-8859-8", "visual": "iso-8859-8", "x-mac-roman": "macintosh",
    "mac": "macintosh", "x-mac-ukrainian": "x-mac-cyrillic", "x-cp1250": "windows-1250", "x-cp1251": "windows-1251",
    "x-cp1252": "windows-1252", "x-cp1253": "windows-1253", "x-cp1254": "windows-1254", "x-cp1255": "windows-1255",
    "x-cp1256": "windows-1256", "x-cp1257": "windows-1257", "x-cp1258": "windows-1258", "koi8": "koi8-r",
    "koi": "koi8-r", "koi8-ru": "koi8-u", "x-gbk": "gb18030", "iso-ir-58": "gb18030", "big5-hkscs": "big5",
    "cn-big5": "big5", "x-x-big5": "big5", "x-euc-jp": "euc-jp", "ms932": "shift_jis", "windows-949": "euc-kr",
    "ks_c_5601-1989": "euc-kr", "korean": "euc-kr", "sun_eu_greek": "iso-8859-7", "x-user-defined": "windows-1252",
}  # fmt: skip
"""Labels of the standard that Python does not know, or understands otherwise."""

_DETECT_BYTES = 1 << 16
_MINIMUM_CONFIDENCE = 0.5


@functools.lru_cache(1024)
def known(label: str) -> str | None:
    """The standard's name for an encoding label, or None. Python's other codecs (rot13, utf-7, …) are no encodings.

    >>> known("Latin1"), known("x-sjis"), known("utf-7"), known("rot13")
    ('windows-1252', 'shift_jis', None, None)
    """
    label = label.strip().lower()
    if label in _LABELS:
        return _LABELS[label]
    if label in _CODECS:
        return label
    try:
        codec = resolve_encoding(label)
    except (ValueError, UnicodeError):  # a NUL in the label
        return None
    return _NAMES.get(codec) if codec else None


def decide(content: bytes, content_type: str | None, default: str) -> tuple[str, int]:
    """The encoding of `content` and the length of its byte order mark. Never raises.

    `content_type` is the header's value; `default` is used where nothing tells.
    """
    for mark, name in _MARKS:
        if content.startswith(mark):
            return name, len(mark)
    declared = _from_header(content_type) or _from_page(content)
    return declared or _detect(content, default), 0


def decode(content: bytes, charset: str, start: int = 0) -> str:
    """`content` from byte `start` on, in an encoding that `decide` named. What is malformed becomes U+FFFD."""
    text: str = to_unicode(content[start:] if start else content, _CODECS[charset])
    return text


def whole_utf8(content: bytes) -> str | None:
    """The text of `content` if it is UTF-8 to its end; else None."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def is_utf8(content: bytes) -> bool:
    """Whether `content` is UTF-8 as it stands; it may end within a character, as what is cut off does."""
    try:
        codecs.utf_8_decode(content, "strict", False)
    except UnicodeDecodeError:
        return False
    return True


@functools.lru_cache(1024)
def _from_header(content_type: str | None) -> str | None:
    if not content_type or "charset" not in content_type.lower():
        return None
    codec = http_content_type_encoding(content_type)
    if codec is None:  # a label that only we know, such as x-gbk
        label = content_type.lower().partition("charset")[2].lstrip(" =\"'").partition(";")[0].strip(" \"'")
        return known(label)
    return known(codec)


def _from_page(content: bytes) -> str | None:
    codec = html_body_declared_encoding(content)
    name = known(codec) if codec else None
    # A page whose declaration could be read as ASCII is not in UTF-16, whatever it says (WHATWG, prescan)
    return "utf-8" if name in ("utf-16le", "utf-16be") else name


def _detect(content: bytes, default: str) -> str:
    head = content[:_DETECT_BYTES]
    if b"\0" in head:
        # Markup is ASCII mostly: in UTF-16, most characters have a zero byte, always on the same side
        even, odd, pairs = head[::2].count(0), head[1::2].count(0), len(head) // 2
        if odd > 4 * even and 2 * odd > pairs:
            return "utf-16le"
        if even > 4 * odd and 2 * even > pairs:
            return "utf-16be"
    if is_utf8(content):
        return "utf-8"
    guess = cchardet.detect(head)
    if guess["encoding"] and (guess["confidence"] or 0) >= _MINIMUM_CONFIDENCE:
        name = known(guess["encoding"])
        if name and name != "utf-8":
            return name
    return known(default) or "windows-1252"
