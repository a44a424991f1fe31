"""The Museum of Old Pages: a host without robots.txt. Charsets declared in the header, in the page, by a byte order
mark and not at all; frames and image maps; every ugly way to write a link.
"""

from __future__ import annotations

import codecs
from dataclasses import replace
from typing import Any

from jobs.demo.builder import HostBuilder, Web
from jobs.demo.site import Link

ADDRESS = "127.10.6.1"

_RUSSIAN = ("Старая мельница стоит у реки с 1843 года. Зимой её чинили плотники, а весной вода снова вращала колесо.",
            "В музее хранятся письма мельника и карта всех мостов долины.")  # fmt: skip
_JAPANESE = ("川のそばに古い水車小屋があります。冬の間に大工が直し、春になると水がまた車輪を回しました。",
             "博物館には粉屋の手紙と、谷のすべての橋の地図があります。")  # fmt: skip
_FRENCH = ("Le vieux moulin, bâti près de l'écluse, a été réparé après la crue de l'été 1843.",
           "Le musée conserve les lettres du meunier et une carte où figurent tous les ponts.")  # fmt: skip
_GERMAN = ("Die alte Mühle steht seit 1843 am Fluß; im Winter wurde sie ausgebessert, im Frühjahr drehte sich das Rad.",
           "Das Museum bewahrt die Briefe des Müllers und eine Karte aller Brücken.")  # fmt: skip


def add(web: Web) -> None:
    """Declare the host."""
    host = HostBuilder(web, ADDRESS, "Museum of Old Pages")
    host.footer = [("/", "Entrance")]
    _charsets(host)
    _ugly(host)
    host.page("/frames", "Frames", [
        Link("frame-left.html", host.url("/frame-left.html"), "left", element="iframe"),
        Link("map-target.html", host.url("/map-target.html"), "map", element="area"),
    ])  # fmt: skip
    for name in ("frame-left", "map-target"):
        host.page(f"/{name}.html", name.capitalize(), [host.link("/", "Entrance")])
    host.page("/not-links", "Things that are no links", extra=[
        '<!-- <a href="/commented-out">no</a> -->',
        '<script>document.write("<a href=\\"/from-script\\">no</a>")</script>',
        '<a name="anchor">no href</a>',
        f"<p>http://127.10.8.1:{web.port}/plain is not a link either</p>",
    ])  # fmt: skip
    host.page("/broken.html", "Broken markup", [host.link("/frames", "Frames")], extra=[
        "<table><tr><td><p>unclosed <b>bold <i>both</b> italic</i>", '<a href="/latin1"', '><p><a href=/utf8>unquoted',
        "</div></span>",
    ])  # fmt: skip
    url = host.url("/broken.html")
    extra = (Link("/latin1", host.url("/latin1")), Link("/utf8", host.url("/utf8")))
    page = web.pages[url]
    web.pages[url] = replace(page, links=(page.links[0], *extra, *page.links[1:]))
    host.page("/chunked", "In pieces", [host.link("/", "Entrance")], chunked=True, sections=9, sentences=9)
    host.page("/chunked-gzip", "In compressed pieces", [host.link("/chunked", "In pieces")], chunked=True, compressed=True,
              sections=9, sentences=9)  # fmt: skip
    host.page("/xhtml", "Strict", [host.link("/", "Entrance")], content_type="application/xhtml+xml; charset=utf-8")
    host.failure("/lost", 404)
    rooms = ["/utf8", "/utf8-bom", "/latin1", "/windows-1251", "/shift_jis", "/utf-16", "/undeclared-utf8", "/undeclared-latin",
             "/wrong-meta", "/frames", "/not-links", "/broken.html", "/chunked", "/chunked-gzip", "/xhtml", "/ugly", "/lost"]  # fmt: skip
    host.page("/", "Entrance", [host.link(path, path.strip("/"), number) for number, path in enumerate(rooms)],
              language="en-GB")  # fmt: skip


def _meta(charset: str) -> list[str]:
    return [f'<meta http-equiv="Content-Type" content="text/html; charset={charset}">']


def _charsets(host: HostBuilder) -> None:
    """Pages in many encodings; the path of the last link in some of them tells whether the page was decoded."""
    host.page("/utf8", "Brücken über den Fluß", text=_GERMAN, language="de", content_type="text/html; charset=UTF-8")
    host.page("/utf8-bom", "Moulin à eau", text=_FRENCH, language="fr", content_type="text/html; charset=iso-8859-1",
              prefix=codecs.BOM_UTF8, links=[Link("/salle/été", host.url("/salle/%C3%A9t%C3%A9"), "été")])  # fmt: skip
    host.page("/latin1", "Écluse", text=_FRENCH, language="fr", charset="iso-8859-1", content_type="text/html; charset=ISO-8859-1",
              links=[Link("/salle/crue-été", host.url("/salle/crue-%C3%A9t%C3%A9"), "été")])  # fmt: skip
    mill, water = "%D0%BC%D0%B5%D0%BB%D1%8C%D0%BD%D0%B8%D1%86%D0%B0", "%E6%B0%B4%E8%BB%8A"
    host.page("/windows-1251", "Мельница", text=_RUSSIAN, language="ru", charset="windows-1251", head=_meta("windows-1251"),
              content_type="text/html", links=[Link("/зал/мельница", host.url(f"/%D0%B7%D0%B0%D0%BB/{mill}"), "зал")])  # fmt: skip
    host.page("/shift_jis", "水車小屋", text=_JAPANESE, language="ja", charset="shift_jis", head=['<meta charset="Shift_JIS">'],
              content_type="text/html", links=[Link("/部屋/水車", host.url(f"/%E9%83%A8%E5%B1%8B/{water}"), "部屋")])  # fmt: skip
    host.page("/utf-16", "Brücken", text=_GERMAN, language="de", charset="utf-16-le", prefix=codecs.BOM_UTF16_LE,
              content_type="text/html", links=[Link("/saal/mühle", host.url("/saal/m%C3%BChle"), "Saal")])  # fmt: skip
    host.page("/undeclared-utf8", "Мост", text=_RUSSIAN, language="ru", content_type="text/html")
    host.page(
        "/undeclared-latin", "Crue", text=_FRENCH * 4, language="fr", charset="windows-1252", content_type="text/html"
    )
    # The header is right and the page's own words are wrong: the header wins.
    host.page("/wrong-meta", "Ausbesserung", text=_GERMAN, language="de", head=_meta("windows-1251"))
    for path, title in (("/salle/%C3%A9t%C3%A9", "Salle d'été"), ("/salle/crue-%C3%A9t%C3%A9", "Salle de la crue"),
                        (f"/%D0%B7%D0%B0%D0%BB/{mill}", "Зал"), (f"/%E9%83%A8%E5%B1%8B/{water}", "部屋"),
                        ("/saal/m%C3%BChle", "Saal")):  # fmt: skip
        host.page(path, title)


def _ugly(host: HostBuilder) -> None:
    """One page with every way to write a link that is seen in the wild."""
    port = host.web.port
    room = "/ugly/rooms/"

    def to(href: str, path: str | None, text: str = "", **more: Any) -> Link:
        return Link(href, None if path is None else host.url(path), text or href.strip() or "empty", **more)

    links = [
        to("", "/ugly"), to("#", "/ugly"), to("?", "/ugly"), to("?room=1", "/ugly?room=1"), to("ugly/rooms/1", room + "1"),
        to("./ugly/./rooms/../rooms/2", room + "2"), to("/../../ugly/rooms/3", room + "3"),
        to(f"//{ADDRESS}:{port}{room}4", room + "4"), to(f"HTTP://{ADDRESS}:{port}{room}5", room + "5"),
        to(f"http://0X7F.012.6.1:{port}{room}6", room + "6"), to(f"http://127.10.1537:0{port}{room}7", room + "7"),
        to(f"http:\\\\{ADDRESS}:{port}\\ugly\\rooms\\8", room + "8"), to("\\ugly\\rooms\\9", room + "9"),
        to("  /ugly/rooms/10\t ", room + "10"), to("/ugly/\n rooms/11", "/ugly/%20rooms/11"),
        to("/ugly/ro\toms/\r\n12", room + "12"), to("/ugly/rooms/13 a", room + "13%20a"), to("/ugly/rooms/14%20a", room + "14%20a"),
        to("/ugly/rooms/15%7Ea", room + "15~a"), to("/ugly/rooms/15~a", room + "15~a"), to("/ugly/rooms/%31%36", room + "16"),
        to("/ugly/rooms/17%c3%a9", room + "17%C3%A9"), to("/ugly/rooms/17é", room + "17%C3%A9"),
        to("/ugly/rooms/18%2Fa", room + "18%2Fa"), to("/ugly/rooms/19?b=2&a=1", room + "19?a=1&b=2"),
        to("/ugly/rooms/19?a=1&b=2", room + "19?a=1&b=2", escaped=False), to("/ugly/rooms/20?q=été", room + "20?q=%C3%A9t%C3%A9"),
        to("/ugly/rooms/20?q=%c3%a9t%C3%A9#x?y", room + "20?q=%C3%A9t%C3%A9"), to("/ugly/rooms/21?flag", room + "21?flag="),
        to("/ugly/rooms/22?", room + "22"), to("/ugly/rooms/23%", room + "23%"), to("/ugly//rooms/24", "/ugly//rooms/24"),
        to("/ugly/rooms/25/.", room + "25/"), to("/ugly/rooms/x/..//26", room + "/26"), to("/ugly/rooms/27;a=1", room + "27;a=1"),
        to(f"http://user:secret@{ADDRESS}:{port}{room}28", room + "28"), to(f"http:{room}29", room + "29"),
        to(f"http:///{ADDRESS}:{port}{room}30", room + "30"),
        to("mailto:a@b.example", None), to("javascript:alert('x')", None), to("tel:+1", None), to("data:text/html,<p>", None),
        to("ftp://files.example/x", None), to("http://", None), to("http://[::1", None), to(f"http://{ADDRESS}:99999/", None),
        to("about:blank", None), to("/ugly/photo.JPG", "/ugly/photo.JPG", filtered=True),
        to("/ugly/x/1/x/2/x/", "/ugly/x/1/x/2/x/", filtered=True),
    ]  # fmt: skip
    host.page("/ugly", "Ways to write a link", links, sections=2)
    seen = {link.target for link in links if link.target and not link.filtered} - {host.url("/ugly")}
    for url in sorted(seen):
        path = url.removeprefix(host.origin)
        host.page(path, f"Room {path}", [host.link("/", "Entrance")], sections=1, bare=True)
