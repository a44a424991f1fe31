"""Plain text: decoded, and cut to the limit. No links are looked for in it."""

from __future__ import annotations

from crawldb.settings import ParseSettings
from jobs.parsing.charset import decide, decode
from jobs.parsing.contract import Extract


def parse_text(content: bytes, content_type: str | None, settings: ParseSettings) -> Extract:
    """A `contract.Parser`; lines stay as they are, line ends become \\n, NULs vanish."""
    charset, start = decide(content, content_type, settings.default_charset)
    text = decode(content, charset, start).replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return Extract(charset=charset, text=text[: settings.max_text].strip())
