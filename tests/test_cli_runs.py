"""`cellwright runs`, `verify`, `resume` as a person uses them: real processes, their output, their exit status."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cellwright import CodeAgent, ScriptedModel
from cellwright.choosing import Moment, Period
from cellwright.events import ActionProposed, ReplyReceived, RunStarted
from cellwright.facts import Usage
from cellwright.identity import origin_of
from cellwright.journal import Journal
from cellwright.notebook.export import write
from cellwright.notebook.inspection import inspect
from cellwright.notebook.metadata import read_file
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation
from journals import numbered, store, told
from test_cli import assert_one_line, cellwright, environment, in_terminal

DAY = 86400.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    return made


def journal_of(folder: Path) -> Journal:
    return Journal(environment(folder)["CELLWRIGHT_JOURNAL"])


@pytest.fixture
async def filled(folder: Path) -> Path:
    """A folder whose journal holds runs of several days, models, folders and outcomes."""
    now = time.time()
    here = RunStarted(run_id="", conversation="c-here", task="", model="near/by", origin=origin_of(folder))
    by_hand = RunStarted(run_id="", conversation="c-hand", task="", author="person")
    async with journal_of(folder) as journal:
        for run_id, listed in {
            "aaa1": told("aaa1", "Count the penguins.", time=now - 100 * DAY, cost=0.5),
            "bbb2": told("bbb2", "Plot the rain.", time=now - 3 * DAY, end="failed", error="no such column"),
            "ccc3": told("ccc3", "Count the walruses.", time=now - DAY, more=here, code="herd.size()", cost=None),
            "ddd4": told("ddd4", "x = 1", time=now - 0.5 * DAY, more=by_hand),
            "eee5": told("eee5", "Cut off.", time=now - 0.1 * DAY, end=None),
        }.items():
            await store(journal, run_id, listed)
    return folder


def ids(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert (done.returncode, done.stderr) == (0, ""), done
    return [line.split()[0] for line in done.stdout.splitlines()][1:]


# ---- the list --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", "eee5 ddd4 ccc3 bbb2 aaa1"),
        ("--limit 2", "eee5 ddd4"),
        ("--status failed", "bbb2"),
        ("--status unfinished", "eee5"),
        ("--model NEAR", "ccc3"),
        ("--since 2d", "eee5 ddd4 ccc3"),
        ("--before 2d", "bbb2 aaa1"),
        ("--since 30d --before 2d", "bbb2"),
        ("--min-cost 0.1", "aaa1"),
        ("--author person", "ddd4"),
        ("--folder", "ccc3"),
        ("--all --author agent", "eee5 ccc3 bbb2 aaa1"),
    ],
)
def test_f5_runs_are_listed_by_what_is_known_of_them(filled: Path, options: str, expected: str) -> None:
    assert ids(cellwright("runs", *options.split(), folder=filled)) == expected.split()


def test_f5_a_list_with_nothing_in_it_says_so(filled: Path) -> None:
    done = cellwright("runs", "--model", "nobody", folder=filled)
    assert (done.returncode, done.stdout) == (0, "No run is like that. `cellwright runs` lists all.\n")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ("runs --status sucess", ["'sucess'", "'success'"]),
        ("runs serch penguins", ["'serch'", "'search'"]),
        ("runs --stats", ["--stats", "--status"]),
        ("runs --since 3m", ["'3m'", "7d"]),
        ("runs --since 2026-13-01", ["'2026-13-01'"]),
        ("runs --limit 1 search x", ["behind the word", "runs search"]),
        ("runs search", ["WORDS"]),
        ("runs prune", ["--older-than"]),
        ("runs prune --older-than soon", ["'soon'", "90d"]),
        ("runs prune --older-than 30d", ["--yes"]),
        ("runs diff aaa1", ["B"]),
        ("export", ["RUN"]),
        ("export latest a.html --sign", ["--sign"]),
        ("verify", ["NOTEBOOK"]),
        ("verify nothing.ipynb", ["no file nothing.ipynb"]),
        ("resume latest --tool x", ["--tool", "--tools"]),
    ],
)
def test_f5_a_mistake_is_one_line_with_status_2(filled: Path, arguments: str, parts: list[str]) -> None:
    done = cellwright(*arguments.split(), folder=filled, CELLWRIGHT_MODEL="ollama/any")
    if "30d" in arguments:  # what it would remove was said before it asked
        assert "1 run of before" in done.stdout
        done = subprocess.CompletedProcess(done.args, done.returncode, "", done.stderr)
    assert_one_line(done, 2, *parts)


@pytest.mark.parametrize("arguments", ["runs diff aaa1 zzz9", "show zzz9", "export zzz9"])
def test_f5_an_unknown_run_is_one_line(filled: Path, arguments: str) -> None:
    assert_one_line(cellwright(*arguments.split(), folder=filled), 1, "'zzz9'", "cellwright runs")


def test_f5_periods_and_moments() -> None:
    assert [Period().convert(text, None, None) for text in ("12h", "90d", "2w", "1.5d")] == [
        43200.0, 90 * DAY, 14 * DAY, 1.5 * DAY
    ]  # fmt: skip
    assert abs(Moment().convert("7d", None, None) - (time.time() - 7 * DAY)) < 5
    noon = time.mktime((2026, 11, 21, 12, 0, 0, 0, 0, -1))
    assert Moment().convert("2026-11-21 12:00", None, None) == noon
    today = Moment().convert("today", None, None)
    assert today <= time.time() < today + 1.1 * DAY
    assert Moment().convert("yesterday", None, None) < today


# ---- search, stats ---------------------------------------------------------------------------------------------------


def test_f5_search_shows_where_the_words_stand(filled: Path) -> None:
    done = cellwright("runs", "search", "count", folder=filled)
    assert sorted(ids(done)) == ["aaa1", "ccc3"]
    (line,) = cellwright("runs", "search", "herd", "walrus", folder=filled).stdout.splitlines()[1:]
    assert re.search(r"ccc3 .*Count the walruses\.", line)
    assert ids(cellwright("runs", "search", "count", "--before", "30d", folder=filled)) == ["aaa1"]
    assert ids(cellwright("runs", "search", "column", folder=filled)) == ["bbb2"]
    assert "step 1, error" in cellwright("runs", "search", "such column", folder=filled).stdout
    nothing = cellwright("runs", "search", "penguins walruses", folder=filled)
    assert (nothing.returncode, nothing.stdout) == (0, "No run holds all of these words.\n")


def test_f5_stats_add_up_models_and_days(filled: Path) -> None:
    done = cellwright("runs", "stats", folder=filled)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["day", "model", "runs", "replies", "tokens", "cost"]
    assert any(re.search(r"near/by +1 +1 +120 +price unknown", line) for line in lines)
    assert re.search(r"^all +4 +4 +480 +more than \$0.5020$", lines[-1]), lines[-1]
    recent = cellwright("runs", "stats", "--since", "30d", folder=filled).stdout
    assert "0.5000" not in recent
    assert "No model answered" in cellwright("runs", "stats", "--before", "200d", folder=filled).stdout


# ---- diff ------------------------------------------------------------------------------------------------------------


async def test_f5_two_runs_are_compared_step_by_step(folder: Path) -> None:
    one = told("one1", "Count.", thought="Count them.", code="n = 1\nprint(n)", answer="1", cost=0.001)
    two = told("two2", "Count.", thought="Count all.", code="n = 2\nprint(n)", answer="2", cost=0.25, error="too many")
    same = told("six6", "Count.", thought="Count them.", code="n = 1\nprint(n)", answer="1")
    other = told("odd7", "Else.", thought="Count them.", code="n = 1\nprint(n)", answer="1")
    async with journal_of(folder) as journal:
        for run_id, listed in {"one1": one, "two2": two, "six6": same, "odd7": other}.items():
            await store(journal, run_id, listed)
    shown = cellwright("runs", "diff", "one", "two", folder=folder).stdout
    places = [
        shown.index(part)
        for part in ("task", "answer", "Step 1", "Count them.", "ValueError: too many", "--- one1", "-n = 1", "+n = 2")
    ]
    assert places == sorted(places)
    assert re.search(r"cost +\$0.0010 +\$0.2500", shown)
    assert re.search(r"answer +1 +2 *\n", shown)
    alike = cellwright("runs", "diff", "one1", "six6", folder=folder).stdout
    assert "the same thought, code and outcome" in alike and "different tasks" not in alike
    assert "different tasks" in cellwright("runs", "diff", "one1", "odd7", folder=folder).stdout


# ---- prune, repair ---------------------------------------------------------------------------------------------------


def test_f5_prune_says_what_goes_and_removes_no_more(filled: Path) -> None:
    done = cellwright("runs", "prune", "--older-than", "30d", "--yes", folder=filled)
    assert re.search(r"^1 run of before .*started between", done.stdout)
    assert "Removed 1 run, 8 events" in done.stdout
    assert ids(cellwright("runs", folder=filled)) == ["eee5", "ddd4", "ccc3", "bbb2"]
    again = cellwright("runs", "prune", "--older-than", "30d", folder=filled)
    assert again.stdout.startswith("No run is older than ")


def test_f5_prune_asks_and_a_no_is_a_no(filled: Path) -> None:
    shown = in_terminal("runs", "prune", "--older-than", "30d", folder=filled, typed="n\n")
    assert "Remove them for ever?" in shown and "Nothing was removed." in shown
    assert "aaa1" in ids(cellwright("runs", folder=filled))
    assert "Removed 1 run" in in_terminal("runs", "prune", "--older-than", "30d", folder=filled, typed="y\n")


def test_f5_repair_saves_what_can_be_read(filled: Path) -> None:
    path = Path(environment(filled)["CELLWRIGHT_JOURNAL"])
    whole = cellwright("runs", "repair", folder=filled)
    assert (whole.returncode, whole.stdout) == (0, f"{path} is whole: 5 runs, 39 events.\n")
    data = bytearray(path.read_bytes())
    data[:100] = bytes(100)  # the header is gone
    path.write_bytes(data)
    broken = cellwright("runs", folder=filled)
    assert_one_line(broken, 1, "damaged", "cellwright runs repair")
    saved = cellwright("runs", "repair", folder=filled)
    assert (saved.returncode, saved.stderr) == (0, "")
    assert "Saved 5 runs, 39 events" in saved.stdout and "damaged file is kept" in saved.stdout
    assert len(ids(cellwright("runs", folder=filled))) == 5
    assert_one_line(cellwright("runs", "repair", folder=filled, CELLWRIGHT_JOURNAL="off"), 2, "off")


# ---- verify ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("verify") / "work"
    folder.mkdir()
    yield folder


async def audited(folder: Path, name: str, *codes: str) -> Path:
    """An audit notebook of a run of these actions, of which the last one answers."""
    replies = [f"Go.\n```python\n{code}\n```" for code in codes]
    sandbox = ChildKernel(isolation=Isolation(level="process"))
    async with CodeAgent(ScriptedModel(*replies), sandbox=sandbox, journal=journal_of(folder)) as agent:
        await agent.run("Work.")
        journal = agent.open_journal()
        assert journal
        write(await journal.records(agent.conversation), folder / name)
    return folder / name


def changed(path: Path, old: str, new: str) -> Path:
    """A copy in which a text of a code cell is another."""
    book = json.loads(path.read_text())
    cell = next(cell for cell in book["cells"] if cell["cell_type"] == "code" and old in "".join(cell["source"]))
    cell["source"] = "".join(cell["source"]).replace(old, new)
    copy = path.with_name(f"changed-{path.name}")
    copy.write_text(json.dumps(book))
    return copy


async def test_f3_verify_says_by_its_status_what_it_found(module_folder: Path) -> None:
    folder = module_folder
    path = await audited(
        folder, "a.ipynb", "n = 6\nprint('six', n)", "import time\nprint(time.time())\nfinal_answer(n)"
    )
    done = cellwright("verify", "a.ipynb", folder=folder)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert re.search(r"step 1 +same", done.stdout) and re.search(r"step 2 +differs without harm", done.stdout)
    assert "signed   by nobody" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("As it was written; 2 steps ran again")
    found = cellwright("verify", changed(path, "n = 6", "n = 7").name, "--no-run", folder=folder)
    assert found.returncode == 4
    assert "step 1, action" in found.stdout and "code was changed" in found.stdout
    as_json = json.loads(cellwright("verify", "changed-a.ipynb", "--no-run", "--json", folder=folder).stdout)
    assert as_json["verdict"] == "changed" and "step 1" in as_json["changes"][0]["where"]


async def test_f3_verify_an_output_that_comes_out_otherwise_is_status_3(module_folder: Path) -> None:
    await audited(module_folder, "r.ipynb", "import random\nprint(random.random())\nfinal_answer(1)")
    done = cellwright("verify", "r.ipynb", folder=module_folder)
    assert done.returncode == 3, done
    assert re.search(r"step 1 +differs ", done.stdout)
    quiet = cellwright("verify", "r.ipynb", "--no-run", folder=module_folder)
    assert (quiet.returncode, "not run again" in quiet.stdout) == (0, True)


async def test_f3_verify_stamps_a_copy_that_verifies_again(module_folder: Path) -> None:
    path = await audited(module_folder, "s.ipynb", "final_answer(2)")
    before = path.read_bytes()
    done = cellwright("verify", "s.ipynb", "--stamp", "stamped.ipynb", folder=module_folder)
    assert done.returncode == 0 and "Stamped copy: stamped.ipynb" in done.stdout
    assert path.read_bytes() == before
    stamped = read_file(module_folder / "stamped.ipynb")
    assert "As it was written" in stamped["cells"][0]["source"]
    assert stamped["cells"][0]["metadata"]["cellwright"]["verdict"] == "same"
    assert inspect(stamped).changes == []
    again = cellwright("verify", "stamped.ipynb", "--stamp", "twice.ipynb", "--no-run", folder=module_folder)
    assert again.returncode == 0 and "stamp of an earlier check" in again.stdout
    assert len(read_file(module_folder / "twice.ipynb")["cells"]) == len(stamped["cells"])
    assert_one_line(cellwright("verify", "s.ipynb", "--stamp", "s.ipynb", folder=module_folder), 1, "copy")
    stamped["cells"][0].update(cell_type="code", outputs=[], execution_count=None)
    assert "it was added" in str(inspect(stamped).changes[0])


async def test_f3_verify_asks_for_the_key_that_signed(module_folder: Path) -> None:
    await audited(module_folder, "k.ipynb", "final_answer(3)")
    data = str(module_folder.parent / "keys")
    made = cellwright("export", "--make-key", folder=module_folder, JUPYTER_DATA_DIR=data)
    assert made.returncode == 0, made
    fingerprint = made.stdout.split()[-1]
    assert_one_line(cellwright("export", "--make-key", folder=module_folder, JUPYTER_DATA_DIR=data), 1, "already")
    assert (
        cellwright("export", "latest", "signed.ipynb", "--sign", folder=module_folder, JUPYTER_DATA_DIR=data).returncode
        == 0
    )
    asked = ("verify", "signed.ipynb", "--no-run", "--key")
    assert cellwright(*asked, fingerprint, folder=module_folder).returncode == 0
    other = cellwright(*asked, "SHA256:other", folder=module_folder)
    assert other.returncode == 4 and fingerprint in other.stdout
    (module_folder / "signed.ipynb").write_text(
        (module_folder / "signed.ipynb").read_text().replace('"Go.', '"Come.').replace("Go.\\n", "Come.\\n")
    )
    forged = cellwright(*asked, fingerprint, folder=module_folder)
    assert forged.returncode == 4 and "not over what was changed" in forged.stdout, forged
    unsigned = cellwright("verify", "k.ipynb", "--no-run", "--key", fingerprint, folder=module_folder)
    assert unsigned.returncode == 4 and "none that fits" in unsigned.stdout


async def test_f3_what_is_missing_is_named_and_not_run(module_folder: Path) -> None:
    code = f"x = 1  # {'long ' * 1000}\nfinal_answer(x)"
    path = changed(await audited(module_folder, "long.ipynb", code), "x = 1", "x = 2")
    done = cellwright("verify", path.name, folder=module_folder)
    assert done.returncode == 4, done
    assert "a long text of it is missing" in done.stdout and "not run again" in done.stdout
    assert not re.search(r"step 1 +(same|differs)", done.stdout)


async def test_f1_an_export_holds_the_runs_of_agents_that_were_called(folder: Path) -> None:
    def sandbox() -> ChildKernel:
        return ChildKernel(isolation=Isolation(level="process"))

    helper = CodeAgent(
        ScriptedModel(*(f"Go.\n```python\nfinal_answer({n})\n```" for n in (1, 2))),
        name="helper", description="Helps.", sandbox=sandbox(),
    )  # fmt: skip
    replies = ["Ask.\n```python\nfinal_answer(helper('Help me.'))\n```"] * 2
    async with CodeAgent(
        ScriptedModel(*replies), managed_agents=[helper], sandbox=sandbox(), journal=journal_of(folder)
    ) as agent:
        first, second = await agent.run("One."), await agent.run("Two.")
    assert (first.answer, second.answer) == (1, 2)
    for run_id, count in ((first.id, 2), ("latest", 4)):
        done = cellwright("export", run_id, f"{count}.ipynb", folder=folder)
        assert (done.returncode, done.stderr) == (0, ""), done
        made = read_file(folder / f"{count}.ipynb")
        assert len(made["metadata"]["cellwright"]["runs"]) == count
        assert inspect(made).changes == []


async def test_f3_verify_is_isolated_whatever_the_settings_say(module_folder: Path) -> None:
    secret = module_folder.parent / "secret.txt"
    secret.write_text("mine")
    await audited(module_folder, "open.ipynb", f"print(open({str(secret)!r}).read())\nfinal_answer(1)")
    fenced = cellwright("verify", "open.ipynb", folder=module_folder, CELLWRIGHT_ISOLATION="process")
    assert fenced.returncode == 3, fenced
    by_word = cellwright(
        "verify", "open.ipynb", "--isolation", "process", folder=module_folder, CELLWRIGHT_ISOLATION="process"
    )
    assert by_word.returncode == 0, by_word


async def test_f3_a_recorded_kernel_that_is_not_here_is_replaced_and_named(module_folder: Path) -> None:
    await audited(module_folder, "x.ipynb", "final_answer(1)")
    async with journal_of(module_folder) as journal:
        (record,) = await journal.records((await journal.latest()).started.conversation)  # type: ignore[union-attr]
    events = list(record.run.events)
    started = events[0]
    assert isinstance(started, RunStarted) and started.sandbox
    events[0] = replace(started, run_id="other", sandbox=replace(started.sandbox, kernel_name="gone-7"))
    write([type(record.run)(events)], module_folder / "x.ipynb")
    done = cellwright("verify", "x.ipynb", folder=module_folder)
    assert done.returncode == 0, done
    assert "The kernel was gone-7" in done.stdout


def test_f3_what_is_no_audit_notebook_is_one_line(folder: Path) -> None:
    (folder / "n.ipynb").write_text('{"cells": [], "metadata": {}}')
    assert_one_line(cellwright("verify", "n.ipynb", folder=folder), 1, "no audit notebook")


# ---- resume ----------------------------------------------------------------------------------------------------------


def cut_off(**more: Any) -> list[Any]:
    """A run whose process was killed before its first action ran."""
    code = "final_answer(20 + 1)"
    return numbered(
        [
            RunStarted(run_id="cut1", conversation="c-cut", task="What is 20 + 1?", model="m", **more),
            ReplyReceived(step=1, text=f"Add.\n```python\n{code}\n```", usage=Usage(10, 5), cost=0.0, seconds=0.1),
            ActionProposed(step=1, thought="Add.", code=code),
        ],
        time.time() - 60,
    )


async def test_f4_resume_goes_on_without_asking_the_model_again(folder: Path) -> None:
    async with journal_of(folder) as journal:
        await store(journal, "cut1", cut_off())
    done = cellwright("resume", "--json", "--export", "a.ipynb", folder=folder, CELLWRIGHT_MODEL="ollama/any")
    assert done.returncode == 0, done
    facts = json.loads(done.stdout)
    assert (facts["answer"], facts["status"], facts["run_id"], facts["steps"]) == (21, "success", "cut1", 1)
    assert inspect(read_file(folder / "a.ipynb")).changes == []
    assert "has its answer" in cellwright("resume", "cut1", folder=folder, CELLWRIGHT_MODEL="ollama/any").stderr


async def test_f4_resume_shows_the_past_in_short(folder: Path) -> None:
    async with journal_of(folder) as journal:
        await store(journal, "cut1", cut_off(origin="elsewhere"))
        by_hand = RunStarted(run_id="", conversation="c-hand", task="", author="person")
        await store(journal, "hand", told("hand", "x = 1", time=time.time(), more=by_hand))
    done = cellwright("resume", folder=folder, CELLWRIGHT_MODEL="ollama/any")
    places = [done.stdout.index(part) for part in ("What is 20 + 1?", "Step 1, not ended: Add.", "Answer: 21")]
    assert done.returncode == 0 and places == sorted(places), done
    assert "another folder" in done.stdout


async def test_f4_resume_wants_the_tools_again(folder: Path) -> None:
    from cellwright.facts import ToolFacts

    tools = tuple(ToolFacts(name, "", {}, f"{name}()") for name in ("web_search", "recall", "get_time"))
    async with journal_of(folder) as journal:
        await store(journal, "cut1", cut_off(tools=tools))
    done = cellwright("resume", folder=folder, CELLWRIGHT_MODEL="ollama/any")
    assert_one_line(done, 2, "web_search, recall, get_time", "--tools web_search, --recall, --mcp FILE")
    done = cellwright("resume", "--recall", folder=folder, CELLWRIGHT_MODEL="ollama/any")
    assert "web_search, get_time." in done.stderr


async def test_f4_a_run_that_another_process_is_doing_is_refused(folder: Path) -> None:
    async with journal_of(folder) as journal:
        await store(journal, "cut1", cut_off())
        listed = cellwright("runs", "--status", "running", folder=folder)
        assert ids(listed) == ["cut1"]
        done = cellwright("resume", "cut1", folder=folder, CELLWRIGHT_MODEL="ollama/any")
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done
        assert "Another process is at work on run cut1" in done.stderr


def test_f4_there_is_nothing_to_resume(folder: Path) -> None:
    done = cellwright("resume", folder=folder, CELLWRIGHT_MODEL="ollama/any")
    assert_one_line(done, 1, "no runs")
