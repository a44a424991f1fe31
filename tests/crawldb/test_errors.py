"""The errors: exit codes, and the tree drawn in the module's docstring."""

from __future__ import annotations

import inspect
import re
import signal

import pytest

from crawldb import errors
from crawldb.errors import CobnutError, ConflictError, CorruptionError, Interrupted, UsageError


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [(CobnutError("x"), 1), (ConflictError("x"), 1), (CorruptionError("x"), 1), (UsageError("x"), 2),
     (Interrupted(signal.SIGINT), 130), (Interrupted(signal.SIGTERM), 143)],
)  # fmt: skip
def test_exit_codes(error: CobnutError, exit_code: int) -> None:
    assert error.exit_code == exit_code


def test_interrupted_says_how_to_go_on() -> None:
    assert "the same command goes on" in str(Interrupted(signal.SIGINT))


def test_the_drawn_tree_is_the_real_one() -> None:
    """Every error of the module, and no other, stands in the docstring below CobnutError."""
    classes = {
        name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    drawn = re.findall(r"^ *(?:[├└]── )?([A-Z]\w+)  ", errors.__doc__ or "", re.MULTILINE)
    assert drawn[0] == "CobnutError"
    assert set(drawn) == classes
    assert all(issubclass(getattr(errors, name), CobnutError) for name in classes)
