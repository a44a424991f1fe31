"""The text of an HTML page without navigation, advertisements and the like: trafilatura's, an extra of setup.py.

It builds a tree of its own and costs several times what the rest of parsing does, so it is a setting. Whatever it
fails at costs the main text alone.
"""

from __future__ import annotations

import importlib
import logging

from crawldb.errors import UsageError
from jobs.parsing.charset import decode


def require_main_text() -> None:
    """Load trafilatura. Raises UsageError if it, or something it needs, is not installed."""
    try:
        importlib.import_module("trafilatura")
    except ImportError:
        raise UsageError("parse.main_text = true: needs trafilatura, which scripts/venv.sh text installs") from None


def main_text(content: bytes, charset: str, limit: int) -> str | None:
    """The main text of the page `content`, at most `limit` characters; None if there is none."""
    import trafilatura

    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    try:
        text = trafilatura.extract(decode(content, charset), include_comments=False, deduplicate=False)
    except MemoryError:
        raise
    except Exception:  # its bug, and the page is parsed without it
        return None
    return text[:limit] if text else None
