"""Which addresses count as public, against the registries' blocks and ipaddress's own reading of them."""

from __future__ import annotations

import ipaddress
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.fetching.addresses import is_public, kind_of, refusal

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "93.184.215.14", "100.63.255.255", "100.128.0.0",
    "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0",
    "192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0",
    "203.0.112.255", "203.0.114.0", "223.255.255.255",
    "2000::", "2001:200::1", "2001:4860:4860::8888", "2001:db7:ffff::", "2001:db9::", "2606:4700:4700::1111",
    "2620:4f:7fff::", "2a00:1450:4001::1", "3ffe::1", "3fff:1000::", "64:ff9b::8.8.8.8", "64:ff9b::808:808",
    "2002:808:808::1", "2001:0:808:808:0:0:f7f7:f7f7",
]  # fmt: skip

NOT_PUBLIC = {
    "private": ["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.1", "192.168.255.255",
                "fc00::", "fd00::1", "fdff:ffff::"],
    "loopback": ["127.0.0.1", "127.255.255.255", "::1"],
    "link-local": ["169.254.0.0", "169.254.169.254", "fe80::", "fe80::1", "febf::1"],
    "site-local": ["fec0::1", "feff::1"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1", "ffff::"],
    "broadcast": ["255.255.255.255"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],
    "shared": ["100.64.0.0", "100.127.255.255"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.255", "2001:db8::1", "3fff::1", "3fff:fff::1"],
    "benchmarking": ["198.18.0.0", "198.19.255.255", "2001:2::1"],
    "reserved": ["240.0.0.0", "255.255.255.254", "192.0.0.1", "192.0.0.9", "192.0.0.170", "192.88.99.1", "192.31.196.1",
                 "192.52.193.1", "192.175.48.1", "100::1", "100:0:0:1::1", "5f00::1", "2001:1::1", "2001:3::1",
                 "2001:4:112::1", "2001:10::1", "2001:20::1", "2001:30::1", "2001:1ff::1", "2620:4f:8000::1", "4000::",
                 "1fff::", "200::1", "64:ff9a::1", "64:ff9b:0:1::8.8.8.8", "::1:0:0:0"],
    "IPv4-mapped": ["::ffff:8.8.8.8", "::ffff:127.0.0.1", "::FFFF:7f00:1"],
    "IPv4-compatible": ["::8.8.8.8", "::127.0.0.1", "::2"],
    "local-use NAT64": ["64:ff9b:1::1", "64:ff9b:1::8.8.8.8"],
    "scoped": ["fe80::1%eth0", "2606:4700::1111%1", "::1%lo"],
    "invalid": ["", "localhost", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.1.1.1", "1.1.1.1 ", " 1.1.1.1", "0x7f.1",
                "2130706433", "[2606:4700::1]", "2606:4700", "1.1.1.1/32", "1.1.1.1:80", "１.1.1.1", "8.8.8.8\n",
                "8.8.8.8\0", "::ffff:300.1.1.1", "fe80::1%", "\ud800"],
}  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert kind_of(address) is None
    assert is_public(address)


@pytest.mark.parametrize(
    ("kind", "address"), [(kind, address) for kind, all_of in NOT_PUBLIC.items() for address in all_of]
)
def test_not_public(kind: str, address: str) -> None:
    assert kind_of(address) == kind
    assert not is_public(address)


EMBEDDING = [
    "64:ff9b::{0}",
    "2002:{1:x}:{2:x}::1",
    "2001:0:{1:x}:{2:x}:0:0:f7f7:f7f7",
    "2001:0:808:808:0:0:{3:x}:{4:x}",
]


@pytest.mark.parametrize("form", EMBEDDING)
@pytest.mark.parametrize("ipv4", ["8.8.4.4", "10.0.0.1", "127.0.0.1", "169.254.169.254", "192.168.1.1", "224.0.0.1"])
def test_an_embedded_ipv4_address_decides(form: str, ipv4: str) -> None:
    number = int(ipaddress.IPv4Address(ipv4))
    high, low = number >> 16, number & 0xFFFF
    assert kind_of(form.format(ipv4, high, low, high ^ 0xFFFF, low ^ 0xFFFF)) == kind_of(ipv4)


@given(st.ip_addresses() | st.ip_addresses(v=4))
def test_never_more_open_than_ipaddress(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """What any Python calls private, multicast, reserved, … is not public here, however it is spelt."""
    text = str(address)
    spellings = {text, address.exploded, address.exploded.upper()}
    assert len({kind_of(spelling) for spelling in spellings}) == 1
    if is_public(text):
        kinds = (address.is_multicast, address.is_loopback, address.is_link_local, address.is_unspecified)
        assert not any(kinds)
        assert not (address.is_reserved and not text.startswith("64:ff9b::"))
        assert not (address.is_private and not text.startswith(("2001:0:", "2002:")))
        assert not getattr(address, "is_site_local", False)


def test_most_of_ipv4_is_public() -> None:
    """0, 10, 127, 224–255 and the smaller blocks: a seventh of all addresses is not."""
    numbers = random.Random(5).choices(range(1 << 32), k=20_000)
    share = sum(is_public(str(ipaddress.IPv4Address(number))) for number in numbers) / len(numbers)
    assert 0.85 < share < 0.875


@given(st.text())
def test_garbage_is_no_address(text: str) -> None:
    assert isinstance(is_public(text), bool)


def test_refusal() -> None:
    assert refusal("169.254.169.254") == "169.254.169.254 is link-local: fetch.allow_private_addresses"
