#!/usr/bin/env bash
# Runs all tests: everything on the environment's Python, then the quick ones on every other suitable Python found
# (python3.10 … python3.14 in PATH, and pyenv's). Sets up what it needs.
#
#   scripts/test.sh             everything
#   scripts/test.sh --fast      only the quick tests, on one Python
#
# Further arguments go to pytest, and then only the one run is made with them: scripts/test.sh tests/crawldb -k merge
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
quick=(-m "not slow" tests/crawldb tests/jobs)

# Prints the other interpreters: the newest patch release of each minor version but $1.
other_pythons() {
  local minor candidate best pyenv=${PYENV_ROOT:-$HOME/.pyenv}/versions
  for minor in 10 11 12 13 14; do
    [ "3.$minor" != "$1" ] || continue
    best=$(for candidate in "python3.$minor" "$pyenv/3.$minor".*/bin/python; do
      "$candidate" -I -c "
import sys, ensurepip, venv
if sys.version_info[:2] == (3, $minor) and sys.version_info.releaselevel == 'final':
    print('%03d' % sys.version_info.micro, sys.executable)" 2>/dev/null || true
    done | sort | tail -n 1)
    [ -z "$best" ] || printf '%s\n' "${best#* }"
  done
}

python=$(scripts/venv.sh test)
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ "${1-}" = --fast ]; then
  shift
  "$python" -m pytest -n 2 -m "not slow" "$@"
  echo "test.sh: passed on Python $version; left out: the slow tests, and the other Pythons (scripts/test.sh runs all)"
  exit
fi
"$python" -m pytest -n 2 "$@"
[ $# = 0 ] || exit 0

others=''
while IFS= read -r other; do
  name=$("$other" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
  echo "test.sh: the quick tests on Python $name"
  other_python=$(COBNUT_PYTHON=$other COBNUT_VENV=$PWD/.venv-tests/${name%.*} scripts/venv.sh test)
  "$other_python" -m pytest -n 2 "${quick[@]}"
  others="$others $name"
done < <(other_pythons "$version")
echo "test.sh: everything passed on Python $version, the quick tests on:${others:- no other Python, for none was found}"
