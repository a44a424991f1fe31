"""XML that strangers wrote: lxml's parser with what may be misused switched off, and times as formats write them.

No DTD is loaded, no external entity, and internal ones are not replaced, so there is nothing to expand; the network is
never asked. libxml2's own limits of depth and of a text's length hold.
"""

from __future__ import annotations

import contextlib
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from lxml import etree


def xml_parser(*, recover: bool, target: Any = None) -> etree.XMLParser:
    """A parser for one document; `recover`: read on after what is not well-formed. UTF-8 if it has a `target`."""
    return etree.XMLParser(
        recover=recover, target=target, resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False,
        remove_pis=True, remove_comments=True, collect_ids=False,
    )  # fmt: skip


def local_name(tag: Any) -> str:
    """A tag without its namespace; "" for what is no element."""
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def iso_time(written: str | None) -> str | None:
    """A time of RFC 822, as RSS has it, in ISO 8601; one that is in that already stays as it is.

    >>> iso_time("Tue, 10 Jun 2003 04:00:00 GMT"), iso_time(" 2003-12-13T18:30:02Z"), iso_time("soon")
    ('2003-06-10T04:00:00+00:00', '2003-12-13T18:30:02Z', None)
    """
    written = (written or "").strip()
    if written[:4].isdigit():
        return written
    with contextlib.suppress(ValueError, TypeError, IndexError, OverflowError):
        time = parsedate_to_datetime(written)
        return stamp(time)
    return None


def stamp(time: datetime) -> str:
    """ISO 8601 with an offset; a time without one is UTC's."""
    return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).isoformat()
