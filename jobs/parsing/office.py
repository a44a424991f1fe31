"""Office files: OOXML (docx, xlsx, pptx and their templates) and OpenDocument (odt, ods, odp, odg).

Both are zip archives of XML. The parts that hold text are unpacked piece by piece into a SAX parser, so that memory does
not depend on what an archive would unpack to, and reading ends with the text's limit: the libraries for each of the
formats (python-docx, openpyxl, python-pptx, odfdo) build the whole document first, whatever its size.
Text: paragraphs and table rows on lines of their own, cells set apart by tabs, slides and sheets in order.
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

from lxml import etree

from crawldb.settings import ParseSettings
from jobs.parsing.contract import Extract, Reference
from jobs.parsing.markup import iso_time, local_name, xml_parser

MAX_TITLE = 1000
"""Characters kept of a title, and of each other piece of information."""
MAX_CELLS = 50_000
"""Cells of a sheet whose text is remembered, for it becomes the anchor of a link that stands at the sheet's end."""

_PIECE = 1 << 16
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_STRICT_RELATION = "{http://purl.oclc.org/ooxml/officeDocument/relationships}id"
_HREF = "{http://www.w3.org/1999/xlink}href"
_number = re.compile(r"(\d+)\.xml$").search
_hyperlink = re.compile(r"""\bHYPERLINK\s*\(?\s*["“]([^"”]+)["”]""").search


class _Enough(Exception):
    """The text has reached its limit."""


class _Archive:
    """A zip archive of which at most `room` bytes are unpacked in all."""

    def __init__(self, content: bytes, room: int) -> None:
        self._zip = zipfile.ZipFile(io.BytesIO(content))
        self.names = set(self._zip.namelist())
        self._room = room

    def feed(self, name: str, target: _Target) -> None:
        """A part through an XML parser into `target`; one that is missing counts as empty."""
        if name not in self.names:
            return
        member = self._zip.getinfo(name)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name}: compressed by method {member.compress_type}")  # neither format has others
        parser = xml_parser(recover=False, target=target)
        try:
            with self._zip.open(member) as part:
                while piece := part.read(_PIECE):
                    self._room -= len(piece)
                    if self._room < 0:
                        raise ValueError("unpacks to more than parse.max_unpacked")
                    parser.feed(piece)
            parser.close()
        except (zlib.error, EOFError) as error:
            raise zipfile.BadZipFile(f"{name}: {error}") from None

    def numbered(self, prefix: str) -> list[str]:
        """The parts `prefix`1.xml, `prefix`2.xml, …, by number."""
        found = [(int(match[1]), name) for name in self.names if name.startswith(prefix) and (match := _number(name))
                 and len(match[1]) < 10 and name == f"{prefix}{match[1]}.xml"]  # fmt: skip
        return [name for _, name in sorted(found)]


class _Target:
    """Of an XML parser. Subclasses act on `open` and `shut`, which are given local names."""

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self.open(local_name(tag), attributes)

    def end(self, tag: str) -> None:
        self.shut(local_name(tag))

    def data(self, text: str) -> None:
        """Character data."""

    def close(self) -> None:
        """The part is at its end."""

    def open(self, name: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""

    def shut(self, name: str) -> None:
        """An element ends."""


class _Text:
    """The document's text as it grows, in lines; raises _Enough at its limit."""

    def __init__(self, limit: int) -> None:
        self._pieces: list[str] = []
        self._room = limit

    def add(self, piece: str) -> None:
        self._pieces.append(piece)
        self._room -= len(piece)
        if self._room < 0:
            raise _Enough

    def mark(self) -> int:
        """For `since`."""
        return len(self._pieces)

    def since(self, mark: int) -> str:
        """What was added since, on one line."""
        return " ".join("".join(self._pieces[mark:]).split())

    def lines(self, limit: int) -> str:
        """All of it: white space collapses within a line, but for tabs, and empty lines vanish."""
        lines = ("\t".join(" ".join(cell.split()) for cell in line.split("\t")).strip()
                 for line in "".join(self._pieces).split("\n"))  # fmt: skip
        return "\n".join(filter(None, lines))[:limit].rstrip()


# -- OOXML ------------------------------------------------------------------------------------------------------------


def parse_ooxml(content: bytes, content_type: str | None, settings: ParseSettings) -> Extract:
    """A `contract.Parser`. Which of the formats it is, the archive's parts say."""
    archive = _Archive(content, settings.max_unpacked)
    extract, text = Extract(), _Text(settings.max_text)
    archive.feed("docProps/core.xml", _Properties(extract))
    try:
        if "word/document.xml" in archive.names:
            for part in ("word/document.xml", "word/footnotes.xml", "word/endnotes.xml", "word/comments.xml"):
                archive.feed(part, _Drawn(text, extract, settings, _relations(archive, part)))
        elif "ppt/presentation.xml" in archive.names:
            for part in archive.numbered("ppt/slides/slide"):
                archive.feed(part, _Drawn(text, extract, settings, _relations(archive, part)))
        elif "xl/workbook.xml" in archive.names:
            _read_workbook(archive, text, extract, settings)
        else:
            raise ValueError("neither a document, a presentation nor a workbook")
    except _Enough:
        pass
    extract.text = text.lines(settings.max_text)
    return extract


_PROPERTIES = {
    "title": "title", "description": "description", "subject": "subject", "creator": "author",
    "initial-creator": "author", "keywords": "keywords", "keyword": "keywords", "language": "language",
    "created": "published", "creation-date": "published", "modified": "modified", "date": "modified",
    "generator": "generator",
}  # fmt: skip


class _Properties(_Target):
    """docProps/core.xml, and meta.xml of OpenDocument, which has the same Dublin Core elements and some of its own."""

    def __init__(self, extract: Extract) -> None:
        self._extract = extract
        self._pieces: list[str] = []

    def open(self, name: str, attributes: Mapping[str, str]) -> None:
        self._pieces.clear()

    def data(self, text: str) -> None:
        self._pieces.append(text)

    def shut(self, name: str) -> None:
        field = _PROPERTIES.get(name)
        value = " ".join("".join(self._pieces).split())[:MAX_TITLE]
        self._pieces.clear()
        if not field or not value:
            return
        if field in ("published", "modified"):
            setattr(self._extract, field, iso_time(value))
        elif field in ("title", "description", "language"):
            setattr(self._extract, field, value)
        elif field == "keywords" and field in self._extract.metadata:
            self._extract.metadata[field] = f"{self._extract.metadata[field]}, {value}"[:MAX_TITLE]
        elif name == "creator" or field not in self._extract.metadata:
            self._extract.metadata[field] = value


class _Relations(_Target):
    """A .rels part: what the ids in its part stand for."""

    def __init__(self) -> None:
        self.external: dict[str, str] = {}
        self.internal: dict[str, str] = {}

    def open(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "Relationship":
            found = self.external if attributes.get("TargetMode", "").lower() == "external" else self.internal
            found[attributes.get("Id", "")] = attributes.get("Target", "")


def _relations(archive: _Archive, part: str) -> _Relations:
    directory, name = posixpath.split(part)
    relations = _Relations()
    archive.feed(f"{directory}/_rels/{name}.rels", relations)
    return relations


def _refer(extract: Extract, href: str, anchor: str | None, settings: ParseSettings) -> None:
    if href and not href.startswith("#"):
        extract.references.append(Reference(href, (anchor or "")[: settings.max_anchor].rstrip() or None, None))


class _Drawn(_Target):
    """WordprocessingML and DrawingML: paragraphs of runs of text."""

    def __init__(self, text: _Text, extract: Extract, settings: ParseSettings, relations: _Relations) -> None:
        self._text, self._extract, self._settings = text, extract, settings
        self._external = relations.external
        self._within: list[str] = []
        """The open elements that decide whether characters count."""
        self._hidden = 0
        self._links: list[tuple[str, int]] = []
        """href of each open w:hyperlink, and where its text begins."""
        self._run_link = ""
        """href of the click on the open a:r."""
        self._run_from = 0

    def open(self, name: str, attributes: Mapping[str, str]) -> None:
        if name in ("t", "instrText"):
            self._within.append(name)
        elif name == "Fallback":  # says again, for older readers, what stands in the Choice beside it
            self._hidden += 1
        elif name == "hyperlink":
            self._links.append((self._target(attributes), self._text.mark()))
        elif name == "r":
            self._run_link, self._run_from = "", self._text.mark()
        elif name == "hlinkClick":
            self._run_link = self._target(attributes)
        elif name in ("br", "cr"):
            self._text.add("\n")
        elif name == "tab" and not attributes.get("val"):  # in a paragraph's properties it is a stop, which has a val
            self._text.add("\t" if not attributes else "")

    def data(self, text: str) -> None:
        if not self._within or self._hidden:
            return
        if self._within[-1] == "t":
            self._text.add(text)
        elif match := _hyperlink(text + '"' if text.count('"') == 1 else text):
            _refer(self._extract, match[1], None, self._settings)

    def shut(self, name: str) -> None:
        if name in ("t", "instrText"):
            if self._within:
                self._within.pop()
        elif name == "Fallback":
            self._hidden -= 1
        elif name == "hyperlink" and self._links:
            href, mark = self._links.pop()
            _refer(self._extract, href, self._text.since(mark), self._settings)
        elif name == "r" and self._run_link:
            _refer(self._extract, self._run_link, self._text.since(self._run_from), self._settings)
            self._run_link = ""
        elif name == "cNvPr" and self._run_link:  # a click on a shape
            _refer(self._extract, self._run_link, None, self._settings)
            self._run_link = ""
        elif name == "p":
            self._text.add("\n")
        elif name == "tc":
            self._text.add("\t")
        elif name == "tr":
            self._text.add("\n")

    def _target(self, attributes: Mapping[str, str]) -> str:
        return self._external.get(attributes.get(_RELATION) or attributes.get(_STRICT_RELATION) or "", "")


def _read_workbook(archive: _Archive, text: _Text, extract: Extract, settings: ParseSettings) -> None:
    workbook = _Workbook()
    archive.feed("xl/workbook.xml", workbook)
    files = _relations(archive, "xl/workbook.xml").internal
    shared = _SharedStrings(settings.max_text)
    archive.feed("xl/sharedStrings.xml", shared)
    for name, identity in workbook.sheets:
        part = posixpath.normpath(posixpath.join("/xl", files.get(identity, ""))).lstrip("/")
        text.add(f"{name}\n")
        archive.feed(part, _Sheet(text, extract, settings, shared.strings, _relations(archive, part).external))


class _Workbook(_Target):
    def __init__(self) -> None:
        self.sheets: list[tuple[str, str]] = []
        """Name and relation of each."""

    def open(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "sheet":
            identity = attributes.get(_RELATION) or attributes.get(_STRICT_RELATION) or ""
            self.sheets.append((attributes.get("name", ""), identity))


class _SharedStrings(_Target):
    """The strings that cells name by their number. Beyond the text's limit, all are empty."""

    def __init__(self, limit: int) -> None:
        self.strings: list[str] = []
        self._pieces: list[str] = []
        self._open = self._phonetic = False
        self._room = limit

    def open(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "rPh":
            self._phonetic = True
        elif name == "t":
            self._open = not self._phonetic

    def data(self, text: str) -> None:
        if self._open and self._room > 0:
            self._pieces.append(text)
            self._room -= len(text)

    def shut(self, name: str) -> None:
        if name == "t":
            self._open = False
        elif name == "rPh":
            self._phonetic = False
        elif name == "si":
            self.strings.append(" ".join("".join(self._pieces).split()))
            self._pieces.clear()


class _Sheet(_Target):
    def __init__(
        self, text: _Text, extract: Extract, settings: ParseSettings, strings: list[str], external: dict[str, str]
    ) -> None:
        self._text, self._extract, self._settings = text, extract, settings
        self._strings, self._external = strings, external
        self._cells: dict[str, str] = {}
        self._pieces: list[str] = []
        self._open = False
        self._value = self._formula = ""
        self._cell: Mapping[str, str] = {}

    def open(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "c":
            self._cell, self._value, self._formula = dict(attributes), "", ""
        elif name in ("v", "t", "f"):
            self._open = True
            self._pieces.clear()
        elif name == "hyperlink":
            href = self._external.get(attributes.get(_RELATION) or attributes.get(_STRICT_RELATION) or "", "")
            first = attributes.get("ref", "").partition(":")[0]
            _refer(self._extract, href, attributes.get("display") or self._cells.get(first), self._settings)

    def data(self, text: str) -> None:
        if self._open:
            self._pieces.append(text)

    def shut(self, name: str) -> None:
        if name in ("v", "t"):
            self._open = False
            self._value += "".join(self._pieces)
        elif name == "f":
            self._open = False
            self._formula = "".join(self._pieces)
        elif name == "c":
            self._end_cell()
        elif name == "row":
            self._text.add("\n")

    def _end_cell(self) -> None:
        value, kind = self._value, self._cell.get("t")
        if kind == "s":
            place = int(value) if value.isascii() and value.isdigit() and len(value) < 10 else len(self._strings)
            value = self._strings[place] if place < len(self._strings) else ""
        elif kind == "b":
            value = {"0": "FALSE", "1": "TRUE"}.get(value, value)
        value = " ".join(value.split())
        if value and len(self._cells) < MAX_CELLS:
            self._cells[self._cell.get("r", "")] = value
        if match := _hyperlink(self._formula):
            _refer(self._extract, match[1], value, self._settings)
        self._text.add(f"{value}\t")


# -- OpenDocument ------------------------------------------------------------------------------------------------------


def parse_opendocument(content: bytes, content_type: str | None, settings: ParseSettings) -> Extract:
    """A `contract.Parser`."""
    archive = _Archive(content, settings.max_unpacked)
    extract, text = Extract(), _Text(settings.max_text)
    archive.feed("meta.xml", _Properties(extract))
    if "content.xml" not in archive.names:
        raise ValueError("no content.xml in it")
    try:
        archive.feed("content.xml", _OpenDocument(text, extract, settings))
    except _Enough:
        pass
    except etree.XMLSyntaxError:
        if "META-INF/manifest.xml" in archive.names and _is_encrypted(archive):
            raise ValueError("needs a password") from None
        raise
    extract.text = text.lines(settings.max_text)
    return extract


class _Manifest(_Target):
    encrypted = False

    def open(self, name: str, attributes: Mapping[str, str]) -> None:
        self.encrypted = self.encrypted or name == "encryption-data"


def _is_encrypted(archive: _Archive) -> bool:
    manifest = _Manifest()
    archive.feed("META-INF/manifest.xml", manifest)
    return manifest.encrypted


class _OpenDocument(_Target):
    """content.xml: paragraphs and headings in text, table cells, shapes and notes."""

    def __init__(self, text: _Text, extract: Extract, settings: ParseSettings) -> None:
        self._text, self._extract, self._settings = text, extract, settings
        self._open = self._hidden = 0
        self._cells: list[Any] = []
        self._links: list[tuple[str, int]] = []

    def open(self, name: str, attributes: Mapping[str, str]) -> None:
        if name in ("p", "h"):
            self._open += 1
        elif name == "tracked-changes":  # what was deleted
            self._hidden += 1
        elif name == "a":
            self._links.append((attributes.get(_HREF, ""), self._text.mark()))
        elif name in ("s", "tab", "line-break") and self._open:
            self._text.add("\n" if name == "line-break" and not self._cells else " ")
        elif name in ("table-cell", "covered-table-cell"):
            self._cells.append(None)
        elif name == "table" and (title := next((v for k, v in attributes.items() if local_name(k) == "name"), "")):
            if not self._cells:
                self._text.add(f"{title}\n" if self._is_sheet else "")
        elif name == "spreadsheet":
            self._is_sheet = True

    _is_sheet = False

    def data(self, text: str) -> None:
        if self._open and not self._hidden:
            self._text.add(text.replace("\n", " ").replace("\t", " "))

    def shut(self, name: str) -> None:
        if name in ("p", "h"):
            self._open -= 1
            self._text.add(" " if self._cells else "\n")
        elif name == "tracked-changes":
            self._hidden -= 1
        elif name == "a" and self._links:
            href, mark = self._links.pop()
            _refer(self._extract, href, self._text.since(mark), self._settings)
        elif name in ("table-cell", "covered-table-cell") and self._cells:
            self._cells.pop()
            self._text.add(" " if self._cells else "\t")
        elif name == "table-row" and not self._cells:
            self._text.add("\n")
