"""Tag soup: whatever may be found in a page, in any order."""

from __future__ import annotations

from hypothesis import strategies as st

# fmt: off
TAGS = st.sampled_from(
    ["a", "a", "a", "p", "div", "span", "b", "br", "hr", "td", "tr", "table", "ul", "li", "pre", "textarea", "title", "script", "style", "noscript", "template", "svg", "iframe", "frame", "frameset", "base", "meta", "link", "area", "img", "html", "head", "body", "select", "option", "plaintext", "math", "form", "x-y", "video", "time", "source", "frame", "noframes", "h1"]
)
# fmt: on
VALUES = st.text(max_size=12) | st.sampled_from(
    [
        "/b",
        "c?d=e&f",
        "#g",
        "http://i.example:81/j",
        "//k.example",
        "nofollow",
        "next canonical",
        "refresh",
        "robots",
        "0;url=/l",
        "noindex",
        "http://[",
        "javascript:m",
        "\ud7ff\ue000",
        "../" * 5,
        "data:," + "n" * 600,
    ]
)  # fmt: skip
ATTRIBUTES = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "href",
                "src",
                "rel",
                "name",
                "content",
                "http-equiv",
                "alt",
                "charset",
                "type",
                "property",
                "itemprop",
                "pubdate",
                "datetime",
                "action",
                "method",
                "srcset",
                "title",
                "shadowrootmode",
            ]
        ),
        VALUES,
    ),
    max_size=4,
).map(lambda pairs: "".join(f' {name}="{value}"' for name, value in pairs))
PIECES = st.one_of(
    st.builds(lambda tag, attributes: f"<{tag}{attributes}>", TAGS, ATTRIBUTES),
    TAGS.map(lambda tag: f"</{tag}>"),
    st.text(max_size=15),
    st.sampled_from(["<!--", "-->", "<![CDATA[", "]]>", "<?", "&amp;", "&#0;", "&#xD800;", "&#x1F600;", "&bogus;", "\0",
                     "<", ">", '"', "<!DOCTYPE html>", "<a href='", "\u2028", "\x85", "é", "𝄞"]),
)  # fmt: skip
SOUP = st.lists(PIECES, max_size=25).map("".join)
