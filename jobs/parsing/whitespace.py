"""White space as a reader sees it: collapsed; and no control characters, which nobody sees."""

from __future__ import annotations

LINE = "\x7f"
"""Marks a line break in what is read of a page: a control that XML has, one byte in UTF-8. `html` takes it out of the
page itself."""

_CONTROLS = dict.fromkeys([*range(9), *range(14, 28), *range(127, 133), *range(134, 160)])
"""All but those that are white space."""


def collapse(text: str) -> str:
    """White space at the ends goes, within it becomes single spaces.

    >>> collapse(" a \\n b\\x07 ")
    'a b'
    """
    # isprintable is False for all white space but the plain space, and for controls: what passes, and that is most,
    # needs no splitting; and once split, hardly any text is left that needs the slow translate
    text = text.strip()
    if not text.isprintable() or "  " in text:
        text = " ".join(text.split())
        if not text.isprintable():
            text = " ".join(text.translate(_CONTROLS).split())
    return text


def one_line(text: str, limit: int) -> str:
    """At most `limit` characters, breaks and white space collapsed."""
    return collapse(text)[:limit].rstrip()


def lines(text: str, limit: int) -> str:
    """Marked breaks become line breaks, white space collapses within a line, empty lines vanish."""
    kept = [
        line if line.isprintable() and "  " not in line else collapse(line)
        for line in filter(None, map(str.strip, text.split(LINE)))
    ]
    return "\n".join(filter(None, kept))[:limit].rstrip()
