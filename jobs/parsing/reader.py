"""What is kept of an HTML page as its tags go by: title, text, links, and what it says of itself.

Owns what each element means (`_STARTS`, `_ENDS`). Does not know lxml: `html` makes it the target of a parser.
What is recorded is what a reader without scripts can reach:

- text: no contents of hidden elements; block elements break lines, cells are set apart, white space collapses
  except for line breaks in `pre`;
- links: a, area, iframe, frame, and those link elements that lead to documents for readers. Links in noscript count,
  links in template don't, unless it declares a shadow tree, which is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crawldb.settings import ParseSettings
from jobs.parsing.contract import Extract, Reference

MAX_TITLE = 1000
"""Characters kept of a title."""
MAX_REL = 200
"""Characters kept of a rel attribute."""

_LINE = "\0"
"""Marks a line break; libxml2 never hands out a NUL."""
_GAP = " "

_DOCUMENT_RELS = frozenset({"alternate", "next", "prev", "previous", "first", "last", "up", "home", "start", "index",
                            "contents", "toc", "help", "author", "license", "search", "bookmark"})  # fmt: skip
_NOT_DOCUMENT_RELS = frozenset({"stylesheet", "canonical", "icon", "preload", "prefetch", "dns-prefetch"})
_DOCUMENT_TYPES = frozenset({"", "text/html", "application/xhtml+xml", "text/plain"})

_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


class Reader:
    """The SAX target: keeps what it needs of each event, for one page after the other.

    `begin` starts a page; `finish` ends what is open and yields the Extract. `start`, `end` and `data` are closures,
    and `data` is a list's own append: they are called some thousand times a page.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self.start: Callable[[str, Mapping[str, str]], None]
        self.end: Callable[[str], None]
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
        self._pieces.clear()
        self._hidden.clear()
        self.extract = Extract()
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
        self._pragma_language: str | None = None

    def _listen(self) -> None:
        starting: dict[str, Any] = {tag: self._action("_start_", name) for tag, name in _STARTS.items()}
        ending: dict[str, Any] = {tag: self._action("_end_", name) for tag, name in _ENDS.items()}
        action_at_start, action_at_end, add = starting.get, ending.get, self._pieces.append
        depth = 0

        def start(tag: str, attributes: Mapping[str, str]) -> None:
            nonlocal depth
            depth += 1
            action = action_at_start(tag)
            if action is _LINE:
                add(_LINE)
            elif action is not None:
                action(attributes)

        def end(tag: str) -> None:
            nonlocal depth
            depth -= 1
            action = action_at_end(tag)
            if action is _LINE:
                add(_LINE)
            elif action is not None:
                action()

        self.start, self.end, self.depth = start, end, lambda: depth

    def _action(self, prefix: str, name: str) -> Any:
        return name if name == _LINE else getattr(self, prefix + name)

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
        extract.language = extract.language or self._pragma_language
        extract.text = _lines("".join(self._pieces), self._settings.max_text)
        self._pieces.clear()
        return extract

    # -- hidden and preformatted elements ---------------------------------------------------------------------------

    def _start_hidden(self, attributes: Mapping[str, str]) -> None:
        self._hidden.append(len(self._pieces))

    def _end_hidden(self) -> None:
        if self._hidden:
            del self._pieces[self._hidden.pop() :]

    def _start_cell(self, attributes: Mapping[str, str]) -> None:
        self.data(_GAP)

    def _end_cell(self) -> None:
        self.data(_GAP)

    def _start_raw(self, attributes: Mapping[str, str]) -> None:
        self.raw = True
        self._hidden.append(len(self._pieces))

    def _end_raw(self) -> None:
        self.raw = False
        self._end_hidden()

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
            title = _one_line(self._pieces[self._hidden[-1] :], MAX_TITLE)
            self.extract.title = title or None
        self._end_hidden()

    def _start_preformatted(self, attributes: Mapping[str, str]) -> None:
        self.data(_LINE)
        if not self._preformatted:
            self._preformatted_from = len(self._pieces)
        self._preformatted += 1

    def _end_preformatted(self) -> None:
        if self._preformatted:
            self._preformatted -= 1
            if not self._preformatted:
                begin = self._preformatted_from
                self._pieces[begin:] = [piece.replace("\n", _LINE) for piece in self._pieces[begin:]]
        self.data(_LINE)

    # -- links --------------------------------------------------------------------------------------------------------

    def _refer(self, href: str | None, anchor: str | None, rel: str | None = None) -> None:
        if href is not None and not self._templates:
            anchor = _one_line([anchor], self._settings.max_anchor) if anchor else None
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
        if self._templates:
            return
        anchor = _one_line(self._pieces[self._anchor_from :], self._settings.max_anchor)
        if not anchor and self._image:
            anchor = _one_line([self._image], self._settings.max_anchor)
        if rel:
            rel = " ".join(rel.lower().split())[:MAX_REL]
        self.extract.references.append(Reference(href, anchor or None, rel or None))

    def _start_img(self, attributes: Mapping[str, str]) -> None:
        if self._anchor is not None and not self._image:
            self._image = attributes.get("alt", "")

    def _start_area(self, attributes: Mapping[str, str]) -> None:
        self._refer(attributes.get("href"), attributes.get("alt"), attributes.get("rel"))

    def _start_frame(self, attributes: Mapping[str, str]) -> None:
        self._refer(attributes.get("src"), attributes.get("title"))

    def _start_iframe(self, attributes: Mapping[str, str]) -> None:
        self._start_frame(attributes)
        self._start_hidden(attributes)

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
            self._refer(href, attributes.get("title"), " ".join(rels))

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
            self.extract.robots.append((name.strip().lower(), content))
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


_LINE_ELEMENTS = [
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "center",
    "dd",
    "details",
    "dialog",
    "dir",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hgroup",
    "legend",
    "li",
    "main",
    "menu",
    "nav",
    "ol",
    "optgroup",
    "option",
    "p",
    "search",
    "section",
    "select",
    "summary",
    "table",
    "tbody",
    "tfoot",
    "thead",
    "tr",
    "ul",
    "caption",
]
_HIDDEN = ["noframes", "noembed", "audio", "video", "canvas", "datalist"]

_PREFORMATTED = ["pre", "textarea", "listing", "xmp", "plaintext"]

_STARTS = {
    **dict.fromkeys([*_LINE_ELEMENTS, "br", "hr"], _LINE),
    **dict.fromkeys(["td", "th"], "cell"),
    **dict.fromkeys([*_HIDDEN, "title"], "hidden"),
    **dict.fromkeys(["script", "style"], "raw"),
    **dict.fromkeys(_PREFORMATTED, "preformatted"),
    **{tag: tag for tag in ("noscript", "template", "svg", "a", "img", "area", "frame", "iframe", "link", "html", "base",
                            "meta")},
}  # fmt: skip
"""What a start tag does: break the line, or the method `_start_…` of the reader."""

_ENDS = {
    **dict.fromkeys(_LINE_ELEMENTS, _LINE),
    **dict.fromkeys(["td", "th"], "cell"),
    **dict.fromkeys([*_HIDDEN, "iframe"], "hidden"),
    **dict.fromkeys(["script", "style"], "raw"),
    **dict.fromkeys(_PREFORMATTED, "preformatted"),
    **{tag: tag for tag in ("title", "noscript", "template", "svg", "a")},
}


def _collapse(text: str) -> str:
    """White space at the ends goes, within it becomes single spaces."""
    # isprintable is False for all white space but the plain space: what passes, and that is most, needs no splitting
    text = text.strip()
    return text if text.isprintable() and "  " not in text else " ".join(text.split())


def _one_line(pieces: list[str], limit: int) -> str:
    """At most `limit` characters, breaks and white space collapsed."""
    text = pieces[0] if len(pieces) == 1 else "".join(pieces).replace(_LINE, " ")
    return _collapse(text)[:limit].rstrip()


def _lines(text: str, limit: int) -> str:
    """Marked breaks become line breaks, white space collapses within a line, empty lines vanish."""
    lines = [
        line if line.isprintable() and "  " not in line else " ".join(line.split())
        for line in filter(None, map(str.strip, text.split(_LINE)))
    ]
    return "\n".join(lines)[:limit].rstrip()
