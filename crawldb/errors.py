"""The errors of Cobnut, and what a user sees of each.

    CobnutError              one line on stderr, exit code 1: the work could not be done
    ├── UsageError           one line, exit code 2: an argument, a setting or a seed is wrong
    ├── ConflictError        another writer committed first; nothing was changed, run again
    ├── CorruptionError      a file is missing or does not say what the log says it says
    └── Interrupted          Ctrl-C or SIGTERM: what was complete is committed; exit code 128 + signal

A page's failure (time-out, 404, denied by robots.txt) is data in the crawldb and never one of these.
"""

from __future__ import annotations


class CobnutError(Exception):
    """Something could not be done; the message is one line for the user and says what to do."""

    exit_code = 1


class UsageError(CobnutError):
    """The user's mistake: what is wrong, where (file, line, key), and what to do instead."""

    exit_code = 2


class ConflictError(CobnutError):
    """Another writer took the log's next number first. Nothing was changed."""


class CorruptionError(CobnutError):
    """What is on disk contradicts the log."""


class Interrupted(CobnutError):
    """The user (SIGINT) or the system (SIGTERM) asked to stop."""

    def __init__(self, signal_number: int) -> None:
        super().__init__("interrupted: what was complete is kept; the same command goes on from here")
        self.exit_code = 128 + signal_number
