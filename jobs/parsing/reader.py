"""What is kept of an HTML page as its tags go by: title, text, links, and what it says of itself.

Owns what each element means (`STARTS`, `ENDS`, `ATTRIBUTES`). Does not know lxml: `html` makes it the target of a
parser, or hands it the page as one string in which all elements without a meaning are gone already (`stylesheet`).
What is recorded is what a reader without scripts can reach:

- text: no contents of hidden elements; block elements break lines, cells are set apart, white space collapses
  except for line breaks in `pre`;
- links: those of the elements in parse.links; of link elements those that lead to documents for readers. Links in
  noscript count, links in template don't, unless it declares a shadow tree, which is shown. No event handlers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crawldb.settings import ParseSettings
from jobs.parsing.contract import Extract, Reference
from jobs.parsing.metadata import Metadata
from jobs.parsing.srcset import urls_of_srcset
from jobs.parsing.whitespace import LINE, collapse, lines, one_line

MAX_TITLE = 1000
"""Characters kept of a title."""
MAX_REL = 200
"""Characters kept of a rel attribute."""

LINK_ELEMENTS = ("a", "area", "link", "iframe", "frame", "form", "img")
"""What parse.links may name."""

GAP = " "
"""Sets cells apart."""
MARK, FIELD = "\x81", "\x8d"
"""In `Reader.read`: stand around what is no text, and between a tag, its attributes' names and their values. Controls of
Latin-1 that windows-1252 leaves undefined: with them, a string of Western text still takes one byte a character."""

_LINK_START = f"a{FIELD}href{FIELD}"
_LINK_REL = f"{FIELD}rel{FIELD}"
_LINK_START_LENGTH = len(_LINK_START)

_DOCUMENT_RELS = frozenset({"alternate", "next", "prev", "previous", "first", "last", "up", "home", "start", "index",
                            "contents", "toc", "help", "author", "license", "search", "bookmark"})  # fmt: skip
_NOT_DOCUMENT_RELS = frozenset({"stylesheet", "canonical", "icon", "preload", "prefetch", "dns-prefetch"})
_DOCUMENT_TYPES = frozenset({"", "text/html", "application/xhtml+xml", "text/plain"})

_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"

# fmt: off
_LINE_ELEMENTS = (
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog", "dir", "div",
    "dl", "dt", "fieldset", "figcaption", "figure", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup",
    "legend", "li", "main", "menu", "nav", "ol", "optgroup", "option", "p", "search", "section", "select", "summary",
    "table", "tbody", "tfoot", "thead", "tr", "ul",
)
_HIDDEN = ("noframes", "noembed", "audio", "video", "canvas", "datalist")
_PREFORMATTED = ("pre", "textarea", "listing", "xmp", "plaintext")

STARTS = {
    **dict.fromkeys((*_LINE_ELEMENTS, "br", "hr"), LINE),
    **dict.fromkeys(("td", "th"), GAP),
    **dict.fromkeys((*_HIDDEN, "title"), "hidden"),
    **dict.fromkeys(_PREFORMATTED, "preformatted"),
    **{tag: tag for tag in ("script", "style", "noscript", "template", "svg", "a", "img", "area", "frame", "iframe",
                            "link", "html", "base", "meta", "form", "source", "time")},
}
"""What a start tag does: LINE or GAP are added to the text, else the method `_start_…` of the reader is called."""

ENDS = {
    **dict.fromkeys(_LINE_ELEMENTS, LINE),
    **dict.fromkeys(("td", "th"), GAP),
    "form": LINE,
    **dict.fromkeys((*_HIDDEN, "iframe"), "hidden"),
    **dict.fromkeys(_PREFORMATTED, "preformatted"),
    **{tag: tag for tag in ("script", "style", "title", "noscript", "template", "svg", "a", "time")},
}
"""The same for an end tag and `_end_…`."""

ATTRIBUTES = {
    "a": ("href", "rel"), "area": ("href", "alt", "rel"), "base": ("href",), "form": ("action", "method"),
    "frame": ("src", "title"), "html": ("lang", "xml:lang"), "iframe": ("src", "title"),
    "img": ("alt", "src", "srcset"), "link": ("rel", "href", "type", "title"),
    "meta": ("name", "property", "itemprop", "http-equiv", "content"), "script": ("type",), "source": ("srcset",),
    "template": ("shadowrootmode",), "time": ("datetime", "pubdate", "itemprop"),
}
"""The attributes that are looked at, by tag."""
# fmt: on


class Reader:
    """The SAX target: keeps what it needs of each event, for one page after the other.

    `begin` starts a page; `finish` ends what is open and yields the Extract. `start`, `end` and `data` are closures,
    and `data` is a list's own append: they are called some thousand times a page.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self.start: Callable[[str, Mapping[str, str]], None]
        self.end: Callable[[str], None]
        self.read: Callable[[str], None]
        """Take a whole page: text with LINE and GAP in it, and between two MARKs each start tag that does something
        with its attributes (tag, then name and value in turn, with FIELD between them), or an end tag as /tag."""
        self.depth: Callable[[], int]
        """Of elements that are open now."""
        self.data = self._pieces.append
        self._hidden: list[int] = []
        """Where in the pieces each open hidden element began."""
        self._listen()
        self.begin(ParseSettings())

    def begin(self, settings: ParseSettings) -> None:
        """Forget the last page."""
        self._settings = settings
        self._links = frozenset(settings.links)
        self._pieces.clear()
        self._hidden.clear()
        self.extract = Extract()
        self._metadata = Metadata(settings.max_json_ld)
        self.raw = False
        """Within a script or style, which the parser reads as text."""
        self._templates = self._vectors = self._scriptless = self._preformatted = 0
        """Open elements of each kind."""
        self._trees: list[bool] = []
        """Of each open template: whether it declares a shadow tree."""
        self._preformatted_from = 0
        self._anchor: tuple[str, str | None] | None = None
        """href and rel of the open a element; its text begins at `_anchor_from`."""
        self._anchor_from = 0
        self._image = ""
        """The first alternative text of an image in the open a element."""
        self._data_block = False
        """Whether the open script is JSON-LD."""
        self._time: Mapping[str, str] | None = None
        """The attributes of the open time element; its text begins at `_time_from`."""
        self._time_from = 0
        self._pragma_language: str | None = None

    def _listen(self) -> None:
        starting: dict[str, Any] = {tag: self._action("_start_", name) for tag, name in STARTS.items()}
        ending: dict[str, Any] = {tag: self._action("_end_", name) for tag, name in ENDS.items()}
        action_at_start, action_at_end, add = starting.get, ending.get, self._pieces.append
        depth = 0

        def start(tag: str, attributes: Mapping[str, str]) -> None:
            nonlocal depth
            depth += 1
            action = action_at_start(tag)
            if action.__class__ is str:
                add(action)
            elif action is not None:
                action(attributes)

        def end(tag: str) -> None:
            nonlocal depth
            depth -= 1
            action = action_at_end(tag)
            if action.__class__ is str:
                add(action)
            elif action is not None:
                action()

        def read(stream: str) -> None:
            parts = stream.split(MARK)
            references, most = self.extract.references, self._settings.max_anchor
            wanted = "a" in self._links
            add(parts[0])
            place, count = 1, len(parts)
            while place < count:
                tag, text = parts[place], parts[place + 1]
                if tag.startswith(_LINK_START) and parts[place + 2] == "/a" and not self._templates:
                    # A link with nothing but text in it, as most are: the two calls in one
                    if self._anchor is not None:
                        self._end_a()
                    if wanted:
                        href, _, rel = tag[_LINK_START_LENGTH:].partition(_LINK_REL)
                        anchor = text.strip()
                        if not anchor.isprintable() or "  " in anchor:
                            anchor = collapse(anchor.replace(LINE, " "))
                        if len(anchor) > most:
                            anchor = anchor[:most].rstrip()
                        if rel:
                            rel = " ".join(rel.lower().split())[:MAX_REL]
                        references.append(Reference(href, anchor or None, rel or None))
                    add(text)
                    place += 2
                    text = parts[place + 1]
                elif tag[0] == "/":
                    ending[tag[1:]]()
                else:
                    fields = tag.split(FIELD)
                    starting[fields[0]](dict(zip(fields[1::2], fields[2::2], strict=True)))
                if text:
                    add(text)
                place += 2

        self.start, self.end, self.read, self.depth = start, end, read, lambda: depth

    def _action(self, prefix: str, name: str) -> Any:
        return name if name in (LINE, GAP) else getattr(self, prefix + name)

    def close(self) -> None:
        """The parser's end is not the page's: see `finish`."""

    def finish(self) -> Extract:
        """End what a page cut off left open; the text is joined last."""
        self._end_a()
        if self._preformatted:
            self._preformatted = 1
            self._end_preformatted()
        if self._hidden:
            del self._pieces[self._hidden[0] :]
        extract = self.extract
        self._metadata.finish(extract)
        extract.language = extract.language or self._pragma_language
        extract.text = lines("".join(self._pieces), self._settings.max_text)
        self._pieces.clear()
        return extract

    def _text_since(self, place: int, limit: int) -> str:
        pieces = self._pieces
        text = pieces[place] if len(pieces) == place + 1 else "".join(pieces[place:])
        return one_line(text.replace(LINE, " "), limit)

    # -- hidden and preformatted elements ---------------------------------------------------------------------------

    def _start_hidden(self, attributes: Mapping[str, str]) -> None:
        self._hidden.append(len(self._pieces))

    def _end_hidden(self) -> None:
        if self._hidden:
            del self._pieces[self._hidden.pop() :]

    def _start_style(self, attributes: Mapping[str, str]) -> None:
        self.raw = True
        self._hidden.append(len(self._pieces))

    def _end_style(self) -> None:
        self.raw = False
        self._end_hidden()

    def _start_script(self, attributes: Mapping[str, str]) -> None:
        kind = attributes.get("type", "").partition(";")[0].strip().lower()
        self._data_block = kind == "application/ld+json" and not self._templates
        self._start_style(attributes)

    def _end_script(self) -> None:
        if self._data_block and self._hidden:
            self._metadata.json_ld("".join(self._pieces[self._hidden[-1] :]))
        self._data_block = False
        self._end_style()

    def _start_noscript(self, attributes: Mapping[str, str]) -> None:
        self._scriptless += 1
        self._hidden.append(len(self._pieces))

    def _end_noscript(self) -> None:
        self._scriptless -= 1
        self._end_hidden()

    def _start_template(self, attributes: Mapping[str, str]) -> None:
        self._trees.append(attributes.get("shadowrootmode", "").lower() in ("open", "closed"))
        if not self._trees[-1]:
            self._templates += 1
            self._hidden.append(len(self._pieces))

    def _end_template(self) -> None:
        if self._trees and not self._trees.pop():
            self._templates -= 1
            self._end_hidden()

    def _start_svg(self, attributes: Mapping[str, str]) -> None:
        self._vectors += 1

    def _end_svg(self) -> None:
        self._vectors -= 1

    def _end_title(self) -> None:
        if not self._hidden:
            return
        if self.extract.title is None and not self._vectors and not self._templates:
            self.extract.title = self._text_since(self._hidden[-1], MAX_TITLE) or None
        self._end_hidden()

    def _start_preformatted(self, attributes: Mapping[str, str]) -> None:
        self.data(LINE)
        if not self._preformatted:
            self._preformatted_from = len(self._pieces)
        self._preformatted += 1

    def _end_preformatted(self) -> None:
        if self._preformatted:
            self._preformatted -= 1
            if not self._preformatted:
                begin = self._preformatted_from
                self._pieces[begin:] = [piece.replace("\n", LINE) for piece in self._pieces[begin:]]
        self.data(LINE)

    # -- links --------------------------------------------------------------------------------------------------------

    def _refer(self, element: str, href: str | None, anchor: str | None = None, rel: str | None = None) -> None:
        if href is not None and element in self._links and not self._templates:
            anchor = one_line(anchor, self._settings.max_anchor) if anchor else None
            rel = " ".join(rel.lower().split())[:MAX_REL] if rel else None
            self.extract.references.append(Reference(href, anchor or None, rel or None))

    def _start_a(self, attributes: Mapping[str, str]) -> None:
        if self._anchor is not None:
            self._end_a()
        href = attributes.get("href")
        if href is not None:
            self._anchor = href, attributes.get("rel")
            self._anchor_from = len(self._pieces)
            self._image = ""

    def _end_a(self) -> None:
        if self._anchor is None:
            return
        href, rel = self._anchor
        self._anchor = None
        if self._templates or "a" not in self._links:
            return
        anchor = self._text_since(self._anchor_from, self._settings.max_anchor)
        if not anchor and self._image:
            anchor = one_line(self._image, self._settings.max_anchor)
        if rel:
            rel = " ".join(rel.lower().split())[:MAX_REL]
        self.extract.references.append(Reference(href, anchor or None, rel or None))

    def _start_img(self, attributes: Mapping[str, str]) -> None:
        alternative = attributes.get("alt", "")
        if self._anchor is not None and not self._image:
            self._image = alternative
        if "img" in self._links:
            self._refer("img", attributes.get("src"), alternative)
            self._start_source(attributes)

    def _start_source(self, attributes: Mapping[str, str]) -> None:
        if "img" in self._links:
            for url in urls_of_srcset(attributes.get("srcset", "")):
                self._refer("img", url, attributes.get("alt"))

    def _start_area(self, attributes: Mapping[str, str]) -> None:
        self._refer("area", attributes.get("href"), attributes.get("alt"), attributes.get("rel"))

    def _start_frame(self, attributes: Mapping[str, str]) -> None:
        self._refer("frame", attributes.get("src"), attributes.get("title"))

    def _start_iframe(self, attributes: Mapping[str, str]) -> None:
        self._refer("iframe", attributes.get("src"), attributes.get("title"))
        self._start_hidden(attributes)

    def _start_form(self, attributes: Mapping[str, str]) -> None:
        self.data(LINE)
        if attributes.get("method", "").strip().lower() not in ("post", "dialog"):  # anything else is GET (WHATWG)
            self._refer("form", attributes.get("action"))

    def _start_link(self, attributes: Mapping[str, str]) -> None:
        rels = attributes.get("rel", "").lower().split()
        href = attributes.get("href")
        if href is None or self._templates:
            return
        if "canonical" in rels and self.extract.canonical is None:
            self.extract.canonical = href
        if _DOCUMENT_RELS.isdisjoint(rels) or not _NOT_DOCUMENT_RELS.isdisjoint(rels):
            return
        if attributes.get("type", "").partition(";")[0].strip().lower() in _DOCUMENT_TYPES:
            self._refer("link", href, attributes.get("title"), " ".join(rels))

    # -- the document as a whole --------------------------------------------------------------------------------------

    def _start_html(self, attributes: Mapping[str, str]) -> None:
        if self.extract.language is None:
            self.extract.language = attributes.get("lang") or attributes.get("xml:lang") or attributes.get(_XML_LANG)

    def _start_base(self, attributes: Mapping[str, str]) -> None:
        if self.extract.base is None and not self._templates:
            self.extract.base = attributes.get("href")

    def _start_meta(self, attributes: Mapping[str, str]) -> None:
        content = attributes.get("content")
        if not content or self._templates:
            return
        name = attributes.get("name")
        if name is not None:
            name = name.strip().lower()
            self.extract.robots.append((name, content))
            self._metadata.meta(name, content)
        for word in attributes.get("property", "").lower().split():  # RDFa allows several
            self._metadata.meta(word, content)
        properties = attributes.get("itemprop")
        if properties:
            self._metadata.item(properties, content)
        pragma = attributes.get("http-equiv")
        if pragma is None:
            return
        pragma = pragma.strip().lower()
        if pragma == "refresh":
            # In noscript it is meant for readers whose browser runs no scripts: they see the page, and so do we
            if self.extract.refresh is None and not self._scriptless:
                self.extract.refresh = content
        elif pragma == "content-language":
            self._pragma_language = self._pragma_language or content
        elif pragma == "last-modified":
            self._metadata.meta(pragma, content)

    def _start_time(self, attributes: Mapping[str, str]) -> None:
        if ("pubdate" in attributes or "itemprop" in attributes) and not self._templates:
            self._time, self._time_from = attributes, len(self._pieces)

    def _end_time(self) -> None:
        attributes, self._time = self._time, None
        if attributes is None:
            return
        value = attributes.get("datetime") or self._text_since(self._time_from, MAX_TITLE)
        if "pubdate" in attributes:
            self._metadata.publication(value)
        self._metadata.item(attributes.get("itemprop", ""), value)
