"""Office files that the test makes: what they say, and what they must not do."""

from __future__ import annotations

import functools
import io
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawldb.settings import ParseSettings
from jobs.parsing.media_types import DOCX, ODP, ODS, ODT, PPTX, XLSX, media_type
from jobs.parsing.office import parse_ooxml, parse_opendocument
from tests.jobs.parsing.reading import read

R = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
RELS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="r1" Target="http://other.example/1" TargetMode="External"/>'
    '<Relationship Id="r2" Target="worksheets/sheet1.xml"/></Relationships>'
)
CORE = (
    '<cp:coreProperties xmlns:cp="c" xmlns:dc="d" xmlns:dcterms="t"><dc:title>A  title</dc:title>'
    "<dc:creator>Ann</dc:creator><cp:keywords>one, two</cp:keywords><dc:description>About it</dc:description>"
    "<dc:language>en-US</dc:language><dcterms:created>2024-01-02T03:04:05Z</dcterms:created>"
    "<dcterms:modified>2024-02-03T04:05:06Z</dcterms:modified></cp:coreProperties>"
)
DOCUMENT = (
    f'<w:document xmlns:w="w" {R} xmlns:mc="mc"><w:body><w:p><w:pPr><w:tabs><w:tab w:val="left" w:pos="9"/></w:tabs></w:pPr>'
    "<w:r><w:t>One</w:t><w:tab/><w:t>tab</w:t></w:r></w:p><w:p><w:hyperlink r:id='r1'><w:r><w:t>A link</w:t></w:r>"
    "</w:hyperlink><w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>"
    '<w:p><w:r><w:instrText> HYPERLINK "http://other.example/field" </w:instrText></w:r></w:p>'
    "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>b</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"
    "<mc:AlternateContent><mc:Choice><w:p><w:r><w:t>shown</w:t></w:r></w:p></mc:Choice><mc:Fallback><w:p><w:r><w:t>shown</w:t>"
    "</w:r></w:p></mc:Fallback></mc:AlternateContent></w:body></w:document>"
)
SLIDE = (
    f'<p:sld xmlns:p="p" xmlns:a="a" {R}><a:p><a:r><a:rPr><a:hlinkClick r:id="r1"/></a:rPr><a:t>Click</a:t></a:r>'
    "<a:r><a:t> slide {}</a:t></a:r></a:p></p:sld>"
)
SHEET = (
    f'<worksheet xmlns="s" {R}><sheetData><row r="1"><c r="A1" t="s"><v>1</v></c><c r="B1"><v>4.5</v></c><c r="C1" t="b">'
    '<v>1</v></c></row><row r="2"><c r="A2" t="inlineStr"><is><t>inline</t></is></c><c r="B2" t="str"><f>HYPERLINK("http://'
    'other.example/f","x")</f><v>x</v></c><c r="C2" t="s"><v>99</v></c></row></sheetData><hyperlinks><hyperlink ref="A1" '
    'r:id="r1"/></hyperlinks></worksheet>'
)
SHARED = '<sst xmlns="s"><si><t>zero</t></si><si><r><t>Hel</t></r><r><t>lo</t></r><rPh><t>no</t></rPh></si></sst>'
TEXT = (
    '<office:document-content xmlns:office="o" xmlns:text="t" xmlns:table="b" xmlns:xlink="http://www.w3.org/1999/xlink">'
    "<office:body><office:{0}><text:tracked-changes><text:p>gone</text:p></text:tracked-changes>"
    "<text:h>Head</text:h><text:p>A <text:a xlink:href='http://other.example/1'>link</text:a><text:s/>end</text:p>"
    "<table:table table:name='Sheet'><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell><table:table-cell>"
    "<text:p>b</text:p></table:table-cell></table:table-row></table:table></office:{0}></office:body></office:document-content>"
)
META = (
    '<office:document-meta xmlns:office="o" xmlns:dc="d" xmlns:meta="m"><office:meta><dc:title>A  title</dc:title>'
    "<meta:initial-creator>Someone</meta:initial-creator><dc:creator>Ann</dc:creator><meta:keyword>one</meta:keyword>"
    "<meta:keyword>two</meta:keyword><dc:description>About it</dc:description><dc:language>en-US</dc:language>"
    "<meta:creation-date>2024-01-02T03:04:05Z</meta:creation-date><dc:date>2024-02-03T04:05:06Z</dc:date>"
    "</office:meta></office:document-meta>"
)


def archive(parts: dict[str, str | bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", compression) as file:
        for name, part in parts.items():
            how = zipfile.ZIP_STORED if name == "mimetype" else compression
            file.writestr(zipfile.ZipInfo(name), part, compress_type=how)
    return output.getvalue()


def docx() -> bytes:
    return archive({
        "[Content_Types].xml": "<Types/>", "docProps/core.xml": CORE, "word/document.xml": DOCUMENT,
        "word/_rels/document.xml.rels": RELS,
    })  # fmt: skip


def pptx() -> bytes:
    slides: dict[str, str | bytes] = {
        f"ppt/slides/slide{number}.xml": SLIDE.replace("{}", str(number)) for number in (10, 2, 1)
    }
    rels: dict[str, str | bytes] = {"ppt/slides/_rels/slide1.xml.rels": RELS}
    return archive(
        {"[Content_Types].xml": "", "ppt/presentation.xml": "<p/>", "docProps/core.xml": CORE, **slides, **rels}
    )


def xlsx() -> bytes:
    return archive({
        "[Content_Types].xml": "<Types/>", "docProps/core.xml": CORE, "xl/_rels/workbook.xml.rels": RELS,
        "xl/workbook.xml": f'<workbook xmlns="s" {R}><sheets><sheet name="Prices" r:id="r2"/></sheets></workbook>',
        "xl/worksheets/sheet1.xml": SHEET, "xl/worksheets/_rels/sheet1.xml.rels": RELS, "xl/sharedStrings.xml": SHARED,
    })  # fmt: skip


def opendocument(kind: str, body: str) -> bytes:
    return archive({"mimetype": kind, "content.xml": TEXT.replace("{0}", body), "meta.xml": META})


odt = functools.partial(opendocument, ODT, "text")
ods = functools.partial(opendocument, ODS, "spreadsheet")
odp = functools.partial(opendocument, ODP, "presentation")
CASES = [
    (docx, DOCX, "One\ttab\nA link\na\nb\nshown", ["http://other.example/1", "http://other.example/field"]),
    (pptx, PPTX, "Click slide 1\nClick slide 2\nClick slide 10", ["http://other.example/1"]),
    (xlsx, XLSX, "Prices\nHello\t4.5\tTRUE\ninline\tx", ["http://other.example/f", "http://other.example/1"]),
    (odt, ODT, "Head\nA link end\na\tb", ["http://other.example/1"]),
    (ods, ODS, "Head\nA link end\nSheet\na\tb", ["http://other.example/1"]),
    (odp, ODP, "Head\nA link end\na\tb", ["http://other.example/1"]),
]
ANCHORS = {DOCX: "A link", PPTX: "Click", XLSX: "Hello", ODT: "link", ODS: "link", ODP: "link"}


@pytest.mark.parametrize(("make", "kind", "text", "links"), CASES, ids=[case[1].rpartition(".")[2] for case in CASES])
@pytest.mark.parametrize("header", [None, "application/zip", "application/msword", "right"])
def test_office_files(make: Callable[[], bytes], kind: str, text: str, links: list[str], header: str | None) -> None:
    document = read(make(), kind if header == "right" else header)
    assert (document.parse_status, document.parse_detail, document.content_type) == ("parsed", None, kind)
    assert document.text == text
    assert [link.url for link in document.outlinks] == links
    assert next(link.anchor for link in document.outlinks if link.url.endswith("/1")) == ANCHORS[kind]
    assert (document.title, document.description, document.language) == ("A title", "About it", "en-US")
    assert document.metadata is not None
    assert (document.metadata["author"], document.metadata["keywords"]) == ("Ann", "one, two")
    extract = (parse_opendocument if kind.startswith("application/vnd.oasis") else parse_ooxml)(
        make(), None, ParseSettings()
    )
    assert (extract.published, extract.modified) == ("2024-01-02T03:04:05Z", "2024-02-03T04:05:06Z")


@pytest.mark.parametrize(("make", "kind"), [case[:2] for case in CASES])
def test_what_is_cut_off_is_failed(make: Callable[[], bytes], kind: str) -> None:
    content = make()
    document = read(content[: len(content) * 2 // 3], kind, truncated=True)
    assert (document.parse_status, document.parse_detail) == ("failed", "truncated")


def test_a_bomb_is_not_unpacked() -> None:
    filler = b"<w:document xmlns:w='w'>" + b" " * (40 << 20) + b"</w:document>"
    bomb = archive({"word/document.xml": filler})
    assert len(bomb) < 100_000
    document = read(bomb, DOCX, "parse.max_unpacked=1MiB")
    assert document.parse_detail == "ValueError: unpacks to more than parse.max_unpacked"
    assert read(bomb, DOCX).parse_status == "parsed"


def test_reading_ends_with_the_limit_of_the_text() -> None:
    paragraphs = "<w:p><w:r><w:t>word</w:t></w:r></w:p>" * 100_000
    long = archive({"word/document.xml": f"<w:document xmlns:w='w'>{paragraphs}</w:document>"})
    document = read(long, DOCX, "parse.max_text=99", "parse.max_unpacked=200KiB")
    assert document.text == "word\n" * 19 + "word"


def test_entities_and_outside_files_are_not_read() -> None:
    entities = "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 12))
    document = (
        f"<!DOCTYPE x [<!ENTITY a0 'ha'>{entities}<!ENTITY f SYSTEM 'file:///etc/passwd'>]>"
        "<w:document xmlns:w='w'><w:p><w:t>x&a11;&f;y</w:t></w:p></w:document>"
    )
    read_document = read(archive({"word/document.xml": document}), DOCX)
    assert len(read_document.text or "") < 1000
    assert "root:" not in (read_document.text or "")


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (archive({"word/other.xml": "<x/>"}), "neither a document"),
        (archive({"word/document.xml": "<x>"}), "XMLSyntaxError"),
        (archive({"word/document.xml": "<x/>"}, zipfile.ZIP_LZMA), "compressed by method 14"),
        (b"PK\x03\x04word/", "BadZipFile"),
    ],
)
def test_what_is_wrong_is_failed(content: bytes, detail: str) -> None:
    document = read(content, DOCX)
    assert document.parse_status == "failed"
    assert detail in (document.parse_detail or "")


def test_an_encrypted_opendocument_says_so() -> None:
    manifest = "<m:manifest xmlns:m='m'><m:file-entry><m:encryption-data/></m:file-entry></m:manifest>"
    content = archive({"mimetype": ODT, "META-INF/manifest.xml": manifest, "content.xml": b"\x93\x01garbled"})
    assert read(content, ODT).parse_detail == "ValueError: needs a password"


MADE = [make() for make, *_ in CASES]


@settings(deadline=None, max_examples=200)
@given(st.data(), st.sampled_from(range(len(MADE))))
def test_mutated_files_are_parsed_or_failed(data: st.DataObject, which: int) -> None:
    content = MADE[which]
    mutated = bytearray(content)
    for place, byte in data.draw(
        st.lists(st.tuples(st.integers(4, len(content) - 1), st.integers(0, 255)), max_size=8)
    ):
        mutated[place] = byte
    document = read(bytes(mutated), CASES[which][1])
    assert document.parse_status in ("parsed", "failed")
    assert len(document.text or "") < 5000


@settings(deadline=None, max_examples=150)
@given(st.data(), st.sampled_from([DOCUMENT, SLIDE, SHEET, SHARED, TEXT, META, CORE, RELS]))
def test_mutated_parts_are_parsed_or_failed(data: st.DataObject, part: str) -> None:
    """Within the archive, where a checksum would keep most mutations out."""
    cut = data.draw(st.integers(0, len(part)))
    junk = data.draw(st.text(max_size=10) | st.sampled_from(["</w:p>", "<x>", "]]>", "&amp;", "<!--", "r:id='r1'"]))
    mutated = (part[:cut] + junk + part[cut + data.draw(st.integers(0, 5)) :]).encode("utf-8", "replace")
    document_parts: dict[str, str | bytes] = {
        "word/document.xml": mutated, "word/_rels/document.xml.rels": mutated, "docProps/core.xml": mutated,
    }  # fmt: skip
    sheet_parts: dict[str, str | bytes] = {
        "xl/workbook.xml": f'<workbook {R}><sheets><sheet name="a" r:id="r2"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": RELS, "xl/worksheets/sheet1.xml": mutated, "xl/sharedStrings.xml": mutated,
    }  # fmt: skip
    for parts, kind in (
        (document_parts, DOCX), (sheet_parts, XLSX), ({"content.xml": mutated, "meta.xml": mutated}, ODT)
    ):  # fmt: skip
        assert read(archive(parts), kind).parse_status in ("parsed", "failed")


def test_types_of_archives() -> None:
    assert media_type(docx()[:400], None) == DOCX
    assert media_type(archive({"a.txt": "x"}), "application/octet-stream") == "application/zip"
    assert media_type(archive({"a.txt": "x"}), None, "http://h.example/a.docx?x=y.pdf") == DOCX
    assert media_type(archive({"mimetype": "application/epub+zip", "x": ""}), None) == "application/epub+zip"
    assert media_type(docx(), "text/html") == DOCX
