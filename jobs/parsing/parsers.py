"""The parsers, by media type. What none takes is recorded with its type and never parsed.

To add a parser: a function (`contract.Parser`) in a module of its own, and a line below; from outside, a line in the
setting parse.parsers.
"""

from __future__ import annotations

from jobs.parsing.contract import Parser
from jobs.parsing.html import parse_html, parse_xhtml
from jobs.parsing.media_types import HTML, TEXT, XHTML
from jobs.parsing.text import parse_text

PARSERS: dict[str, Parser] = {
    HTML: parse_html,
    XHTML: parse_xhtml,
    TEXT: parse_text,
    "text/markdown": parse_text,
    "text/csv": parse_text,
    "text/tab-separated-values": parse_text,
}
