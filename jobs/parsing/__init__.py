"""The only room that looks inside a page.

Owns the way from an answer's bytes to what the crawl wants to know of it: its kind (`media_types`), its encoding
(`charset`), title, text and links (`parsers`, a family by media type: `text`, and `html` with its `reader`,
`stylesheet`, `metadata`, `dates`, `srcset` and `whitespace`), what it asks of robots (`directives`), its digest (`signatures`, a family), and which of its links may enter the crawldb
(`outlinks`).
Does not own what a canonical URL is, which URLs are wanted, or identity (`crawldb.urls`, `urlfilters`,
`fingerprint`), and neither opens sockets nor reads or writes files.

    PageParser(settings).parse(Page(…)) -> Document
"""

from jobs.parsing.contract import Document, Extract, Outlink, Page, Parser, Reference
from jobs.parsing.page_parser import PageParser
from jobs.parsing.parsers import PARSERS
from jobs.parsing.signatures import SIGNATURES, Signature

__all__ = [
    "PARSERS", "SIGNATURES", "Document", "Extract", "Outlink", "Page", "PageParser", "Parser", "Reference", "Signature",
]  # fmt: skip
