"""A small web to crawl, served from this machine, that knows its own truth.

    site.py      what a host, a resource and a link are
    web.py       the demo site, put together from encyclopedia, news, shop, docs, blog, museum and archive
    server.py    serves a site on its addresses 127.x.y.z
    truth.py     what a crawl of it must leave in the crawldb

`python -m jobs.demo` serves it until it is interrupted.
"""
