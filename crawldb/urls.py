"""What a URL is to the crawl: its canonical form, host, origin and registrable domain.

Owns canonicalization: one spelling for every URL, chosen once, where the URL enters. Does not decide whether a URL
is wanted (`urlfilters`) and does not hash it (`fingerprint`).

The canonical form is the WHATWG URL standard's serialisation, http and https only, without fragment and credentials,
with its query sorted, and such that `w3lib.url.canonicalize_url` leaves it unchanged: so our fingerprints are
Scrapy's. Where the two disagree (`/%7E`, `?a`, `?q=a%20b`), w3lib's spelling wins and is read by WHATWG's rules again.
"""

from __future__ import annotations

import functools
import re
from urllib.parse import unquote_to_bytes

import can_ada
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from publicsuffixlist import PublicSuffixList
from w3lib.url import canonicalize_url

MAX_LENGTH = 1 << 16
"""Characters. No server takes a longer request line, and the work on one link stays bounded."""

_ROUNDS = 8

# The bytes whose escape w3lib keeps, in upper case: in a path those that it does not think safe and %25 %2F %3B %3F,
# which would change its structure; in a query all but the unreserved ones, and the space, which becomes "+".
_PATH_ESCAPE = "%(?:[018-9A-F][0-9A-F]|2[0235F]|3[BCEF]|5[CE]|60|7[BDF])"
_QUERY_ESCAPE = "%(?:[018-9A-F][0-9A-F]|2[1-9A-CF]|3[A-F]|40|5[B-E]|60|7[BCDF])"
_PATH_CHARACTERS = "A-Za-z0-9_.~!$&'()*+,=:@/-"
_QUERY_CHARACTERS = "A-Za-z0-9_.~+-"
_PATH = f"[{_PATH_CHARACTERS}]*(?:{_PATH_ESCAPE}[{_PATH_CHARACTERS}]*)*"
_PARAMETERS = "(?<![./]);[A-Za-z0-9_.~!$&'()*+,=:@;-]+"
_VALUE = f"[{_QUERY_CHARACTERS}]*(?:{_QUERY_ESCAPE}[{_QUERY_CHARACTERS}]*)*"
_FIELD = f"{_VALUE}={_VALUE}"

# Of what WHATWG serialises, w3lib changes nothing in a URL that matches, but the order of the fields if there are
# several (group 1). What is rare or delicate is left out: a ";" that w3lib would not take for path parameters as they
# stand, "[", "|", a lone "%", an empty query, a field without "=", IPv6. Every repetition is delimited: it is linear.
_ALMOST_CANONICAL = re.compile(
    f"https?://[a-z0-9_.-]+(?::[0-9]+)?/{_PATH}(?:{_PARAMETERS})?(?:\\?{_FIELD}(&{_FIELD}(?:&{_FIELD})*)?)?"
)
_match = _ALMOST_CANONICAL.fullmatch

_PATH_UNUSUAL = re.compile(f"%[0-9A-Fa-f]{{2}}|[^%{_PATH_CHARACTERS}]")
_QUERY_UNUSUAL = re.compile(f"%[0-9A-Fa-f]{{2}}|[^&={_QUERY_CHARACTERS}]")


def _spellings(kept: str, escaped: str) -> dict[str, str]:
    """How w3lib writes each escape and each character: `kept` (a character class) as itself, all else escaped."""
    plain = re.compile(f"[{kept}]")
    spelling: dict[str, str] = {}
    for byte in range(256):
        upper, character = f"%{byte:02X}", chr(byte)
        chosen = character if byte < 128 and character not in escaped and plain.match(character) else upper
        spelling[character] = chosen
        for high in {upper[1], upper[1].lower()}:
            for low in {upper[2], upper[2].lower()}:
                spelling[f"%{high}{low}"] = chosen
    return spelling


_PATH_SPELLING = _spellings(_PATH_CHARACTERS, escaped="/")
_QUERY_SPELLING = _spellings(_QUERY_CHARACTERS, escaped="+") | {"%20": "+"}

# Python 3.13 and later writes ::ffff:1.2.3.4 where WHATWG writes ::ffff:102:304, so w3lib and WHATWG never agree.
_MAPPED_IPV4 = re.compile(r"https?://\[::ffff:[0-9a-f]+:[0-9a-f]+\]")


def canonicalize(url: str, base: str | None = None) -> str | None:
    """The canonical form of `url`, relative to `base` (absolute, best canonical), or None if it cannot be crawled.

    Never raises. The result is a fixpoint of this function and of `w3lib.url.canonicalize_url`, ASCII, and at most
    MAX_LENGTH characters long. None: not http or https, no valid host, too long, an IPv4-mapped IPv6 host.
    """
    if len(url) > MAX_LENGTH:
        return None  # mostly data: URLs; not worth a parse
    try:
        parsed = None if base is None else _parse_base(base)
        href = (can_ada.parse(url) if parsed is None else parsed + url).href
    except (TypeError, UnicodeError):
        whole = _without_surrogates(url)
        return None if whole == url else canonicalize(whole, base)
    except ValueError:
        return None
    match = _match(href)
    if match is None or len(href) > MAX_LENGTH:
        return _settle(href)
    return href if match.lastindex is None else _sort_query(href)


# For RE2: a name whose last label is letters (so no IPv4 address), plain path segments that do not begin with a dot.
_PLAIN = r"^https?://(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]+/(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/)*(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*)?$"


def are_plain(texts: pa.Array) -> NDArray[np.bool_]:
    """Which texts are certainly canonical URLs as they stand: most of what a long seed list holds, at a tenth of the cost.

    False says nothing. Hosts with punycode are left out, for their labels would have to be checked.
    """
    plain = pc.and_(pc.match_substring_regex(texts, _PLAIN), pc.invert(pc.match_substring(texts, "xn--")))
    short = pc.less_equal(pc.binary_length(texts), 2000)
    mask: NDArray[np.bool_] = pc.and_(plain, short).to_numpy(zero_copy_only=False)
    return mask


def hosts_of(plain: pa.Array) -> pa.Array:
    """`host_of` for a column of URLs that `are_plain`."""
    return pc.list_element(pc.split_pattern(plain, "/", max_splits=3), 2)


_plain_prefix = re.compile("https?://[a-z0-9.-]+(?::[0-9]+)?/(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/)*").fullmatch
_LONGEST_PLAIN = 2000
# Without ":", which could end a scheme, and "%"; no segment is empty or begins with a dot
_BEGIN = "[A-Za-z0-9_~!$&'()*+,=@-]"
_SEGMENT = f"{_BEGIN}[A-Za-z0-9_.~!$&'()*+,=@-]*"
_PLAIN_FIELD = "[A-Za-z0-9_.~-]*=[A-Za-z0-9_.~-]*"
_plain_rest = re.compile(
    f"(?:{_SEGMENT}/)*(?:{_SEGMENT})?(?:\\?{_PLAIN_FIELD}(&{_PLAIN_FIELD}(?:&{_PLAIN_FIELD})*)?)?"
).fullmatch


def is_plain_prefix(prefix: str) -> bool:
    """Whether `join_plain` can be used with it; `prefix` is a canonical URL up to and with one of its path's slashes."""
    return len(prefix) <= _LONGEST_PLAIN and _plain_prefix(prefix) is not None


def join_plain(prefix: str, rest: str) -> str | None:
    """`canonicalize(rest, prefix)` at a fraction of its cost, where `rest` needs no more than its fields in order; None
    says nothing. The result has no character that JSON escapes.

    >>> join_plain("http://example.com/a/", "b/c?e=f&d=g"), join_plain("http://example.com/a/", "../b")
    ('http://example.com/a/b/c?d=g&e=f', None)
    """
    match = _plain_rest(rest)
    if match is None or len(rest) > _LONGEST_PLAIN:
        return None
    return prefix + rest if match.lastindex is None else _sort_query(prefix + rest)


@functools.lru_cache(16)
def _parse_base(base: str) -> can_ada.URL | None:
    """`base` parsed once for all links of a page; None if it is no URL (then links must be absolute)."""
    try:
        return can_ada.parse(_without_surrogates(base))
    except ValueError:
        return None


def _without_surrogates(text: str) -> str:
    """`text` as WHATWG's parser is given it: surrogate pairs joined, lone surrogates U+FFFD (Web IDL, USVString)."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _sort_query(href: str) -> str:
    """`href`, which is canonical but for the order of its fields, with them in order: by key, then by value."""
    head, _, query = href.partition("?")
    if "%" not in query and "+" not in query:
        # Each field has one "="; as the least of all characters it sorts a field like the pair that it is
        fields = query.replace("=", "\0").split("&")
        fields.sort()
        return head + "?" + "&".join(fields).replace("\0", "=")
    pairs = [field.partition("=") for field in query.split("&")]
    pairs.sort(key=_decoded)
    return head + "?" + "&".join(["".join(pair) for pair in pairs])


def _decoded(pair: tuple[str, str, str]) -> tuple[bytes, bytes]:
    """What w3lib sorts a field by."""
    return unquote_to_bytes(pair[0].replace("+", " ")), unquote_to_bytes(pair[2].replace("+", " "))


def _settle(href: str) -> str | None:
    """The canonical form of `href`, a serialisation of WHATWG's, for what is not canonical at first sight."""
    if not href.startswith(("http://", "https://")) or _MAPPED_IPV4.match(href):
        return None
    href = _without_credentials(href.partition("#")[0])
    if len(href) > MAX_LENGTH:
        return None
    respelled = _respell(href)
    match = _match(respelled)
    if match is None:
        return _settle_by_w3lib(href)
    if len(respelled) > MAX_LENGTH:
        return None
    return respelled if match.lastindex is None else _sort_query(respelled)


def _respell(href: str) -> str:
    """`href` with the escapes that w3lib would write; a guess, good if it matches: a sixth of w3lib's own time."""
    head, _, query = href.partition("?")
    slash = head.find("/", 8)
    path = head[slash:]
    if ";" not in path:  # w3lib leaves the escapes of path parameters alone
        path = _PATH_UNUSUAL.sub(lambda found: _PATH_SPELLING[found[0]], path)
    if not query:
        return head[:slash] + path
    query = _QUERY_UNUSUAL.sub(lambda found: _QUERY_SPELLING[found[0]], query)
    fields = [field.partition("=") for field in query.split("&") if field]
    query = "&".join([f"{key}={value.replace('=', '%3D')}" for key, _, value in fields])
    return f"{head[:slash]}{path}?{query}" if query else head[:slash] + path


def _settle_by_w3lib(href: str) -> str | None:
    """w3lib and WHATWG take turns until neither changes anything.

    That takes two rounds at most for what is found on the web. A URL made to need more (`%%%%33341`: every decoding
    makes a new escape) has no spelling that any two servers would understand alike, so it is not crawled.
    """
    for _ in range(_ROUNDS):
        if len(href) > MAX_LENGTH:
            return None
        try:
            safe = canonicalize_url(href)
            if safe == href:
                return href
            href = can_ada.parse(safe).href
        except ValueError:
            return None
        match = _match(href)
        if match is not None and match.lastindex is None and len(href) <= MAX_LENGTH:
            return href
    return None


def _without_credentials(href: str) -> str:
    scheme, _, rest = href.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def host_of(url: str) -> str:
    """The host of a canonical URL, without port; an IPv6 address with its brackets.

    >>> host_of("https://example.com:8443/a?b=c")
    'example.com'
    """
    start = 8 if url[4] == "s" else 7
    host = url[start : url.find("/", start)]
    if ":" not in host:
        return host
    return host[: host.index("]") + 1] if host[0] == "[" else host.partition(":")[0]


def origin_of(url: str) -> str:
    """Scheme, host and port of a canonical URL: what a robots.txt holds for.

    >>> origin_of("https://example.com:8443/a?b=c")
    'https://example.com:8443'
    """
    return url[: url.find("/", 8)]


@functools.lru_cache(1 << 16)
def registrable_domain(host: str) -> str:
    """The name that was registered: the public suffix of `host` and one label more. IP addresses, public suffixes
    and single labels are returned as they are.

    By the Public Suffix List with its private part, so two users of a hosting service are two domains, and with its
    rule for names it does not know: the last label is the suffix.

    >>> registrable_domain("www.example.co.uk"), registrable_domain("127.0.0.1"), registrable_domain("localhost")
    ('example.co.uk', '127.0.0.1', 'localhost')
    """
    if host.startswith("[") or host.rstrip(".").rpartition(".")[2].isdigit():
        return host  # WHATWG: a host whose last label is a number is an IPv4 address
    return _public_suffixes().privatesuffix(host) or host


@functools.lru_cache(1 << 16)
def public_suffix(host: str) -> str:
    """What `host`, a name, is registered under: `co.uk` of www.example.co.uk. A name without dots is its own."""
    return str(_public_suffixes().publicsuffix(host) or host)


@functools.cache
def _public_suffixes() -> PublicSuffixList:
    return PublicSuffixList()  # read on first use: most commands never need it
