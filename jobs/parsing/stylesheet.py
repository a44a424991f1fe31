"""The stylesheet that turns a page's tree into the one string that `Reader.read` takes, within libxslt.

Owns the transformation, made from the reader's own tables: what an element means is said there alone. Elements without
a meaning leave their text, comments nothing. A fifth of a page's elements get as far as Python.
"""

from __future__ import annotations

from collections import defaultdict

from lxml import etree

from jobs.parsing.reader import ATTRIBUTES, ENDS, FIELD, GAP, MARK, STARTS
from jobs.parsing.whitespace import LINE

_XSL = "http://www.w3.org/1999/XSL/Transform"

_DATED = "@pubdate or @itemprop"
_JSON_LD = "contains(translate(@type, 'ADIJLNOPSCT', 'adijlnopsct'), 'ld+json')"


def stylesheet() -> etree.XSLT:
    """A transformation of a page's root element; `str` of its result is for `Reader.read`."""
    alike = defaultdict(list)
    for tag in sorted({*STARTS, *ENDS} - {"script", "style", "time"}):
        alike[_start(tag), _end(tag)].append(tag)
    templates = [
        f'<xsl:template match="{"|".join(tags)}">{start}{_INSIDE}{end}</xsl:template>'
        for (start, end), tags in alike.items()
    ]
    templates.append('<xsl:template match="style"/>')
    # Of scripts only what is data, of time elements only what dates the page
    templates.append(
        f'<xsl:template match="script"><xsl:if test="{_JSON_LD}">{_start("script")}<xsl:value-of select="."/>'
        f"{_end('script')}</xsl:if></xsl:template>"
    )
    templates.append(
        f'<xsl:template match="time"><xsl:choose><xsl:when test="{_DATED}">{_start("time")}{_INSIDE}{_end("time")}'
        f"</xsl:when><xsl:otherwise>{_INSIDE}</xsl:otherwise></xsl:choose></xsl:template>"
    )
    return etree.XSLT(
        etree.fromstring(
            f'<xsl:stylesheet version="1.0" xmlns:xsl="{_XSL}"><xsl:output method="text" encoding="utf-8"/>'
            f"{''.join(templates)}</xsl:stylesheet>"
        )
    )


_INSIDE = "<xsl:apply-templates/>"


def _start(tag: str) -> str:
    action = STARTS.get(tag)
    if action is None:
        return ""
    if action in (LINE, GAP):
        return _text(action)
    return _text(MARK + tag) + "".join(map(_attribute, ATTRIBUTES.get(tag, ()))) + _text(MARK)


def _end(tag: str) -> str:
    action = ENDS.get(tag)
    if action is None:
        return ""
    return _text(action if action in (LINE, GAP) else f"{MARK}/{tag}{MARK}")


def _attribute(name: str) -> str:
    # libxml2's HTML parser knows no namespaces: xml:lang is a name with a colon in it, which XPath cannot write
    path = f"@*[name() = '{name}']" if ":" in name else f"@{name}"
    written = f'{_text(FIELD + name + FIELD)}<xsl:value-of select="{path}"/>'
    return f'<xsl:if test="{path}">{written}</xsl:if>'


def _text(characters: str) -> str:
    return f"<xsl:text>{characters}</xsl:text>"
