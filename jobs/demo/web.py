"""The demo site itself: all its hosts put together."""

from __future__ import annotations

from jobs.demo import archive, blog, docs, encyclopedia, museum, news, shop
from jobs.demo.builder import Web
from jobs.demo.site import Site

DEFAULT_SEED = 7


def demo_site(port: int, seed: int = DEFAULT_SEED) -> Site:
    """The demo site on `port`; the same port and seed make the same site, byte for byte."""
    web = Web(port, seed)
    for host in (encyclopedia, news, shop, docs, blog, museum, archive):
        host.add(web)
    return web.site()
