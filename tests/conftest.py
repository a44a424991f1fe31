"""What all tests share: the checkout's place, its dependencies, and Hypothesis without a clock."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("cobnut", deadline=None)  # a machine that is shared or slow is no failure
hypothesis.settings.register_profile("few", deadline=None, max_examples=20)  # on the second Python and the third
hypothesis.settings.load_profile(os.environ.get("COBNUT_HYPOTHESIS", "cobnut"))


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the checkout under test."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def requirements(checkout: Path) -> dict[str, list[str]]:
    """setup.py's lists RUN and TEST, read and not run."""
    tree = ast.parse((checkout / "setup.py").read_text("utf-8"))
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    return {ast.unparse(node.targets[0]): ast.literal_eval(node.value) for node in assigned}
