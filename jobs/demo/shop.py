"""Vell Goods: a shop. Sorting and session ids that lead to the same content, baskets denied by robots.txt,
redirect chains and loops, server errors, pages for members, pictures that the URL filters refuse.
"""

from __future__ import annotations

from jobs.demo.builder import HostBuilder, Web
from jobs.demo.site import Link, Resource, Seed
from jobs.demo.words import slug

ADDRESS = "127.10.3.1"

_ROBOTS = """\
User-Agent: *
Disallow: /cart
Disallow: /checkout/    # nobody's business
Disallow: /*.do$
"""
_DEPARTMENTS = ("kitchen", "garden", "study", "travel", "gifts")
_PER_DEPARTMENT = 9


def add(web: Web) -> None:
    """Declare the host."""
    host = HostBuilder(web, ADDRESS, "Vell Goods", robots=_ROBOTS)
    host.navigation = [
        ("/", "Home"),
        *((f"/d/{name}", name.capitalize()) for name in _DEPARTMENTS),
        ("/cart", "Basket"),
    ]
    host.footer = [("/terms", "Terms"), ("/help/", "Help")]
    products: list[tuple[str, str]] = []
    for place, name in enumerate(_DEPARTMENTS):
        writer = web.writer(f"{host.url('/d/')}{name}")
        own = []
        for number in range(_PER_DEPARTMENT):
            product = writer.product()
            own.append((f"/p/{place}{number:02}-{slug(product)}", product))
        products += own
        links = [host.link(path, product, number) for number, (path, product) in enumerate(own)]
        sorted_by_price = host.url(f"/d/{name}?page=1&sort=price")
        links += [
            Link("?sort=price&page=1", sorted_by_price, "By price"),
            Link("?page=1&sort=price", sorted_by_price, "By price", escaped=False),
            Link(f"?color=dark+blue#{name}", host.url(f"/d/{name}?color=dark+blue"), "Dark blue"),
            Link("?color=dark blue", host.url(f"/d/{name}?color=dark+blue"), "Blue"),
        ]
        host.page(f"/d/{name}", name.capitalize(), links, sections=2)
        for query in ("?page=1&sort=price", "?color=dark+blue"):
            host.add(f"/d/{name}{query}", web.pages[host.url(f"/d/{name}")])
    for number, (path, product) in enumerate(products):
        _product(host, number, path, product, products)

    for path in ("/cart", "/cart?add=0", "/cart?add=1", "/cart?add=2", "/checkout/pay", "/invoice.do"):
        host.page(path, "Not for crawlers", denied=True, sections=1)
    host.page("/terms", "Terms", sections=8, nofollow=True,
              links=[host.link("/terms/secret", "Known to nobody who does not follow")])  # fmt: skip
    host.page("/terms/secret", "Secret terms")
    _redirects(host, products)
    host.failure("/stock", 500)
    host.failure("/wholesale", 403)
    host.failure("/members", 401, headers=(("WWW-Authenticate", 'Basic realm="members"'),))
    host.failure("/p/%20", 400)
    host.failure("/p/999-discontinued", 404)
    front = [
        *(host.link(path, text) for path, text in (
            ("/stock", "Stock"), ("/wholesale", "Wholesale"), ("/members", "Members"), ("/p/999-discontinued", "Last one!"),
            ("/checkout/pay", "Pay"), ("/invoice.do", "Invoice"), ("/sale", "Sale"), ("/loop/a", "Returns"),
            ("/loop/self", "Voucher"), ("/visit", "Visit us"), ("/offer", "Offer"), ("/picture", "Picture"))),
        Link("/p/ x", host.url("/p/%20x"), "Odd"),
        Link("/p/%20", host.url("/p/%20"), "Odder"),
        *(host.link(path, product, number) for number, (path, product) in enumerate(products[::4])),
        host.link(f"http://127.10.8.1:{web.port}/pay", "Payment partner"),
        host.link("/p/000.jpg", "Photo", filtered=True),
    ]  # fmt: skip
    host.failure("/p/%20x", 404)
    url = host.page("/", "Everything for the Vell", front, sections=4)
    web.seeds.append(Seed(url, url, {"score": "0.5", "collection": "shop"}))


def _product(host: HostBuilder, number: int, path: str, product: str, products: list[tuple[str, str]]) -> None:
    writer = host.web.writer(host.url(path) + "#links")
    others = [products[writer.number(0, len(products) - 1)] for _ in range(5)]
    links = [host.link(where, name, writer.number(0, 3)) for where, name in others]
    links += [
        host.link(f"/img/{number}.png", "Picture", filtered=True),
        host.link(f"/cart?add={number % 3}", "Into the basket", rel="nofollow"),
        Link(f"{path}#reviews", host.url(path), "Reviews"),
    ]
    host.page(path, product, links, sections=3, compressed=number % 3 == 0, canonical=host.url(path))
    if number % 9 == 2:
        # The same page under a session's own URL, as old shops have it.
        alias = f"{path};jsessionid=A{number:03}F"
        host.add(alias, host.web.pages[host.url(path)])
        host.page(f"/help/{number}", f"Help with {product}", [Link(alias, host.url(alias), product)])


def _redirects(host: HostBuilder, products: list[tuple[str, str]]) -> None:
    host.redirect("/sale", 301, "/sale/2026")
    host.redirect("/sale/2026", 302, "/sale/2026/winter", "2026/winter")
    host.redirect("/sale/2026/winter", 303, "/sale/now", "../../sale/now")
    host.page("/sale/now", "Winter sale", [host.link(path, name) for path, name in products[:5]])
    host.redirect("/loop/a", 302, "/loop/b", "b")
    host.redirect("/loop/b", 302, "/loop/a", "./a")
    host.redirect("/loop/self", 301, "/loop/self")
    host.redirect("/visit", 302, f"http://127.10.6.1:{host.web.port}/", f"//127.10.6.1:{host.web.port}/")
    host.redirect("/offer", 307, "/checkout/pay")
    host.redirect("/picture", 302, "/img/front.png", filtered=True)
    host.redirect("/help", 308, "/help/")
    host.page("/help/", "Help", [*(host.link(f"/help/{number}", f"Question {number}") for number in range(2, 45, 9)),
                                 host.link("/help", "Help, again")])  # fmt: skip
    host.add("/sale/teapot", Resource(418, "text/plain", b"short and stout\n", charset="utf-8"))
