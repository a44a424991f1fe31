"""`crawl.sh --demo`: serve the small web from this machine, crawl it in three rounds, show what came of it."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from crawldb import dump
from jobs import crawl
from jobs.command import execute, guarded, say
from jobs.demo.server import DemoServer

ROUNDS = 3
_SETTINGS = (
    "http.agent_name=cobnut-demo",
    "fetch.allow_private_addresses=true",  # loopback ones
    "fetch.delay=0",  # the site is ours; its robots.txt files ask for more where the demo is to show it
)


def demo(options: argparse.Namespace) -> int:
    """Crawl the demo site into CRAWL_DIR, by default a new `demo-crawl` in the current directory."""
    return guarded("demo", lambda: _demo(options))


def _demo(options: argparse.Namespace) -> int:
    options.crawl_dir = options.crawl_dir or _new_directory()
    options.overrides = [*_SETTINGS, *options.overrides]
    with DemoServer() as server:
        site = server.site
        say(
            f"demo      serving {len(site.pages):,} pages on {len(site.hosts)} hosts, port {site.port}, of this machine only"
        )
        seeds = Path(options.crawl_dir) / "seeds.txt"
        seeds.parent.mkdir(parents=True, exist_ok=True)
        seeds.write_text("\n".join(site.seeds()) + "\n")
        code = execute("crawl", options, lambda run: crawl.run(run, [str(seeds)], ROUNDS))
    if code:
        return code
    say("")
    dump.main([options.crawl_dir, "--stats"])
    scripts = os.path.relpath(Path(__file__).parents[2] / "scripts")  # of a checkout, as the caller would type it
    dump_py, crawl_sh = shlex.quote(f"{scripts}/dump.py"), shlex.quote(f"{scripts}/crawl.sh")
    crawl_dir = shlex.quote(options.crawl_dir)
    home = site.seeds()[0].split("\t")[0]
    say(
        f"""
Try next:
  {dump_py} {crawl_dir} --url {home}
  {dump_py} {crawl_dir} --status gone --columns url,http_status,reason --format table
  {dump_py} {crawl_dir} --where "retries > 0" --format table
  {dump_py} {crawl_dir} | head -3
and crawl something real: put your name into conf/crawl-site.toml, URLs into seeds.txt, and
  {crawl_sh} -s seeds.txt my-crawl 3"""
    )
    return 0


def _new_directory() -> str:
    number = 1
    while Path(name := "demo-crawl" if number == 1 else f"demo-crawl-{number}").exists():
        number += 1
    return name
