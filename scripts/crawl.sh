#!/usr/bin/env bash
# Crawls; on first use it sets up .venv by itself (see venv.sh). `scripts/crawl.sh --help` tells the rest.
set -euo pipefail

script=${BASH_SOURCE[0]}
while [ -L "$script" ]; do
  target=$(readlink "$script")
  case $target in /*) script=$target ;; *) script=$(dirname -- "$script")/$target ;; esac
done
root=$(CDPATH='' cd -P -- "$(dirname -- "$script")/.." && pwd)

python=$(bash "$root/scripts/venv.sh")
export COBNUT_CONF_DIR="${COBNUT_CONF_DIR:-$root/conf}"
# `python -m jobs.crawl`, but without the current directory in the search path: code in it is not ours.
exec "$python" -c '
import runpy, sys
sys.path[:] = [folder for folder in sys.path if folder]
runpy.run_module("jobs.crawl", run_name="__main__", alter_sys=True)' "$@"
