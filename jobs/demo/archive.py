"""Two hosts that can't be crawled for now: one whose robots.txt answers 503, and one that refuses connections."""

from __future__ import annotations

from jobs.demo.builder import HostBuilder, Web
from jobs.demo.site import Resource

ARCHIVE, REFUSING = "127.10.7.1", "127.10.8.1"


def add(web: Web) -> None:
    """Declare both hosts."""
    archive = HostBuilder(web, ARCHIVE, "The Old Courier", robots=Resource(503, "text/plain", b"overloaded\n"))
    archive.page("/", "The old Courier", [archive.link("/1998/", "1998"), archive.link("/1999/", "1999")])
    for year in ("/1998/", "/1999/"):
        archive.page(year, f"The year {year.strip('/')}", [archive.link("/", "Up")])
    partner = HostBuilder(web, REFUSING, "Payment partner", listening=False)
    for path in ("/pay", "/mirror", "/spam/3", "/spam/10"):
        partner.page(path, "Nobody sees this")
