"""The only room that knows what a web archive looks like: WARC records to pages and back.

    content rows ──▶ rows: records ──▶ records: bytes ──▶ x.warc.gz   beside it x.warc.cdxj (cdxj)
    content rows ◀── pages: records ◀── reading: bytes ◀── x.warc.gz  of Cobnut or anybody else
                       └──▶ index: which archive holds what, for a crawl that is replayed

Knows nothing of mrjob and opens no socket. Which files are read and written, `jobs/warc.py` says.
"""
