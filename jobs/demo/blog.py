"""Notes from the Weir: a small blog. Crawl-delay, comments with rel=nofollow, X-Robots-Tag, redirects to other hosts,
a page that nothing links to.
"""

from __future__ import annotations

from jobs.demo.builder import HostBuilder, Web
from jobs.demo.site import Link, Seed
from jobs.demo.words import slug

ADDRESS = "127.10.5.1"
CRAWL_DELAY = 0.05

_ROBOTS = f"""\
User-agent: *
Crawl-delay: {CRAWL_DELAY}
Disallow: /admin
"""
_POSTS = 14


def add(web: Web) -> None:
    """Declare the host."""
    host = HostBuilder(web, ADDRESS, "Notes from the Weir", robots=_ROBOTS)
    host.navigation = [("/", "All notes"), ("/about", "About"), ("/admin", "Log in")]
    writer = web.writer(host.url("/posts"))
    titles = [writer.headline() for _ in range(_POSTS)]
    paths = [f"/{number + 1:02}-{slug(title)}" for number, title in enumerate(titles)]
    for number, (path, title) in enumerate(zip(paths, titles, strict=True)):
        older = paths[(number + 1) % _POSTS]
        links = [
            Link(older[1:], host.url(older), "Older", rel="next"),
            host.link("/hidden", "a reader", rel="NOFOLLOW"),
            host.link(f"/tag/{'water' if number % 2 else 'stone'}", "Tag", rel="tag"),
        ]
        if number % 7 == 3:
            spam = f"http://127.10.8.1:{web.port}/spam/{number}"
            links.append(Link(spam, spam, "cheap eels", rel="ugc nofollow"))
        host.page(path, title, links, sections=3, sentences=5, etag=f'W/"{number}"')
    for name, own in (("water", paths[1::2]), ("stone", paths[::2])):
        host.page(f"/tag/{name}", f"Notes on {name}", [Link(f"..{path}", host.url(path), path) for path in own])
    host.page("/hidden", "Hidden by nofollow", [host.link("/", "Home")])
    host.page("/trap", "Sponsored", [host.link("/", "Home")])
    host.page("/orphan", "Nothing links here", [host.link("/", "Home")])
    host.page("/admin", "Log in", denied=True)
    host.page("/quiet", "Quiet", [host.link("/behind-quiet", "Not to be followed")], bare=True, nofollow=True,
              noindex=True, headers=(("X-Robots-Tag", "noindex, nofollow"),))  # fmt: skip
    host.page("/behind-quiet", "Behind the quiet page")
    host.page("/dead-end", "No links at all", bare=True)
    host.page("/slow", "Worth the wait", [host.link("/", "Home")], delay=0.2)
    host.redirect("/handbook", 301, f"http://127.10.4.1:{web.port}/v2/install.html",
                  f"http://127.10.4.1:{web.port}/v2/./api/../install.html#top")  # fmt: skip
    host.redirect("/archive", 302, f"http://127.10.7.1:{web.port}/1998/")
    host.redirect("/mirror", 302, f"http://127.10.8.1:{web.port}/mirror")
    host.page("/about", "About", [host.link(path, path) for path in (
        "/quiet", "/dead-end", "/slow", "/handbook", "/archive", "/mirror")])  # fmt: skip
    url = host.page("/", "All notes", [host.link(path, title, number) for number, (path, title) in
                                       enumerate(zip(paths[:9], titles[:9], strict=True))])  # fmt: skip
    web.seeds.append(Seed(url, url, {"priority": "5"}))
