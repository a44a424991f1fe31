"""How a name in the settings becomes a function: a family's own dict, or `module:function` from outside."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any, TypeVar

from crawldb.errors import UsageError

Member = TypeVar("Member")


def find(family: Mapping[str, Member], name: str, setting: str) -> Member:
    """The member of `family` called `name`, or the object that `module:attribute` names.

    `setting` is the dotted name of the setting that holds `name`, for the message of the UsageError
    that an unknown name raises.
    """
    if name in family:
        return family[name]
    module_name, colon, attribute = name.partition(":")
    if not colon:
        near = difflib.get_close_matches(name, family, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(family)}, or module:function"
        raise UsageError(f"{setting} = {name}: unknown; {hint}")
    try:
        member: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            member = getattr(member, part)
    except (ImportError, AttributeError, ValueError, TypeError) as error:  # the latter two: ":name", ".module:name"
        raise UsageError(f"{setting} = {name}: {error}") from None
    found: Member = member
    return found
