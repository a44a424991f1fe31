"""PDF: files that the test makes, whole and broken."""

from __future__ import annotations

import functools
import io

import pypdf
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf.annotations import Link
from pypdf.generic import ArrayObject, DecodedStreamObject, DictionaryObject, NameObject, NumberObject, TextStringObject

from crawldb.settings import ParseSettings
from jobs.parsing.pdf import parse_pdf
from tests.jobs.parsing.reading import read


@functools.lru_cache
def pdf(*pages: str, link: str = "http://other.example/a b", password: str = "", compressed: bool = True) -> bytes:
    """A file with these texts on its pages, each with a link."""
    writer = pypdf.PdfWriter()
    writer.add_metadata({
        "/Title": "Annual\n  report", "/Author": "Ann Author", "/Subject": "What was", "/Keywords": "one, two",
        "/CreationDate": "D:20240102030405+01'00'", "/ModDate": "D:20240203040506Z",
    })  # fmt: skip
    writer.root_object[NameObject("/Lang")] = TextStringObject("en-GB")
    font = DictionaryObject({
        NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1"),
        NameObject("/BaseFont"): NameObject("/Helvetica"),
    })  # fmt: skip
    for number, text in enumerate(pages):
        page = writer.add_blank_page(300, 300)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): writer._add_object(font)})}
        )
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode("latin-1"))
        page[NameObject("/Contents")] = writer._add_object(stream.flate_encode() if compressed else stream)
        if link:
            writer.add_annotation(number, Link(rect=(20, 200, 90, 210), url=link))
    if password:
        writer.encrypt(password, "owner", algorithm="RC4-128")
    output = io.BytesIO()
    writer.write(output)
    return output.getvalue()


def test_text_title_metadata_and_links() -> None:
    document = read(pdf("First page", "Second page"), "application/pdf")
    assert (document.parse_status, document.content_type, document.charset) == ("parsed", "application/pdf", None)
    assert document.text == "First page\nSecond page"
    assert (document.title, document.description, document.language) == ("Annual report", "What was", "en-GB")
    assert document.metadata is not None
    assert (document.metadata["author"], document.metadata["keywords"]) == ("Ann Author", "one, two")
    assert [link.url for link in document.outlinks] == ["http://other.example/a%20b"]
    extract = parse_pdf(pdf("x"), None, ParseSettings())
    assert (extract.published, extract.modified) == ("2024-01-02T03:04:05+01:00", "2024-02-03T04:05:06+00:00")


def test_a_pdf_is_known_by_its_bytes_and_its_relative_links_by_its_url() -> None:
    document = read(pdf("x", link="other.pdf"), "text/plain")
    assert document.content_type == "application/pdf"
    assert [link.url for link in document.outlinks] == ["http://h.example/d/other.pdf"]


def test_passwords() -> None:
    """Files that anyone may read are often encrypted with an empty one."""
    assert read(pdf("x", password="secret"), None).parse_detail == "ValueError: needs a password"
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf("Open to all")))
    writer.encrypt("", "owner", algorithm="RC4-128")
    output = io.BytesIO()
    writer.write(output)
    assert read(output.getvalue(), None).text == "Open to all"


def test_what_is_cut_off_or_no_pdf_is_failed() -> None:
    whole = pdf("x")
    assert read(whole[: len(whole) // 2], None, truncated=True).parse_detail == "truncated"
    document = read(b"%PDF-1.7\nnothing of the kind", None)
    assert (document.parse_status, document.text) == ("failed", None)
    assert document.signature


def test_a_page_that_cannot_be_read_costs_itself() -> None:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf("one", "two")))
    writer.pages[0][NameObject("/Contents")] = ArrayObject([NumberObject(3)])
    writer.pages[0][NameObject("/Annots")] = ArrayObject([NumberObject(3)])
    output = io.BytesIO()
    writer.write(output)
    document = read(output.getvalue(), None)
    assert document.text == "two"
    assert len(document.outlinks) == 1


def test_text_keeps_to_its_limit() -> None:
    document = read(pdf("a" * 50, "b" * 50, "c" * 50), None, "parse.max_text=70")
    assert document.text == "a" * 50 + "\n" + "b" * 19


@settings(deadline=None, max_examples=150)
@given(st.data(), st.booleans())
def test_mutated_files_are_parsed_or_failed(data: st.DataObject, compressed: bool) -> None:
    content = pdf("Some text", "More of it", compressed=compressed)
    mutated = bytearray(content)
    for place, byte in data.draw(
        st.lists(st.tuples(st.integers(5, len(content) - 1), st.integers(0, 255)), max_size=20)
    ):
        mutated[place] = byte
    cut = data.draw(st.integers(5, len(content)))
    document = read(bytes(mutated[:cut]), "application/pdf")
    assert document.parse_status in ("parsed", "failed")
    assert len(document.text or "") < 1000
