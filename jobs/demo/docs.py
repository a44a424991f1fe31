"""Vell Handbook: documentation. Dot segments, `<base href>`, a chain of pages that goes deep, downloads of many
types, a document larger than what a crawler keeps, a path that repeats itself.
"""

from __future__ import annotations

import struct
import zlib

from jobs.demo.builder import HostBuilder, Web
from jobs.demo.site import Link, Seed

ADDRESS = "127.10.4.1"

_ROBOTS = """\
User-agent: *
Allow: /
Disallow: /internal
"""
_CHAPTERS = ("install", "configure", "operate", "extend", "migrate", "troubleshoot", "glossary", "reference")
_STEPS = 9


def add(web: Web) -> None:
    """Declare the host."""
    host = HostBuilder(web, ADDRESS, "Vell Handbook", robots=_ROBOTS)
    host.navigation = [("/", "Handbook"), ("/v2/", "Version 2"), ("/v1/", "Version 1"), ("/tutorial/1", "Tutorial")]
    for version in ("v1", "v2"):
        other = "v2" if version == "v1" else "v1"
        host.page(f"/{version}/", f"Handbook {version}",
                  [Link(f"{name}.html", host.url(f"/{version}/{name}.html"), name) for name in _CHAPTERS])  # fmt: skip
        for number, name in enumerate(_CHAPTERS):
            following = _CHAPTERS[(number + 1) % len(_CHAPTERS)]
            host.page(f"/{version}/{name}.html", f"{name.capitalize()} ({version})", [
                Link(f"./{following}.html", host.url(f"/{version}/{following}.html"), following),
                Link(f"../{other}/{name}.html", host.url(f"/{other}/{name}.html"), f"In {other}"),
                Link(f"../../../{other}/./x/../{name}.html", host.url(f"/{other}/{name}.html"), "The same"),
                Link("..", host.url("/"), "Up"), Link(".", host.url(f"/{version}/"), "Contents"),
                Link(f"api/{name}/", host.url(f"/{version}/api/{name}/"), "Reference"),
            ], sections=4, sentences=6)  # fmt: skip
            # Its <base> makes every relative link mean another place.
            host.page(f"/{version}/api/{name}/", f"Reference: {name}",
                      [Link(f"{following}/", host.url(f"/{version}/api/{following}/"), following),
                       Link("../install.html", host.url(f"/{version}/install.html"), "Install"),
                       Link("", host.url(f"/{version}/api/"), "All"), Link("#x", host.url(f"/{version}/api/"), "All")],
                      head=[f'<base href="/{version}/api/">'], sections=2)  # fmt: skip
        host.page(f"/{version}/api/", f"Reference {version}", [host.link(f"/{version}/", "Contents")])
    for step in range(1, _STEPS + 1):
        more = [Link(str(step + 1), host.url(f"/tutorial/{step + 1}"), "Next step")] if step < _STEPS else []
        host.page(f"/tutorial/{step}", f"Step {step}", more, bare=True)
    _downloads(host)
    host.page("/internal/plans", "Plans", denied=True)
    url = host.page("/", "Handbook", [
        host.link("/downloads/", "Downloads"), host.link("/internal/plans", "Plans"),
        Link("/a/b/a/b/a/b/", host.url("/a/b/a/b/a/b/"), "Mirror", filtered=True),
        host.link(f"http://127.10.6.1:{web.port}/", "The museum", 1), host.link(f"http://127.10.3.1:{web.port}/", "The shop"),
    ])  # fmt: skip
    web.seeds.append(Seed(url, url, {}))


def _downloads(host: HostBuilder) -> None:
    writer = host.web.writer(host.url("/downloads/"))
    rows = "".join(f"{number},{writer.person()},{writer.number(1, 999)}\n" for number in range(200))
    log = "".join(f"{number:06} {writer.sentence('the Vell')}\n" for number in range(400))
    words = writer.paragraph("the handbook", 12)
    files: list[tuple[str, str | None, bytes, str | None]] = [
        ("readme.txt", "text/plain; charset=utf-8", f"READ ME\n\n{words}\n".encode(), "utf-8"),
        ("notes", "text/plain", f"Notes\n{words}\n".encode("ascii"), "ascii"),
        ("people.csv", "text/csv", f"id,name,score\n{rows}".encode(), "utf-8"),
        ("api.json", "application/json", b'{"name": "handbook", "versions": ["v1", "v2"]}\n', "utf-8"),
        ("manual?format=pdf", "application/pdf", _pdf(words), None),
        ("logo", "image/png", _png(), None),
        ("bundle?format=zip", "application/zip", b"PK\x05\x06" + bytes(18), None),
        ("mystery", None, bytes(range(256)) * 4, None),
        ("octets", "application/octet-stream", bytes(reversed(range(256))) * 8, None),
        ("large.log", "text/plain; charset=utf-8", (log * 60).encode(), "utf-8"),
    ]  # fmt: skip
    links = []
    for name, content_type, body, charset in files:
        query = name.replace("manual", "../downloads/manual")
        links.append(Link(query, host.url(f"/downloads/{name}"), name))
        host.file(f"/downloads/{name}", content_type, body, charset=charset, compressed=name == "large.log")
    links += [
        Link(name, host.url(f"/downloads/{name}"), name, filtered=True) for name in ("setup.exe", "all.zip", "all.tgz")
    ]
    host.page("/downloads/", "Downloads", links)


def _pdf(text: str) -> bytes:
    """Near enough to a PDF for whoever looks at its first and last line."""
    stream = zlib.compress(f"BT /F1 12 Tf ({text}) Tj ET".encode())
    return b"%%PDF-1.4\n1 0 obj\n<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream\nendobj\n%%%%EOF\n" % (
        len(stream), stream)  # fmt: skip


def _png() -> bytes:
    """A grey square of 8 by 8 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress((b"\0" + b"\x80" * 8) * 8))
        + chunk(b"IEND", b"")
    )
