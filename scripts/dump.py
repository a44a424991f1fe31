#!/usr/bin/env python3
"""Looks into a crawldb: `scripts/dump.py --help` tells more. Runs in the environment that crawl.sh made.

Thin on purpose: what is printed is `crawldb/dump.py`'s business. This file has to start on an old Python too
(3.6 or newer), for it hands over to the right one.
"""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
VENV = os.path.abspath(os.environ.get("COBNUT_VENV") or os.path.join(ROOT, ".venv"))


def hand_over(reason: str) -> None:
    """Start again in the environment; if this is it, or there is none, say what to do."""
    python = os.path.join(VENV, "bin", "python")
    if os.path.realpath(sys.prefix) != os.path.realpath(VENV) and os.path.exists(python):
        os.execv(python, [python, os.path.abspath(__file__), *sys.argv[1:]])
    sys.exit(
        f"dump.py: {reason}: run {os.path.join(ROOT, 'scripts', 'crawl.sh')} --help once, it sets up what is needed"
    )


if sys.version_info < (3, 10):  # noqa: UP036  (see above)
    hand_over(f"Python {sys.version_info[0]}.{sys.version_info[1]} is too old")
sys.path[0] = ROOT  # instead of scripts/
try:
    from crawldb.dump import main
except ImportError as error:
    hand_over(str(error))

if __name__ == "__main__":
    sys.exit(main())
