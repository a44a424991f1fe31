"""PDF, by pypdf: text, title, author and dates, and the links of annotations.

pypdf costs a seventh of what pdfminer.six does, and both find the same text. A page of the file that it cannot read
costs that page; a file of which it cannot read any is failed.
"""

from __future__ import annotations

import contextlib
import io
import logging
from typing import Any

from crawldb.settings import ParseSettings
from jobs.parsing.contract import Extract, Reference
from jobs.parsing.markup import stamp

MAX_TITLE = 1000
"""Characters kept of a title, and of each other piece of information."""


def parse_pdf(content: bytes, content_type: str | None, settings: ParseSettings) -> Extract:
    """A `contract.Parser`. Files that are encrypted with a password of their own are failed."""
    import pypdf

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    reader = pypdf.PdfReader(io.BytesIO(content), strict=False)
    if reader.is_encrypted and not reader.decrypt(""):
        raise ValueError("needs a password")
    extract = Extract()
    _describe(reader, extract)
    pieces: list[str] = []
    room = settings.max_text
    failure: Exception | None = None
    for number in range(len(reader.pages)):
        try:
            page = reader.pages[number]
            _link(page, extract)
            if room > 0:
                piece = page.extract_text().replace("\0", "").strip()[:room]
                pieces.append(piece)
                room -= len(piece) + 1
        except MemoryError:
            raise
        except Exception as error:  # what is wrong with one page
            failure = error
    if failure is not None and not any(pieces):
        raise failure
    extract.text = "\n".join(filter(None, pieces))[: settings.max_text].encode("utf-8", "replace").decode()
    return extract


def _describe(reader: Any, extract: Extract) -> None:
    with contextlib.suppress(Exception):  # what a file says of itself is no reason to lose it
        information = reader.metadata or {}
        for name in ("author", "subject", "keywords", "creator", "producer"):
            value = information.get(f"/{name.capitalize()}")
            if isinstance(value, str) and (value := _one_line(value)):
                extract.metadata[name] = value
        title = information.get("/Title")
        extract.title = (_one_line(title) if isinstance(title, str) else None) or None
        extract.description = extract.metadata.get("subject")
    with contextlib.suppress(Exception):
        extract.published = stamp(reader.metadata.creation_date)
    with contextlib.suppress(Exception):
        extract.modified = stamp(reader.metadata.modification_date)
    with contextlib.suppress(Exception):
        language = reader.root_object.get("/Lang")
        extract.language = str(language) if language else None


def _one_line(value: str) -> str:
    return " ".join(value.replace("\0", "").split())[:MAX_TITLE].encode("utf-8", "replace").decode()


def _link(page: Any, extract: Extract) -> None:
    annotations = page.get("/Annots")
    for annotation in annotations.get_object() if annotations is not None else ():
        with contextlib.suppress(AttributeError, TypeError, KeyError, ValueError):
            action = annotation.get_object().get("/A")
            target = action.get_object().get("/URI") if action is not None else None
            if target is not None:
                href = target.decode("utf-8", "replace") if isinstance(target, bytes) else str(target)
                extract.references.append(Reference(href.encode("utf-8", "replace").decode(), None, None))
