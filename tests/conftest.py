"""What all tests share: the checkout's place, and Hypothesis without a clock."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

# A shared or slow machine is no failure; `HYPOTHESIS_PROFILE`-like knobs would make runs differ.
hypothesis.settings.register_profile("cobnut", deadline=None)
hypothesis.settings.load_profile("cobnut")

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the checkout under test."""
    return CHECKOUT
