"""`python -m jobs.demo [--port N]`: serve the demo site in the foreground and print its seeds."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from crawldb.errors import CobnutError
from jobs.demo.server import DemoServer
from jobs.demo.web import demo_site


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; seed lines go to stdout, everything else to stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.demo", description="Serve the demo site on addresses 127.x.y.z."
    )
    parser.add_argument("--port", type=int, default=0, help="the one port of all its hosts (default: a free one)")
    options = parser.parse_args(arguments)
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    try:
        with DemoServer(demo_site, options.port) as server:
            print("\n".join(server.site.seeds()), flush=True)
            print(f"{len(server.site.pages)} pages on {len(server.site.hosts)} hosts, port {server.site.port}; "
                  "Ctrl-C ends it", file=sys.stderr, flush=True)  # fmt: skip
            done.wait()
    except CobnutError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
