#!/usr/bin/env bash
# Makes the checkout's Python environment if it is not there yet, and prints the path of its interpreter.
#
#   scripts/venv.sh [EXTRA]     EXTRA: an extra of setup.py to install too, such as test
#
# COBNUT_PYTHON   the Python to make it with (otherwise the newest suitable one in PATH)
# COBNUT_VENV     where it is (otherwise .venv in the checkout)
#
# It is ready when a stamp, written last, says for which setup.py, place and Python it was made; then this costs
# nothing but that look. A set-up that was broken off leaves a mark and is done again from the start. Two at once:
# the second waits for the first. Needs bash 3.2 or later; the lock is Python's, for macOS has no flock command.
set -euo pipefail

root=$(CDPATH='' cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
extra=${1-}
venv=${COBNUT_VENV:-$root/.venv}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
stamp=$venv/cobnut-ready${extra:+-$extra}
unfinished=$venv/cobnut-unfinished
lock=$venv.lock
log=$venv.log

case $extra in
  '' | browser | fuzz | hdfs-native | kerberos | test | text) ;;
  *)
    printf 'cobnut: %s: no such extra; there are browser, fuzz, hdfs-native, kerberos, test and text\n' "$extra" >&2
    exit 2
    ;;
esac

say() { printf 'cobnut: %s\n' "$*" >&2; }

die() {
  say "$@"
  exit 1
}

# The version of the interpreter $1, such as 3.11.7; fails if it does not run or is no Python 3.
version_of() { "$1" -I -S -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null; }

# What must be the same for the environment to be used as it is.
describe() { printf '%s\n' "$(cksum <"$root/setup.py")" "$root" "$venv" "$(version_of "$venv/bin/python")"; }

is_ready() {
  [ -f "$stamp" ] && [ ! -e "$unfinished" ] && [ "$(cat "$stamp")" = "$(describe)" ] && is_wanted
}

# Whether the environment was made where it stands now: environments do not move.
is_at_home() { [ ! -f "$venv/cobnut-ready" ] || [ "$(sed -n 3p "$venv/cobnut-ready")" = "$venv" ]; }

# Whether what is there can be brought up to date; if not, it is made anew.
is_repairable() { [ ! -e "$unfinished" ] && probe "$venv/bin/python" && is_wanted && is_at_home; }

# Whether the environment's Python is the one that was asked for, if one was.
is_wanted() {
  [ -z "${COBNUT_PYTHON-}" ] || [ "$(version_of "$COBNUT_PYTHON")" = "$(version_of "$venv/bin/python")" ]
}

# Exit code 0: usable, 3: too old, 4: without venv or ensurepip (Debian packs them apart), others: does not run.
probe() {
  "$1" -I -c '
import sys
if sys.version_info < (3, 10):
    sys.exit(3)
try:
    import ensurepip, venv
except ImportError:
    sys.exit(4)' >/dev/null 2>&1
}

# Sets python to the newest suitable interpreter.
find_python() {
  local candidate code incomplete=''
  for candidate in ${COBNUT_PYTHON:+"$COBNUT_PYTHON"} python3.14 python3.13 python3.12 python3.11 python3.10 python3 python; do
    code=0
    probe "$candidate" || code=$?
    if [ "$code" = 0 ]; then
      python=$candidate
      return
    fi
    if [ "$code" = 4 ] && [ -z "$incomplete" ]; then
      incomplete=$candidate
    fi
    if [ -n "${COBNUT_PYTHON-}" ] && [ "$code" != 4 ]; then
      die "COBNUT_PYTHON=$COBNUT_PYTHON is no Python 3.10 or newer that runs"
    fi
    [ -z "${COBNUT_PYTHON-}" ] || break
  done
  [ -z "$incomplete" ] || die "$incomplete lacks the venv module: install it (Debian, Ubuntu: apt install" \
    "python$("$incomplete" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv), or name another Python with COBNUT_PYTHON"
  die "no Python 3.10 or newer in PATH: install one (Debian, Ubuntu: apt install python3-venv;" \
    "macOS: brew install python), or name one with COBNUT_PYTHON"
}

# Holds the lock on file descriptor 9 until this process and those it started have ended.
take_lock() {
  exec 9>>"$lock"
  "$python" -I -S -c '
import fcntl, sys
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("cobnut: another call is setting up the environment; waiting for it", file=sys.stderr)
    fcntl.flock(9, fcntl.LOCK_EX)' || die "cannot lock $lock: put the environment on another file system with COBNUT_VENV"
}

must_be_writable() {
  mkdir -p -- "$1" 2>/dev/null || true
  if ! { [ -d "$1" ] && [ -w "$1" ]; }; then
    die "$1 is not writable, and the environment has to be made first: make it writable for one call${2-}"
  fi
}

# Runs a step of the set-up with its output in the log; says in one line why it failed.
step() {
  "$@" >>"$log" 2>&1 </dev/null && return
  if grep -qE 'NewConnectionError|ConnectTimeout|NameResolutionError|ProxyError|Network is unreachable|Connection refused' "$log"; then
    die "setting up $venv failed: the package index cannot be reached, and the first use needs it (details: $log)"
  fi
  die "setting up $venv failed: $(grep -iE '^ *(error|.*Error:)' "$log" | tail -n 1 || tail -n 1 "$log") (details: $log)"
}

set_up() {
  if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ ! -e "$unfinished" ] && [ -n "$(ls -A "$venv")" ]; then
    die "$venv exists and is no Python environment: move it away, or name another place with COBNUT_VENV"
  fi
  : >"$log"
  if ! is_repairable; then
    say "making $venv with Python $(version_of "$python"): once, it needs the network and about half a minute"
    rm -rf -- "$venv"
    mkdir -p -- "$venv"
    : >"$unfinished"
    step "$python" -I -m venv "$venv"
  else
    say "updating $venv, for setup.py has changed"
    : >"$unfinished"
  fi
  cd -- "$root"
  # The user's own pip settings may say --user, which an environment refuses.
  PIP_USER=0 step "$venv/bin/python" -I -m pip install --quiet --disable-pip-version-check --no-input --retries 2 \
    --editable ".${extra:+[$extra]}"
  describe >"$stamp.new"
  mv -f -- "$stamp.new" "$stamp"
  # What has the extra has the rest.
  [ -z "$extra" ] || cp -f -- "$stamp" "$venv/cobnut-ready"
  rm -f -- "$unfinished" "$log"
}

if ! is_ready; then
  must_be_writable "$(dirname -- "$venv")" ', or name another place with COBNUT_VENV'
  must_be_writable "$root"
  python=$venv/bin/python
  is_repairable || find_python
  take_lock
  is_ready || set_up
fi
printf '%s\n' "$venv/bin/python"
