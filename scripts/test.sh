#!/usr/bin/env bash
# Runs all tests: everything on the environment's Python, real Hadoop included, then the quick ones on every other
# suitable Python found (python3.10 … python3.14 in PATH, and pyenv's). Sets up what it needs: the Python environment,
# and, if they lack and apt-get can be used, Chromium for rendering pages and Java and Maven for Hadoop.
#
#   scripts/test.sh             everything
#   scripts/test.sh --fast      only the quick tests, on one Python; nothing of Hadoop
#
# Further arguments go to pytest, and then only the one run is made with them: scripts/test.sh tests/crawldb -k merge
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
# On the other Pythons: what waits for crawl delays most of its time shows nothing there that it did not on the first.
quick=(-m "not slow" tests/crawldb tests/jobs
  --ignore tests/jobs/fetching/test_politeness_of_engines.py --ignore tests/jobs/fetching/test_queues_of_engines.py)

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

# What scripts/hadoop-one-node.sh needs. Where it can't be had, the tests of Hadoop fail and say so.
java_and_maven() {
  local lacking=()
  command -v java >/dev/null || [ -n "${JAVA_HOME-}" ] || lacking+=(openjdk-17-jdk-headless)
  command -v mvn >/dev/null || lacking+=(maven)
  apt_install ${lacking[@]+"${lacking[@]}"}
}

# What renders pages. Where it can't be had, the tests of rendering fail and say so.
chromium() {
  local program
  for program in chromium chromium-browser google-chrome google-chrome-stable; do
    ! type -P "$program" >/dev/null || return 0
  done
  apt_install chromium
}

# Installs Debian packages, if there are any to install and we may.
apt_install() {
  if [ "$#" -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    printf 'test.sh: installing %s\n' "$*"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy "$@"; } >/dev/null ||
      printf 'test.sh: %s could not be installed\n' "$*" >&2
  fi
}

python=$(scripts/venv.sh test)
chromium
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ "${1-}" = --fast ]; then
  shift
  "$python" -m pytest -n 2 -m "not slow" "$@"
  echo "test.sh: passed on Python $version; left out: the slow tests, all those on a real Hadoop among them," \
    "and the other Pythons (scripts/test.sh runs all)"
  exit
fi
if [ $# -gt 0 ]; then
  case "$*" in
    *hadoop*)
      java_and_maven
      "$python" -m pytest "$@"
      ;;
    *) "$python" -m pytest -n 2 --ignore tests/hadoop "$@" ;;
  esac
  exit
fi
"$python" -m pytest -n 2 --ignore tests/hadoop
java_and_maven
echo "test.sh: the tests on a real Hadoop, one after the other"
"$python" -m pytest tests/hadoop

others=''
while IFS= read -r other; do
  name=$("$other" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
  echo "test.sh: the quick tests on Python $name"
  other_python=$(COBNUT_PYTHON=$other COBNUT_VENV=$PWD/.venv-tests/${name%.*} scripts/venv.sh test)
  COBNUT_HYPOTHESIS=few "$other_python" -m pytest -n 2 "${quick[@]}"
  others="$others $name"
done < <(other_pythons "$version")
echo "test.sh: everything passed on Python $version, the quick tests on:${others:- no other Python, for none was found}"
