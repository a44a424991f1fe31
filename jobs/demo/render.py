"""HTML of the demo site's pages from their outline.

Owns the markup. Links come out exactly as declared (`Link.href`), in navigation, text and footer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from jobs.demo.site import Link


@dataclass
class Section:
    """A heading with its text and the links that follow it."""

    heading: str
    text: str
    links: list[Link] = field(default_factory=list)


@dataclass
class Outline:
    """A page before it is HTML. `head` and `extra` are markup that is copied as it is."""

    title: str
    site: str
    language: str = "en"
    navigation: Sequence[Link] = ()
    sections: Sequence[Section] = ()
    footer: Sequence[Link] = ()
    head: Sequence[str] = ()
    extra: Sequence[str] = ()


def tag(link: Link) -> str:
    """The element of one link."""
    href = escape(link.href, quote=False) if link.escaped else link.href
    href = href.replace('"', "&quot;")
    rel = f' rel="{escape(link.rel)}"' if link.rel else ""
    if link.element == "area":
        return f'<map name="m"><area shape="rect" coords="0,0,9,9" href="{href}" alt="{escape(link.text)}"{rel}></map>'
    if link.element in ("iframe", "frame"):
        return f'<{link.element} src="{href}" title="{escape(link.text)}"></{link.element}>'
    return f'<a href="{href}"{rel}>{escape(link.text, quote=False)}</a>'


def render(outline: Outline) -> str:
    """The page. Its links stand in the order: navigation, sections, footer."""
    lines = [
        "<!DOCTYPE html>", f'<html lang="{outline.language}">', "<head>", *outline.head,
        f"<title>{escape(outline.title, quote=False)} - {escape(outline.site, quote=False)}</title>",
        '<link rel="stylesheet" href="/style.css">', "</head>", "<body>",
    ]  # fmt: skip
    if outline.navigation:
        lines += ["<nav><ul>", *(f"<li>{tag(link)}</li>" for link in outline.navigation), "</ul></nav>"]
    lines += ["<main>", f"<h1>{escape(outline.title, quote=False)}</h1>"]
    for number, section in enumerate(outline.sections):
        if section.heading:
            lines.append(f'<h2 id="s{number}">{escape(section.heading, quote=False)}</h2>')
        lines.append(f"<p>{escape(section.text, quote=False)}</p>")
        if section.links and number % 2:
            lines += ["<ul>", *(f"<li>{tag(link)}" for link in section.links), "</ul>"]
        elif section.links:
            lines.append(f"<p>See {', '.join(tag(link) for link in section.links)}.</p>")
    lines += [*outline.extra, "</main>"]
    if outline.footer:
        lines.append(f"<footer>{' | '.join(tag(link) for link in outline.footer)}</footer>")
    return "\n".join([*lines, "</body>", "</html>", ""])
