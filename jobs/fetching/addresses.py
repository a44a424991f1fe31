"""Which addresses are on the public Internet: the guard against pages that lead into somebody's own network.

Owns the tables of special addresses and the rule. Pure; looks nothing up (`dns` does) and connects to nothing. An
engine asks about the address that it really connects to, each time, so no name and no redirect gets around it.

The tables are IANA's special-purpose address registries (RFC 6890, RFC 8190 and the RFCs below) and its list of IPv6
allocations, as of 2025. They stand here because `ipaddress.is_global` differs from one Python to the next. Where a
registry calls a block reachable that holds no web server (anycast for TURN or AS112, ORCHIDs), it is refused too.
"""

from __future__ import annotations

import functools
import ipaddress

_IPV4 = [
    ("0.0.0.0/8", "unspecified"),  # RFC 791: this network
    ("10.0.0.0/8", "private"),  # RFC 1918
    ("100.64.0.0/10", "shared"),  # RFC 6598: behind a carrier's NAT
    ("127.0.0.0/8", "loopback"),  # RFC 1122
    ("169.254.0.0/16", "link-local"),  # RFC 3927; the metadata services of clouds
    ("172.16.0.0/12", "private"),  # RFC 1918
    ("192.0.0.0/24", "reserved"),  # RFC 6890: IETF protocol assignments
    ("192.0.2.0/24", "documentation"),  # RFC 5737
    ("192.31.196.0/24", "reserved"),  # RFC 7535: AS112
    ("192.52.193.0/24", "reserved"),  # RFC 7450: AMT
    ("192.88.99.0/24", "reserved"),  # RFC 7526: 6to4 relays, deprecated
    ("192.168.0.0/16", "private"),  # RFC 1918
    ("192.175.48.0/24", "reserved"),  # RFC 7534: AS112
    ("198.18.0.0/15", "benchmarking"),  # RFC 2544
    ("198.51.100.0/24", "documentation"),  # RFC 5737
    ("203.0.113.0/24", "documentation"),  # RFC 5737
    ("224.0.0.0/4", "multicast"),  # RFC 5771
    ("255.255.255.255/32", "broadcast"),  # RFC 919
    ("240.0.0.0/4", "reserved"),  # RFC 1112
]
_IPV6 = [
    ("::/128", "unspecified"),  # RFC 4291
    ("::1/128", "loopback"),  # RFC 4291
    ("::ffff:0:0/96", "IPv4-mapped"),  # RFC 4291: such a connection is one over IPv4, past the rules for IPv4
    ("::/96", "IPv4-compatible"),  # RFC 4291, deprecated
    ("64:ff9b:1::/48", "local-use NAT64"),  # RFC 8215
    ("fc00::/7", "private"),  # RFC 4193: unique local
    ("fe80::/10", "link-local"),  # RFC 4291
    ("fec0::/10", "site-local"),  # RFC 3879, deprecated
    ("ff00::/8", "multicast"),  # RFC 4291
    ("2001:2::/48", "benchmarking"),  # RFC 5180
    ("2001::/23", "reserved"),  # RFC 2928: IETF protocol assignments: ORCHIDs, AMT, AS112, anycast, drones
    ("2001:db8::/32", "documentation"),  # RFC 3849
    ("2620:4f:8000::/48", "reserved"),  # RFC 7534: AS112
    ("3fff::/20", "documentation"),  # RFC 9637
]
_GLOBAL_UNICAST = 0x2000 << 112, 0xE000 << 112
"""2000::/3, the only part of IPv6 that IANA hands out; 100::/64, 5f00::/16 and all else outside it are reserved."""

Block = tuple[int, int, str]
"""First address, mask, kind."""


def _blocks(table: list[tuple[str, str]]) -> list[Block]:
    networks = [(ipaddress.ip_network(block), kind) for block, kind in table]
    return [(int(network.network_address), int(network.netmask), kind) for network, kind in networks]


_IPV4_BLOCKS, _IPV6_BLOCKS = _blocks(_IPV4), _blocks(_IPV6)


def is_public(address: str) -> bool:
    """True if `address`, an IPv4 or IPv6 address as text (no brackets), can be that of a server on the Internet.

    >>> is_public("93.184.215.14"), is_public("10.0.0.1"), is_public("64:ff9b::10.0.0.1")
    (True, False, False)
    """
    return kind_of(address) is None


@functools.lru_cache(1 << 16)
def kind_of(address: str) -> str | None:
    """What keeps `address` from being public, in a word: private, loopback, …; None if nothing does."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "invalid"
    if isinstance(parsed, ipaddress.IPv4Address):
        return _kind(int(parsed), _IPV4_BLOCKS)
    if parsed.scope_id is not None:
        return "scoped"  # RFC 4007: it means something on one link of this machine alone
    return _kind_of_ipv6(int(parsed))


def _kind_of_ipv6(number: int) -> str | None:
    # Three kinds stand for an IPv4 address that packets to them end up at
    if number >> 32 == 0x64FF9B << 64:  # 64:ff9b::/96, NAT64 (RFC 6052)
        return _kind(number & 0xFFFFFFFF, _IPV4_BLOCKS)
    if number >> 112 == 0x2002:  # 6to4 (RFC 3056)
        return _kind(number >> 80 & 0xFFFFFFFF, _IPV4_BLOCKS)
    if number >> 96 == 0x20010000:  # Teredo (RFC 4380): the server's address, and the client's with its bits flipped
        server, client = number >> 64 & 0xFFFFFFFF, number & 0xFFFFFFFF ^ 0xFFFFFFFF
        return _kind(server, _IPV4_BLOCKS) or _kind(client, _IPV4_BLOCKS)
    kind = _kind(number, _IPV6_BLOCKS)
    first, mask = _GLOBAL_UNICAST
    return kind if kind is not None or number & mask == first else "reserved"


def _kind(number: int, blocks: list[Block]) -> str | None:
    for first, mask, kind in blocks:
        if number & mask == first:
            return kind
    return None


def refusal(address: str) -> str:
    """Why no connection is made to an address that is not public, for `detail`."""
    return f"{address[:100]} is {kind_of(address)}: fetch.allow_private_addresses"
