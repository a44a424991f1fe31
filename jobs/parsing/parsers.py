"""The parsers, by media type. What none takes is recorded with its type and never parsed.

To add a parser: a function (`contract.Parser`) in a module of its own, and a line below; from outside, a line in the
setting parse.parsers.
"""

from __future__ import annotations

from jobs.parsing.contract import Parser
from jobs.parsing.feeds import parse_feed
from jobs.parsing.html import parse_html, parse_xhtml
from jobs.parsing.media_types import ATOM, HTML, OOXML, OPENDOCUMENT, PDF, RSS, SITEMAP, TEXT, XHTML
from jobs.parsing.office import parse_ooxml, parse_opendocument
from jobs.parsing.pdf import parse_pdf
from jobs.parsing.sitemaps import parse_sitemap
from jobs.parsing.text import parse_text

PARSERS: dict[str, Parser] = {
    HTML: parse_html,
    XHTML: parse_xhtml,
    TEXT: parse_text,
    "text/markdown": parse_text,
    "text/csv": parse_text,
    "text/tab-separated-values": parse_text,
    RSS: parse_feed,
    ATOM: parse_feed,
    SITEMAP: parse_sitemap,
    PDF: parse_pdf,
    **dict.fromkeys(sorted(OOXML), parse_ooxml),
    **dict.fromkeys(sorted(OPENDOCUMENT), parse_opendocument),
}

WHOLE = frozenset({PDF, *OOXML, *OPENDOCUMENT})
"""Formats whose end has to be there to read any of it: where an answer was cut off, it is failed at once."""
