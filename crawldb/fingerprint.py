"""The identity of a request: 20 bytes that are equal exactly for what Scrapy takes to be the same request.

Owns the hash. Does not canonicalize: URLs come from `urls.canonicalize`, for whose results this is byte for byte
`scrapy.utils.request.fingerprint`: SHA-1 of a JSON object of method, URL, body and chosen headers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from json.encoder import encode_basestring_ascii as _quoted

import pyarrow as pa
import pyarrow.compute as pc

_sha1 = hashlib.sha1


def url_fingerprint(url: str) -> bytes:
    """The fingerprint of a plain GET of `url`, which is canonical; 20 bytes.

    >>> url_fingerprint("http://example.com/").hex()
    'cebe46deeab7ee5915824a38cf73ee6f7eb0aba5'
    """
    # The JSON that `fingerprint` would make of it, keys in order.
    return _sha1(b'{"body": "", "headers": {}, "method": "GET", "url": %b}' % _quoted(url).encode()).digest()


def plain_fingerprint(url: str) -> bytes:
    """`url_fingerprint` of an ASCII URL without a character that JSON escapes (`urls.join_plain`)."""
    return _sha1(b'{"body": "", "headers": {}, "method": "GET", "url": "' + url.encode() + b'"}').digest()


def plain_fingerprints(urls: pa.Array) -> list[bytes]:
    """`url_fingerprint` of a column of URLs without a character that JSON escapes (`urls.are_plain`)."""
    head, tail = b'{"body": "", "headers": {}, "method": "GET", "url": "', b'"}'
    requests = pc.binary_join_element_wise(head, urls.cast(pa.binary()), tail, b"")
    return [_sha1(request).digest() for request in requests.to_pylist()]


def fingerprint(
    url: str, method: str | None = None, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """The fingerprint of a request for `url`, which is canonical; 20 bytes.

    `method` None is GET. `headers` are only those that count (Scrapy's `include_headers`); the case of their names
    does not matter, and names that differ in nothing else are one header with several values, in their order.
    """
    if not body and not headers and (method is None or method == "GET"):
        return url_fingerprint(url)
    values: dict[str, list[str]] = {}
    for name, value in (headers or {}).items():
        values.setdefault(_hex(name.lower()), []).append(_hex(value))
    request = {"body": (body or b"").hex(), "headers": values, "method": (method or "GET").upper(), "url": url}
    return _sha1(json.dumps(request, sort_keys=True).encode()).digest()


def _hex(text: str) -> str:
    # surrogatepass: a seed file may hold anything, and no value may collide with another or raise
    return text.encode("utf-8", "surrogatepass").hex()
