"""The guard: data that the model made up is caught, honest code is let through."""

from __future__ import annotations

import pytest

from cellwright.guard import made_up_data
from cellwright.sandbox.base import AtHand, File, Variable

HAND = AtHand((Variable("df", "DataFrame", "3 rows"), Variable("n", "int", "5")), (File("sales.csv", 99),))


@pytest.mark.parametrize(
    ("code", "task"),
    [
        ("df = pd.DataFrame({'a': [11, 12, 13]})", "What is the mean of a in df?"),
        ("n = 17", "Double n"),
        ("sales = {'a': 101, 'b': 202, 'c': 303}\nprint(sales)", "Sum the sales in sales.csv"),
        ("import pandas as pd\nx = pd.DataFrame({'v': [10, 20, 30]})", "Sum v of sales.csv"),
    ],
)
def test_made_up_data_is_not_run(code: str, task: str) -> None:
    reason = made_up_data(code, task, HAND)
    assert reason
    assert reason.startswith("Not run: ")
    assert "\n" not in reason


@pytest.mark.parametrize(
    ("code", "task"),
    [
        ("print(df.a.mean())", "What is the mean of a in df?"),
        ("df = df.dropna()", "Drop missing rows of df"),
        ("df = pd.read_csv('sales.csv')", "Load sales.csv into df"),
        ("x = pd.read_csv('sales.csv')[['a', 'b', 'c']]", "Sum sales.csv"),
        ("colours = ['red', 'green', 'blue']", "Plot something"),
        ("n = 7", "Set n to 7"),
        ("total = 0\nfor v in df.a: total += v", "Sum a of df"),
        ("x = [4, 5, 6]", "Sum the list 4, 5, 6 and compare with sales.csv"),
        ("this is no python", "Sum df"),
        ("a\x00b", "Sum df"),
        ("", "Sum df"),
    ],
)
def test_honest_code_is_run(code: str, task: str) -> None:
    assert made_up_data(code, task, HAND) is None
