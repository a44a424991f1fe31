"""How a name becomes a function, and what every family promises."""

from __future__ import annotations

import pytest

from crawldb.errors import UsageError
from crawldb.families import find
from crawldb.orders import ORDERS
from crawldb.schedules import SCHEDULES
from crawldb.scoring import SCORES
from crawldb.settings import GenerateSettings, ScheduleSettings, ScoreSettings

FAMILY = {"first": 1, "second": 2}


def test_a_member_by_its_name() -> None:
    assert find(FAMILY, "second", "some.setting") == 2


def test_something_from_outside() -> None:
    assert find({}, "json:loads", "some.setting")("[1]") == [1]
    assert find({}, "os:path.join", "some.setting") is __import__("os").path.join


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("frist", "some.setting = frist: unknown; did you mean first?"),
        ("zzz", "some.setting = zzz: unknown; there are: first, second, or module:function"),
        ("", "some.setting = : unknown; there are: first, second, or module:function"),
        ("no_such_module:f", "some.setting = no_such_module:f: No module named 'no_such_module'"),
        ("json:no_such", "some.setting = json:no_such: module 'json' has no attribute 'no_such'"),
        ("json:", "some.setting = json:: module 'json' has no attribute ''"),
        (":f", "some.setting = :f: Empty module name"),
        (".relative:f", "some.setting = .relative:f: "),
    ],
)
def test_a_name_that_is_none(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        find(FAMILY, name, "some.setting")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("family", "default"),
    [(SCHEDULES, ScheduleSettings().name), (SCORES, ScoreSettings().name), (ORDERS, GenerateSettings().order)],
)
def test_the_default_is_a_member(family: dict[str, object], default: str) -> None:
    assert default in family
