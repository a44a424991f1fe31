"""`python -m tests.fuzz [TARGET…]`: search for inputs that crash, hang or swell the targets, with atheris (libFuzzer).

$FUZZ_SECONDS (300) are shared out among the targets, one after the other, each in a process of its own. An input that
takes longer than 10 seconds, or for which the process has more than 2 GB, counts as found. What is learned is kept in
.fuzz/TARGET/corpus and used by the next call; what is found, in .fuzz/TARGET/. Copy it to tests/fuzz/found/TARGET/ when
it is mended: the ordinary tests then try it every time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS_PER_INPUT = 10
MEGABYTES = 2048


def main(names: list[str]) -> int:
    """Run these targets, or all; 1 if one of them found something."""
    from tests.fuzz.targets import TARGETS

    for name in names:
        if name not in TARGETS:
            print(f"fuzz: no target {name}; there are {', '.join(TARGETS)}", file=sys.stderr)
            return 2
    chosen = names or list(TARGETS)
    seconds = max(int(float(os.environ.get("FUZZ_SECONDS", "300")) / len(chosen)), 1)
    found = []
    for name in chosen:
        directory = ROOT / ".fuzz" / name
        longest = TARGETS[name].longest
        corpus, seeds = directory / "corpus", directory / "seeds"
        for path in (corpus, seeds):
            path.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(TARGETS[name].seeds()):
            (seeds / f"{number:04d}").write_bytes(seed[:longest])
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.target", name, str(corpus), str(seeds), f"-max_total_time={seconds}",
             f"-timeout={SECONDS_PER_INPUT}", f"-rss_limit_mb={MEGABYTES}", f"-max_len={longest}", "-verbosity=0",
             "-print_final_stats=1", f"-artifact_prefix={directory}/"],
            cwd=ROOT, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        statistics = dict(
            line.removeprefix("stat::").split(":", 1) for line in done.stderr.splitlines() if line.startswith("stat::")
        )
        runs = int(statistics.get("number_of_executed_units", "0"))
        said = f"fuzz  {name:<12} {runs:>10,} inputs in {seconds} s, at most {statistics.get('peak_rss_mb', '?').strip()} MB"
        if done.returncode:
            found.append(name)
            print(f"{said}: FOUND\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}", flush=True)
        else:
            print(said, flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
