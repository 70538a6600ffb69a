"""Every attack of the table, at every level, as root and as an ordinary user; and without isolation: there it works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from isolation.conftest import USERS, Ask
from isolation.table import CONTROL, LEVELS, REACHED, ROWS, Level, Row, User, has_control

Hosts = Callable[[str, str], Ask]


def attack(hosts: Hosts, level: str, user: str, row: Row) -> dict[str, Any]:
    """What an attack reached, by its own word or by what its host noticed."""
    found = hosts(level, user)("attack", module=row.module, name=row.name)
    assert found["execution"]["kind"] == "Finished", f"the attack did not run to its end: {found['execution']}"
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("level", LEVELS)
def test_d2_isolated(hosts: Hosts, level: Level, user: User, row: Row) -> None:
    found = attack(hosts, level, user, row)
    reached = found["reached"] or bool(found["noticed"])
    if (level, row.name) in REACHED:
        assert reached, f"{level} blocks this now, take it out of the table: {REACHED[level, row.name]}"
    else:
        assert not reached, f"{row.gain} {found['evidence']}; the host noticed: {found['noticed']}"


@pytest.mark.parametrize(
    ("user", "row"),
    [pytest.param(user, row, id=f"{user}-{row.name}") for user in USERS for row in ROWS if has_control(row, user)],
)
def test_not_isolated(hosts: Hosts, user: User, row: Row) -> None:
    found = attack(hosts, "process", user, row)
    assert found["reached"] or found["noticed"], f"the attack does not even work without isolation: {found['evidence']}"


def test_the_table_names_rows_that_exist() -> None:
    names = {row.name for row in ROWS}
    assert set(CONTROL) <= names
    assert {name for _, name in REACHED} <= names
