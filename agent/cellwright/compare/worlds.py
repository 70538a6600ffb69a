"""Functions that tasks may name: a shop, some towns, a firm, and what one reckons with.

Shop, towns and firm exist only here, so that no model knows an answer by heart: whoever answers must have asked. Both
kinds of agent get the same functions. None of them runs code; `calculate` takes numbers and signs only.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Any, TypeVar

from ..tools import Tool

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class _Item:
    euros: float
    kilograms: float
    stock: int


_ITEMS = {
    "lantern": _Item(24.5, 1.2, 14),
    "rope": _Item(12.75, 2.5, 40),
    "tent": _Item(189.0, 6.4, 3),
    "stove": _Item(54.9, 1.8, 9),
    "compass": _Item(17.2, 0.15, 22),
    "kettle": _Item(31.6, 0.9, 0),
    "hammock": _Item(68.4, 1.1, 7),
    "axe": _Item(42.3, 2.2, 11),
}
_ORDERS: Mapping[int, tuple[str, Mapping[str, int]]] = {
    4101: ("Orla", {"rope": 3, "compass": 2}),
    4102: ("Bastian", {"tent": 1, "stove": 1, "lantern": 2}),
    4103: ("Orla", {"hammock": 2}),
    4104: ("Mirja", {"axe": 1, "rope": 1}),
    4105: ("Bastian", {"kettle": 4}),
    4106: ("Orla", {"tent": 1, "kettle": 1}),
}
_TOWNS: Mapping[
    str, tuple[int, str, tuple[int, int]]
] = {  # inhabitants, region, kilometres east and north of a point on the map
    "Velden": (48_210, "Harrow", (0, 0)),
    "Skarn": (12_875, "Harrow", (30, 40)),
    "Ostrava Minor": (7_340, "Tiel", (96, 28)),
    "Quill": (91_004, "Tiel", (60, -80)),
    "Brack": (23_519, "Moor", (-45, 108)),
    "Lumen": (3_962, "Moor", (-20, -21)),
}
_RATES = {"EUR": 1.0, "USD": 1.1, "GBP": 0.85, "SEK": 11.5, "JPY": 160.0}
_UNITS: Mapping[str, tuple[str, float]] = {  # kind, and how many of the kind's first unit
    "m": ("length", 1.0), "km": ("length", 1000.0), "mile": ("length", 1609.344), "foot": ("length", 0.3048),
    "kg": ("mass", 1.0), "g": ("mass", 0.001), "pound": ("mass", 0.45359237), "ounce": ("mass", 0.028349523125),
    "second": ("time", 1.0), "minute": ("time", 60.0), "hour": ("time", 3600.0), "day": ("time", 86400.0),
}  # fmt: skip
_STAFF: Mapping[str, tuple[str, str | None, int, str]] = {  # department, manager, euros a month, since
    "Ada": ("research", None, 6200, "2015-03-02"),
    "Ben": ("research", "Ada", 4800, "2019-07-15"),
    "Chloe": ("research", "Ben", 4100, "2021-01-11"),
    "Dmitri": ("sales", "Ada", 5300, "2016-10-01"),
    "Esra": ("sales", "Dmitri", 3900, "2022-05-30"),
    "Farid": ("sales", "Dmitri", 4050, "2020-02-17"),
    "Gwen": ("workshop", "Ben", 3600, "2018-08-20"),
}


# ---- the shop --------------------------------------------------------------------------------------------------------


def list_items() -> list[str]:
    """Names of all items that the shop sells."""
    return list(_ITEMS)


def price_of(item: str) -> float:
    """Price of one piece of an item, in euros."""
    return _of(_ITEMS, item, "item").euros


def weight_of(item: str) -> float:
    """Weight of one piece of an item, in kilograms."""
    return _of(_ITEMS, item, "item").kilograms


def stock_of(item: str) -> int:
    """How many pieces of an item are in stock."""
    return _of(_ITEMS, item, "item").stock


def list_orders(customer: str) -> list[int]:
    """Numbers of all orders of a customer, by first name."""
    found = [number for number, (name, _) in _ORDERS.items() if name.casefold() == customer.strip().casefold()]
    if not found:
        raise ValueError(f"No customer {customer!r}; there are: {', '.join(sorted({n for n, _ in _ORDERS.values()}))}.")
    return found


def order_lines(number: int) -> dict[str, int]:
    """What was ordered: item and quantity, for the number of an order."""
    if number not in _ORDERS:
        raise ValueError(f"No order {number}.")
    return dict(_ORDERS[number][1])


# ---- the towns -------------------------------------------------------------------------------------------------------


def list_towns() -> list[str]:
    """Names of all towns."""
    return list(_TOWNS)


def population_of(town: str) -> int:
    """How many people live in a town."""
    return _of(_TOWNS, town, "town")[0]


def region_of(town: str) -> str:
    """The region that a town lies in."""
    return _of(_TOWNS, town, "town")[1]


def distance_between(start: str, end: str) -> float:
    """Distance between two towns, in kilometres."""
    (x, y), (to_x, to_y) = _of(_TOWNS, start, "town")[2], _of(_TOWNS, end, "town")[2]
    return round(math.dist((x, y), (to_x, to_y)), 1)


# ---- the firm --------------------------------------------------------------------------------------------------------


def list_staff(department: str) -> list[str]:
    """First names of all who work in a department: research, sales or workshop."""
    found = [name for name, record in _STAFF.items() if record[0] == department.strip().casefold()]
    if not found:
        raise ValueError(f"No department {department!r}; there are: research, sales, workshop.")
    return found


def salary_of(name: str) -> int:
    """What somebody earns, in euros a month."""
    return _of(_STAFF, name, "person")[2]


def manager_of(name: str) -> str:
    """First name of somebody's manager, or `nobody`."""
    return _of(_STAFF, name, "person")[1] or "nobody"


def hired_on(name: str) -> str:
    """The day on which somebody was hired, as YYYY-MM-DD."""
    return _of(_STAFF, name, "person")[3]


# ---- reckoning -------------------------------------------------------------------------------------------------------


def exchange_rate(source: str, target: str) -> float:
    """How many units of the target currency one unit of the source currency is worth; codes such as EUR or USD."""
    return _of(_RATES, target, "currency") / _of(_RATES, source, "currency")


def convert_unit(value: float, source: str, target: str) -> float:
    """Convert a value; units: m, km, mile, foot, kg, g, pound, ounce, second, minute, hour, day."""
    (kind, size), (to_kind, to_size) = _of(_UNITS, source, "unit"), _of(_UNITS, target, "unit")
    if kind != to_kind:
        raise ValueError(f"{source} is a unit of {kind}, {target} of {to_kind}.")
    return value * size / to_size


def days_between(start: str, end: str) -> int:
    """Days from one date to another, both as YYYY-MM-DD."""
    return (_day(end) - _day(start)).days


def add_days(day: str, days: int) -> str:
    """The date so many days after a date, as YYYY-MM-DD."""
    return (_day(day) + timedelta(days=days)).isoformat()


def weekday_of(day: str) -> str:
    """The day of the week of a date given as YYYY-MM-DD, in English."""
    return "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()[_day(day).weekday()]


def calculate(expression: str) -> float:
    """Value of an arithmetic expression of numbers, + - * / and brackets, e.g. "(2 + 3) * 4.5"."""
    try:
        return _value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"{expression[:80]!r} is no arithmetic expression of numbers.") from None
    except ZeroDivisionError:
        raise ValueError("Division by zero.") from None


# ---- all of them -----------------------------------------------------------------------------------------------------


FUNCTIONS: tuple[Callable[..., Any], ...] = (
    list_items, price_of, weight_of, stock_of, list_orders, order_lines,
    list_towns, population_of, region_of, distance_between,
    list_staff, salary_of, manager_of, hired_on,
    exchange_rate, convert_unit, days_between, add_days, weekday_of, calculate,
)  # fmt: skip


@cache
def toolbox() -> Mapping[str, Tool]:
    """All functions as tools, by name."""
    return {function.__name__: Tool(function) for function in FUNCTIONS}


_SIGNS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.USub: operator.neg, ast.UAdd: operator.pos,
}  # fmt: skip


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _SIGNS:
            return float(_SIGNS[type(sign)](_value(left), _value(right)))
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _SIGNS:
            return float(_SIGNS[type(sign)](_value(operand)))
    written = ast.unparse(node)[:80]
    raise ValueError(f"Only numbers, + - * / and brackets can be calculated, not {written}; write numbers for names.")


def _of(table: Mapping[str, Row], name: str, kind: str) -> Row:
    """The row of that name, whatever its case."""
    for known, row in table.items():
        if known.casefold() == name.strip().casefold():
            return row
    raise ValueError(f"No {kind} {name!r}; there are: {', '.join(table)}.")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is no date such as 2024-01-31.") from None
