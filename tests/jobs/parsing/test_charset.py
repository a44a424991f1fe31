"""Which encoding is decided on, and what the text comes out as."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.parsing.charset import _CODECS, decide, decode, is_utf8, known

RUSSIAN = "Старая мельница стоит у реки, и вода медленно вращает её колесо целый день. " * 3
JAPANESE = "古い水車小屋は川のそばに立っていて、水が一日中ゆっくりと車輪を回しています。" * 3
CHINESE = "古老的水车小屋矗立在河边，水流整天缓缓地转动着轮子。人们从很远的地方来看它。" * 3
KOREAN = "오래된 물레방아는 강가에 서 있고 물은 하루 종일 천천히 바퀴를 돌린다. " * 3
GREEK = "Ο παλιός μύλος στέκεται δίπλα στο ποτάμι και το νερό γυρίζει αργά τον τροχό. " * 3
FRENCH = "Le vieux moulin à eau se dressait près de la rivière, où l’été dernier les élèves pêchaient. " * 3
CZECH = "Starý mlýn stojí u řeky a voda pomalu otáčí jeho kolem po celý den, říká převozník. " * 3
META = '<meta charset="{}">'


@pytest.mark.parametrize(
    ("content", "header", "charset", "text"),
    [
        # The byte order mark is stronger than all declarations
        (codecs.BOM_UTF8 + "é".encode(), "text/html; charset=iso-8859-1", "utf-8", "é"),
        (codecs.BOM_UTF16_LE + "é".encode("utf-16-le"), "text/html; charset=utf-8", "utf-16le", "é"),
        (codecs.BOM_UTF16_BE + "é".encode("utf-16-be"), None, "utf-16be", "é"),
        (codecs.BOM_UTF8, None, "utf-8", ""),
        # Then the header
        ("é".encode("latin-1"), "text/html; charset=ISO-8859-1", "windows-1252", "é"),
        (b"\x80", "text/html; charset=latin1", "windows-1252", "€"),
        ("é".encode(), "text/html;charset=UTF8", "utf-8", "é"),
        ("é".encode(), 'text/html; charset="utf-8"', "utf-8", "é"),
        ("ж".encode("koi8-r"), "text/html; Charset=KOI8-R", "koi8-r", "ж"),
        ("ж".encode("cp866"), "text/plain; charset=cp866", "ibm866", "ж"),
        ("中".encode("gbk"), "text/html; charset=gb2312", "gb18030", "中"),
        ("中".encode("gbk"), "text/html; charset=x-gbk", "gb18030", "中"),
        ("中".encode("big5"), "text/html; charset=Big5", "big5", "中"),
        ("한".encode("cp949"), "text/html; charset=ks_c_5601-1987", "euc-kr", "한"),
        ("水".encode("euc_jp"), "text/html; charset=euc-jp", "euc-jp", "水"),
        ("水".encode("iso2022_jp"), "text/html; charset=iso-2022-jp", "iso-2022-jp", "水"),
        ("é".encode("utf-16-le"), "text/html; charset=utf-16", "utf-16le", "é"),
        ((META.format("koi8-r") + "é").encode(), "text/html; charset=utf-8", "utf-8", META.format("koi8-r") + "é"),
        (b"a\xffb", "text/html; charset=utf-8", "utf-8", "a\ufffdb"),
        # A label that nobody knows counts as absent
        ("é".encode(), "text/html; charset=nonsense", "utf-8", "é"),
        ("é".encode(), "text/html; charset=", "utf-8", "é"),
        (b"+ADw-", "text/html; charset=utf-7", "utf-8", "+ADw-"),
        (b"abc", "text/html; charset=rot13", "utf-8", "abc"),
        (b"abc", "text/html; charset=idna", "utf-8", "abc"),
        (b"abc", "text/html; charset=unicode_escape", "utf-8", "abc"),
        # Then the page
        (META.format("Shift_JIS").encode() + "水".encode("cp932"), None, "shift_jis", META.format("Shift_JIS") + "水"),
        (b"<META http-equiv=Content-Type content='text/html; charset=windows-1251'>\xe6", None, "windows-1251",
         "<META http-equiv=Content-Type content='text/html; charset=windows-1251'>ж"),
        (b'<?xml version="1.0" encoding="iso-8859-2"?>\xb1', None, "iso-8859-2",
         '<?xml version="1.0" encoding="iso-8859-2"?>ą'),
        (b"<!-- <meta charset=koi8-r> --><meta charset=utf-8>", None, "utf-8",
         "<!-- <meta charset=koi8-r> --><meta charset=utf-8>"),
        (META.format("utf-16").encode() + "é".encode(), None, "utf-8", META.format("utf-16") + "é"),
        (META.format("nonsense").encode() + "é".encode(), None, "utf-8", META.format("nonsense") + "é"),
        # Then the bytes
        (("<p>" + FRENCH).encode("utf-16-le"), None, "utf-16le", "<p>" + FRENCH),
        (("<p>" + FRENCH).encode("utf-16-be"), None, "utf-16be", "<p>" + FRENCH),
        ("é".encode(), None, "utf-8", "é"),
        ("né".encode()[:-1], None, "utf-8", "n\ufffd"),
        (b"", None, "utf-8", ""),
        (RUSSIAN.encode("cp1251"), None, "windows-1251", RUSSIAN),
        (RUSSIAN.encode("koi8-r"), "text/html", "koi8-r", RUSSIAN),
        (JAPANESE.encode("cp932"), None, "shift_jis", JAPANESE),
        (JAPANESE.encode("euc_jp"), None, "euc-jp", JAPANESE),
        (CHINESE.encode("gb18030"), None, "gb18030", CHINESE),
        (CHINESE.encode("utf-8"), None, "utf-8", CHINESE),
        (KOREAN.encode("cp949"), None, "euc-kr", KOREAN),
        (FRENCH.encode("cp1252"), None, "windows-1252", FRENCH),
        # Then the setting
        (b"\xff", None, "windows-1252", "ÿ"),
    ],
)  # fmt: skip
def test_decision_and_text(content: bytes, header: str | None, charset: str, text: str) -> None:
    name, start = decide(content, header, "windows-1252")
    assert (name, decode(content, name, start)) == (charset, text)


def test_the_setting_decides_last() -> None:
    assert decide(b"\xff", None, "iso-8859-15") == ("iso-8859-15", 0)
    assert decide(b"\xff", None, "nonsense") == ("windows-1252", 0)


@pytest.mark.parametrize("name", _CODECS)
def test_every_name_is_its_own_label_and_can_be_decoded(name: str) -> None:
    assert known(name) == name
    assert known(f" {name.upper()} ") == name
    assert decode("a b".encode(_CODECS[name]), name) == "a b"


@pytest.mark.parametrize("label", ["", "\0", "utf-7", "hex", "zlib", "punycode", "mbcs", "undefined", "a" * 5000, "é"])
def test_what_is_no_web_encoding_is_unknown(label: str) -> None:
    assert known(label) is None


def test_utf8_may_be_cut_within_a_character() -> None:
    assert is_utf8("é€𝄞".encode()[:-1])
    assert not is_utf8(b"\xe9t\xe9")


@given(st.binary(max_size=300), st.none() | st.text(max_size=60))
def test_any_bytes_and_any_header_have_an_encoding_and_a_text(content: bytes, header: str | None) -> None:
    name, start = decide(content, header, "windows-1252")
    assert name in _CODECS
    decode(content, name, start).encode()
    decide(content, f"text/html; charset={header}", "windows-1252")
