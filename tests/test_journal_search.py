"""Finding runs again: by words, by status, model, date and cost; and what they cost together."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cellwright.chain import LONG
from cellwright.errors import UsageError
from cellwright.events import RunStarted
from cellwright.journal import Found, Journal
from journals import form_1, store, told

DAY = 86_400.0


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with Journal(tmp_path / "journal.sqlite") as opened:
        yield opened


def shown(found: Found) -> list[str]:
    return [found.snippet[start:end] for start, end in found.hits]


PENGUINS = told(
    "penguins",
    "How heavy are the penguins in data/penguins.csv?",
    thought="Group by species, mean of the body mass.",
    code="df = pd.read_csv('penguins.csv')\ndf.groupby('species').body_mass_g.mean()",
    answer="Gentoo penguins are the heaviest.",
)
WEATHER = told("weather", "Température à Zürich?", error="could not convert string to float: 'n/a'", answer="11 °C")


@pytest.mark.parametrize(
    ("text", "run_id", "place", "word"),
    [
        ("heavy", "penguins", "task", "heavy"),
        ("species mean", "penguins", "thought", "species"),
        ("read_csv", "penguins", "code", "read_csv"),
        ("pd.read", "penguins", "code", "pd.read"),
        ("gentoo", "penguins", "answer", "Gentoo"),
        ("convert string", "weather", "error", "convert"),
        ("penguin", "penguins", "task", "penguin"),
        ("temperature zurich", "weather", "task", "Température"),
        ('"body mass"', "penguins", "thought", "body mass"),
    ],
)
async def test_f5_words_are_found_where_they_stand(
    journal: Journal, text: str, run_id: str, place: str, word: str
) -> None:
    await store(journal, "penguins", PENGUINS)
    await store(journal, "weather", WEATHER)
    (found,) = await journal.search(text)
    assert (found.run.id, found.place) == (run_id, place)
    assert word in shown(found)


async def test_all_words_count_wherever_in_the_run_they_stand(journal: Journal) -> None:
    await store(journal, "penguins", PENGUINS)
    assert [found.run.id for found in await journal.search("heavy gentoo read_csv")] == ["penguins"]
    assert await journal.search("heavy walrus") == []
    assert await journal.search('"mass body"') == []


async def test_chinese_and_japanese_are_found_inside_a_sentence(journal: Journal) -> None:
    await store(journal, "zh", told("zh", "请计算企鹅的平均体重"))
    await store(journal, "ja", told("ja", "ペンギンの平均体重を計算して"))
    assert [found.run.id for found in await journal.search("企鹅")] == ["zh"]
    assert {found.run.id for found in await journal.search("平均")} == {"zh", "ja"}
    (found,) = await journal.search("企鹅 体重")
    assert shown(found) == ["企鹅", "体重"]


async def test_a_long_text_that_stands_in_a_blob_is_found(journal: Journal) -> None:
    await store(journal, "long", told("long", "word " * LONG + "needle in it"))
    (found,) = await journal.search("needle")
    assert found.snippet.endswith("needle in it") and len(found.snippet) < 200


async def test_what_still_waits_and_what_is_only_printed_is_not_in_the_index(journal: Journal) -> None:
    await store(journal, "a", told("a", "t", text="haystack\n"))
    assert await journal.search("haystack") == []


async def test_rows_of_an_older_journal_are_found_too(tmp_path: Path) -> None:
    path = tmp_path / "old" / "journal.sqlite"
    form_1(path, [("penguins", PENGUINS)])
    async with Journal(path) as journal:
        assert [found.run.id for found in await journal.search("gentoo")] == ["penguins"]


async def test_a_search_can_be_kept_to_some_runs(journal: Journal) -> None:
    for number in range(4):
        begun = RunStarted(run_id="", conversation="c", task="", origin="here" if number % 2 else "there", model="m")
        await store(journal, f"r{number}", told(f"r{number}", "same words", more=begun, time=1000.0 * number))
    found = await journal.search("words", origin="here")
    assert {one.run.id for one in found} == {"r1", "r3"}
    assert len(await journal.search("words", limit=3)) == 3
    assert [one.run.id for one in await journal.search("words", since=3000.0)] == ["r3"]


@example('"')
@example('a AND OR NOT NEAR( "x* ^y {code}: -z')
@example("task:x code:* (a OR b) \0 '; DROP TABLE events; --")
@example("\ud83d\x00")
@example("a" * 100_000)
@example(" ".join(map(str, range(2000))))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text() | st.text(alphabet="\"*^:(){}-+~ANDORNOTEaz \0企'\\"))
async def test_nothing_that_a_person_types_is_an_error(journal: Journal, text: str) -> None:
    if not await journal.runs():
        await store(journal, "penguins", PENGUINS)
    for found in await journal.search(text):
        assert all(0 <= start < end <= len(found.snippet) for start, end in found.hits)


# ---- which runs ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def three(journal: Journal) -> Journal:
    begun = RunStarted(run_id="", conversation="c", task="", model="some/small-model")
    await store(journal, "cheap", told("cheap", "t", more=begun, time=1 * DAY, cost=0.001))
    dear = replace(begun, model="Other/LARGE", origin="here")
    await store(journal, "dear", told("dear", "t", more=dear, time=2 * DAY, cost=0.5, end="failed"))
    hand = replace(begun, model="", author="person")
    await store(journal, "hand", told("hand", "t", more=hand, time=3 * DAY, cost=None))
    await store(journal, "open", told("open", "t", more=dear, time=4 * DAY, cost=0.7, end=None))
    return journal


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, "open hand dear cheap"),
        ({"status": "success"}, "hand cheap"),
        ({"status": "failed"}, "dear"),
        ({"status": "running"}, "open"),
        ({"status": "unfinished"}, ""),
        ({"model": "large"}, "open dear"),
        ({"author": "person"}, "hand"),
        ({"origin": "here"}, "open dear"),
        ({"since": 2 * DAY, "before": 4 * DAY}, "hand dear"),
        ({"min_cost": 0.1}, "open dear"),
        ({"min_cost": 0.6}, "open"),
        ({"limit": 2, "model": ""}, "open hand"),
        ({"status": "failed", "model": "small"}, ""),
    ],
)
async def test_f5_runs_are_chosen_by_what_is_known_of_them(
    three: Journal, chosen: dict[str, object], expected: str
) -> None:
    assert [run.id for run in await three.runs(**chosen)] == expected.split()  # type: ignore[arg-type]


async def test_an_unknown_status_is_said_with_the_nearest(three: Journal) -> None:
    with pytest.raises(UsageError, match="did you mean 'success'"):
        await three.runs(status="sucess")


async def test_what_was_spent_is_told_for_each_model_and_day(three: Journal) -> None:
    spent = [(one.model, one.runs, one.replies, one.tokens, one.cost) for one in await three.stats()]
    assert spent == [
        ("Other/LARGE", 1, 1, 120, 0.7),
        ("Other/LARGE", 1, 1, 120, 0.5),
        ("some/small-model", 1, 1, 120, 0.001),
    ]
    assert [one.day for one in await three.stats(since=3.5 * DAY)] == [
        time.strftime("%Y-%m-%d", time.localtime(4 * DAY))
    ]
