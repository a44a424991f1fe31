"""The URLs of a srcset attribute: WHATWG HTML, "parse a srcset attribute", without the descriptors' meaning."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SPACE = " \t\n\f\r"

_url = re.compile(f"[{_SPACE},]*([^{_SPACE}]+)").match
# Up to the comma that ends the candidate; one in parentheses does not. An unclosed one runs to the end
_descriptors = re.compile(r"[^,(]*(?:\([^)]*(?:\)|\Z)[^,(]*)*").match


def urls_of_srcset(srcset: str) -> Iterator[str]:
    """Each candidate's URL, as it stands.

    >>> list(urls_of_srcset("a.png 1x, b.png?x=1,2 2x,c.png, d.png"))
    ['a.png', 'b.png?x=1,2', 'c.png', 'd.png']
    """
    position = 0
    while (match := _url(srcset, position)) is not None:
        url, position = match[1], match.end()
        if url.endswith(","):
            url = url.rstrip(",")
        else:
            rest = _descriptors(srcset, position)
            position = rest.end() if rest is not None else len(srcset)
        yield url
