"""Row G4, the comparison: real agents in real sandboxes, a scripted model, real files, a real kill."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

from cellwright.compare import Comparison, Paired, Result, paired, read_cases, totals
from cellwright.compare.cases import Case, is_right
from cellwright.compare.figures import mean, ratio, wilson
from cellwright.compare.report import pair_line, write_csv, write_plot
from cellwright.compare.worlds import FUNCTIONS, calculate, toolbox
from cellwright.errors import ModelUnavailable, RunFailed, UsageError
from cellwright.events import AnswerGiven, NoAction, RunEnded, Status
from cellwright.facts import ToolUse, Usage
from cellwright.formats import FunctionCalls, Markdown, calls_in
from cellwright.journal import Journal
from cellwright.limits import Limits
from cellwright.models.base import Message, ReplyEnd, ReplyPart, Sampling, Text
from cellwright.models.embedded import EmbeddedModel
from cellwright.run import Run
from fake_provider import FakeProvider

CELLWRIGHT = str(Path(sys.executable).with_name("cellwright"))
OWN_TASKS = Path(__file__).parent.parent / "benchmarks" / "cases" / "tool_tasks.jsonl"
SUM = {"id": "sum", "task": "What is 1 + 2?", "check": "number", "expect": 3}
ROPE = {
    "id": "rope", "task": "What do two ropes cost?", "check": "number", "expect": 25.5, "near": 1e-6,
    "tools": ["price_of", "calculate"],
}  # fmt: skip

SOLUTIONS = {
    "basket": "3*price_of('lantern')+2*price_of('rope')+price_of('compass')",
    "dollars": "price_of('tent')*exchange_rate('EUR','USD')",
    "cheapest": "min(list_items(), key=price_of)",
    "heaviest": "max(list_items(), key=weight_of)",
    "sold out": "[i for i in list_items() if stock_of(i)==0][0]",
    "stock value": "sum(price_of(i)*stock_of(i) for i in ('axe','stove','hammock'))",
    "whole stock": "sum(price_of(i)*stock_of(i) for i in list_items())",
    "pounds": "convert_unit(2*weight_of('tent')+weight_of('axe'),'kg','pound')",
    "order total": "sum(q*price_of(i) for i,q in order_lines(4102).items())",
    "order weight": "sum(q*weight_of(i) for i,q in order_lines(4101).items())",
    "customer total": "sum(q*price_of(i) for n in list_orders('Orla') for i,q in order_lines(n).items())",
    "can't ship": "[i for n in list_orders('Bastian') for i,q in order_lines(n).items() if stock_of(i)<q][0]",
    "largest order": "max(list_orders('Orla'), key=lambda n: sum(q*price_of(i) for i,q in order_lines(n).items()))",
    "two towns": "population_of('Velden')+population_of('Quill')",
    "region": "sum(population_of(t) for t in list_towns() if region_of(t)=='Moor')",
    "smallest town": "min(list_towns(), key=population_of)",
    "nearest": "min((t for t in list_towns() if t!='Velden'), key=lambda t: distance_between('Velden',t))",
    "round trip": "distance_between('Velden','Skarn') + distance_between('Skarn','Quill')"
    " + distance_between('Quill','Velden')",
    "miles": "convert_unit(distance_between('Velden','Quill'),'km','mile')",
    "travel time": "distance_between('Skarn','Ostrava Minor')/60*60",
    "payroll": "sum(map(salary_of,list_staff('sales')))",
    "best paid": "max(list_staff('research'), key=salary_of)",
    "boss of boss": "manager_of(manager_of('Chloe'))",
    "gap": "salary_of(manager_of('Gwen'))-salary_of('Gwen')",
    "first hired": "min(list_staff('sales'), key=hired_on)",
    "tenure": "days_between(hired_on('Ada'),hired_on('Esra'))",
    "jubilee": "weekday_of(add_days(hired_on('Ben'),3650))",
    "yearly in pounds": "12*salary_of('Dmitri')*exchange_rate('EUR','GBP')",
}


class Knowing:
    """Answers the tasks above in the way of the agent that asks: code, or function calls one after another."""

    name = "knowing"
    examples: Sequence[Message] = ()
    fails = False

    def __init__(self) -> None:
        self.asked: list[Sequence[Message]] = []

    def warm_up(self) -> None:
        """Nothing to do."""

    async def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[ReplyPart]:
        self.asked.append(tuple(messages))
        if self.fails:
            raise ModelUnavailable(self.name, "It is not there.")
        yield self._reply(" ".join(message.content for message in messages), "calling functions" in messages[0].content)
        yield ReplyEnd(*self.count(messages, ""), self.name)

    def _reply(self, said: str, by_calls: bool) -> ReplyPart:
        if not by_calls:
            code = "2 * price_of('rope')" if "ropes" in said else "1 + 2"
            return Text(f"Thought: So.\n```python\nfinal_answer({code})\n```")
        if "ropes" not in said:
            return ToolUse("c", "final_answer", '{"answer": 4}')
        if "25.5" in said:
            return ToolUse("c3", "final_answer", '{"answer": "25.5"}')
        if "12.75" in said:
            return ToolUse("c2", "calculate", '{"expression": "2 * 12.75"}')
        return ToolUse("c1", "price_of", '{"item": "rope"}')

    def count(self, messages: Sequence[Message], reply: str) -> tuple[Usage, float | None]:
        return Usage(100, 20), 0.01

    async def aclose(self) -> None:
        """Nothing to release."""


def task_file(folder: Path, *tasks: Mapping[str, Any]) -> Path:
    path = folder / "tasks.jsonl"
    path.write_text("".join(json.dumps(task) + "\n" for task in tasks), "utf-8")
    return path


def comparison(folder: Path, *tasks: Mapping[str, Any], **options: Any) -> Comparison:
    options = {"agents": ("code", "tools"), "models": {"knowing": Knowing()}, "out": folder / "out", **options}
    return Comparison(read_cases(task_file(folder, *tasks)), **options)


async def all_of(compared: Comparison) -> list[Result]:
    return [result async for result in compared.run()]


def result(task: str = "a", agent: str = "code", steps: int = 1, success: bool = True, **more: Any) -> Result:
    known: dict[str, Any] = {"model": "m", "repeat": 1, "calls": 0, "tokens": steps * 100, "seconds": steps / 2}
    rest = {"status": "success", "cost": 0.5, "run_id": "r", "answer": "3", "reason": ""}
    return Result(task=task, agent=agent, steps=steps, success=success, **{**known, **rest, **more})


# ---- runs -----------------------------------------------------------------------------------------------------------


async def test_g4_both_agents_do_each_task_and_every_run_is_in_the_journal(tmp_path: Path) -> None:
    async with Journal(tmp_path / "journal.sqlite") as journal:
        found = await all_of(comparison(tmp_path, SUM, ROPE, journal=journal))
        kept = [await journal.run(item.run_id) for item in found]
    assert [(item.task, item.agent, item.success, item.steps, item.calls) for item in found] == [
        ("sum", "code", True, 1, 0),
        ("sum", "tools", False, 1, 0),  # it said 4
        ("rope", "code", True, 1, 1),
        ("rope", "tools", True, 3, 2),
    ]
    assert [item.tokens for item in found] == [120, 120, 120, 360]
    assert [item.cost for item in found] == pytest.approx([0.01, 0.01, 0.01, 0.03])
    assert [run.totals.steps for run in kept] == [item.steps for item in found]
    assert [run.started.sandbox.kind for run in kept if run.started and run.started.sandbox] == [
        "child-kernel", "none", "child-kernel", "none",
    ]  # fmt: skip
    given = [[tool.name for tool in run.started.tools] for run in kept if run.started]
    assert given == [[], [], ["price_of", "calculate"], ["price_of", "calculate"]], "both get the same functions"


async def test_g4_a_second_start_does_only_what_is_missing(tmp_path: Path) -> None:
    model = Knowing()
    first = comparison(tmp_path, SUM, ROPE, agents=("tools",), models={"knowing": model}, limit=1)
    assert len(await all_of(first)) == 1
    wider = comparison(tmp_path, SUM, ROPE, agents=("tools",), models={"knowing": model}, repeat=2)
    assert [(item.task, item.repeat) for item in await all_of(wider)] == [("rope", 1), ("sum", 2), ("rope", 2)]
    assert await all_of(wider) == []
    assert [(item.task, item.repeat) for item in wider.results()] == [
        ("sum", 1), ("rope", 1), ("sum", 2), ("rope", 2),
    ]  # fmt: skip
    assert len(first.results()) == 1, "what belongs to another comparison is left out"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"limits": Limits(steps=3)}, "limits: "),
        ({"tools": ("calculate",)}, 'tools: [] there, ["calculate"] now'),
        ({"instructions": "Hurry."}, 'instructions: "" there, "Hurry." now'),
    ],
)
async def test_g4_results_of_other_settings_are_never_mixed(tmp_path: Path, changed: Any, said: str) -> None:
    await all_of(comparison(tmp_path, SUM, agents=("tools",)))
    with pytest.raises(UsageError, match="holds results of other settings") as caught:
        await all_of(comparison(tmp_path, SUM, agents=("tools",), **changed))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_g4_results_of_another_task_file_are_never_mixed(tmp_path: Path) -> None:
    await all_of(comparison(tmp_path, SUM, agents=("tools",)))
    with pytest.raises(UsageError, match="tasks: "):
        await all_of(comparison(tmp_path, SUM, ROPE, agents=("tools",)))


async def test_g4_a_torn_last_line_is_done_again_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    compared = comparison(tmp_path, SUM, ROPE, agents=("tools",))
    await all_of(compared)
    path = tmp_path / "out" / "results.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert [item.task for item in await all_of(compared)] == ["rope"]
    assert len(path.read_bytes().splitlines()) == 3
    path.write_bytes(whole.replace(b'"task": "sum"', b'"tusk": "sum"'))
    with pytest.raises(UsageError, match=r"results.jsonl, line 2: this is no result"):
        compared.results()


async def test_g4_a_model_that_is_not_there_ends_the_comparison_and_is_no_result(tmp_path: Path) -> None:
    model = Knowing()
    model.fails = True
    compared = comparison(tmp_path, SUM, agents=("tools",), models={"knowing": model})
    with pytest.raises(RunFailed, match="It is not there"):
        await all_of(compared)
    model.fails = False
    assert [item.task for item in await all_of(compared)] == ["sum"]


KILLED = """
import asyncio, sys
from pathlib import Path
from cellwright import ScriptedModel
from cellwright.compare import Comparison, read_cases

async def main():
    model = ScriptedModel('{"name": "final_answer", "arguments": {"answer": 3}}', seconds=0.2)
    cases = read_cases(Path(sys.argv[1]))
    async for done in Comparison(cases, ("tools",), {"knowing": model}, Path(sys.argv[2])).run():
        print(done.task, flush=True)

asyncio.run(main())
"""


async def test_g4_after_a_kill_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = task_file(tmp_path, *({**SUM, "id": f"sum {number}"} for number in range(12)))
    process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs on the loop meanwhile
        [sys.executable, "-c", KILLED, str(path), str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    with process.stdout:
        for line in process.stdout:
            if line.strip() == "sum 2":
                process.send_signal(signal.SIGKILL)
                break
    assert process.wait(30) == -signal.SIGKILL
    model = Knowing()
    compared = Comparison(read_cases(path), ("tools",), {"knowing": model}, tmp_path / "out")
    before = len(compared.results())
    assert 3 <= before < 12
    assert len(await all_of(compared)) == len(model.asked) == 12 - before
    assert [item.task for item in compared.results()] == [f"sum {number}" for number in range(12)]


# ---- what may be wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "x"', "this is no JSON"),
        ("[1]", "a task is a JSON object"),
        ('{"id": "x", "task": "y", "check": "number"}', "expect is missing"),
        ('{"id": "x", "task": "y", "check": "magic", "expect": 1}', "check is wrong"),
        ('{"id": "x", "task": "y", "check": "number", "expect": "one"}', "expect must be a number"),
        ('{"id": "x", "task": "y", "check": "contains", "expect": "one"}', "expect must be a list of texts"),
        ('{"id": "x", "task": "y", "check": "number", "expect": 1, "tool": []}', "there is no 'tool'"),
        ('{"id": " ", "task": "y", "check": "number", "expect": 1}', "must not be empty"),
        (json.dumps(SUM), "a second task has the id 'sum'"),
    ],
)
def test_g4_a_wrong_line_is_named_with_its_number(tmp_path: Path, line: str, said: str) -> None:
    path = task_file(tmp_path, SUM)
    path.write_text(path.read_text("utf-8") + "\n" + line + "\n", "utf-8")
    with pytest.raises(UsageError) as caught:
        read_cases(path)
    assert "tasks.jsonl, line 3: " in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_g4_the_tasks_of_the_benchmarks_are_read() -> None:
    folder = OWN_TASKS.parent.parent
    assert len(read_cases(folder / "tasks.jsonl").cases) == 10
    cases = read_cases(folder / "notebook.jsonl").cases
    assert {case.id for case in cases if case.plot} >= {"histogram"}
    assert any(case.prepare for case in cases)


def test_g4_an_empty_file_and_one_that_is_no_text_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no task in"):
        read_cases(task_file(tmp_path))
    (tmp_path / "tasks.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="can't be read"):
        read_cases(tmp_path / "tasks.jsonl")


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        (SUM, {"agents": ("cod",)}, "Unknown agent 'cod'; did you mean 'code'?"),
        (SUM, {"agents": ()}, "Name one agent or more"),
        (SUM, {"agents": ("code", "code")}, "each once"),
        (SUM, {"models": {}}, "Name one model or more"),
        (SUM, {"tools": ("calculat",)}, "Unknown function 'calculat'; did you mean 'calculate'?"),
        ({**SUM, "tools": ["python"]}, {}, "Unknown function 'python'."),
        ({**SUM, "plot": True}, {}, "Task 'sum' needs an agent that runs code"),
        ({**SUM, "prepare": "x = 1"}, {}, "Task 'sum' needs an agent that runs code"),
    ],
)
def test_g4_what_can_not_be_compared_is_one_line(tmp_path: Path, task: Any, options: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        comparison(tmp_path, task, **options)
    assert said in str(caught.value)


# ---- checks ---------------------------------------------------------------------------------------------------------


def answered(value: Any, status: Status = "success") -> Run:
    given = AnswerGiven(step=1, data={"text/plain": str(value)}, value=value, has_value=True)
    return Run([given, RunEnded(status=status)])


@pytest.mark.parametrize(
    ("case", "answer", "right"),
    [
        ({"check": "number", "expect": 3236.6}, "It is 3,236.60 euros.", True),
        ({"check": "number", "expect": 3236.6}, 3236.7, False),
        ({"check": "number", "expect": 100.0, "near": 0.01}, 100.9, True),
        ({"check": "number", "expect": 100.0, "near": 0.01}, 101.1, False),
        ({"check": "number", "expect": 3}, "three", False),
        ({"check": "number", "expect": 3}, [1, 2, 3], True),
        ({"check": "contains", "expect": ("bob", "93")}, ["bob", 93], True),
        ({"check": "contains", "expect": ("bob", "93")}, "bob", False),
        ({"check": "contains", "expect": ("rope",), "without": ("tent",)}, "The rope.", True),
        ({"check": "contains", "expect": ("rope",), "without": ("tent",)}, ["rope", "tent"], False),
        ({"check": "equals", "expect": "Thursday"}, " thursday. ", True),
        ({"check": "equals", "expect": "Thursday"}, "Not Thursday", False),
    ],
)
def test_g4_what_counts_as_right(case: Any, answer: Any, right: bool) -> None:
    made = Case(id="x", task="y", **case)
    assert is_right(made, answered(answer)) is right
    assert not is_right(made, answered(answer, "failed"))


def test_g4_our_tasks_need_several_calls_and_their_answers_are_what_the_functions_give() -> None:
    cases = {case.id: case for case in read_cases(OWN_TASKS).cases}
    assert len(cases) >= 20
    assert cases.keys() == SOLUTIONS.keys()
    for name, case in cases.items():
        calls: list[str] = []

        def counted(function: Any, calls: list[str] = calls) -> Any:
            def call(*args: Any) -> Any:
                calls.append(function.__name__)
                return function(*args)

            return call

        functions = {function.__name__: counted(function) for function in FUNCTIONS if function.__name__ in case.tools}
        answer = eval(SOLUTIONS[name], functions)
        assert is_right(case, answered(answer)), (name, answer)
        reckons = 1 if "calculate" in case.tools else 0
        assert len(calls) + reckons >= 2, name
        assert set(case.tools) == {*calls, *(["calculate"] if reckons else [])}, name
    assert sum(len(case.tools) > 1 for case in cases.values()) >= 20


def test_g4_calculate_takes_numbers_and_signs_only() -> None:
    assert calculate("-(2 + 3) * 4.5 / 3") == -7.5
    for wrong in ("__import__('os')", "2 ** 99999999", "'a' * 3", "1 if 1 else 2", "1 +", "(" * 5000, "1 / 0", "True"):
        with pytest.raises(ValueError, match=r"arithmetic|Only numbers|Division"):
            calculate(wrong)
    assert len(toolbox()) == len(FUNCTIONS)


# ---- figures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("solved", "runs", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_g4_wilsons_interval_has_the_published_values(solved: int, runs: int, low: float, high: float) -> None:
    found = wilson(solved, runs)
    assert (found.value, round(found.low, 4), round(found.high, 4)) == (solved / runs, low, high)


def test_g4_the_interval_of_a_mean_is_that_of_students_t_where_that_holds() -> None:
    drawn = random.Random(1)
    values = [drawn.gauss(10, 2) for _ in range(200)]
    found = mean([[value] for value in values])
    half = 1.97196 * stdev(values) / len(values) ** 0.5  # Student's t, 199 degrees of freedom, 97.5%
    low, high = fmean(values) - half, fmean(values) + half
    assert found.value == fmean(values)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.04)
    assert mean([[value] for value in values]) == found, "the same results give the same figures"


def test_g4_repeats_of_a_task_do_not_make_the_interval_narrower() -> None:
    values = [1.0, 4.0, 2.0, 8.0, 3.0]
    assert mean([[value] * 10 for value in values]) == mean([[value] for value in values])


def test_g4_agents_are_compared_on_what_both_solved() -> None:
    mine = [result("a", steps=1), result("b", steps=2), result("c", steps=9, success=False), result("d", steps=1)]
    theirs = [result(name, "tools", steps) for name, steps in (("a", 2), ("b", 4), ("c", 1))]
    found = paired([*mine, *theirs, result("d", "tools", 1, success=False)], "code", "tools", "m")
    assert found.tasks == 2
    assert (found.ratios["steps"].value, found.ratios["steps"].low, found.ratios["steps"].high) == (0.5, 0.5, 0.5)
    assert pair_line(found).startswith("code / tools, m, on 2 tasks that both solved: steps 0.50 (0.50 to 0.50), ")
    assert pair_line(Paired("a", "b", "m", 0, {})) == "a / b, m: there is no task that both solved."
    spread = ratio([(1, 2), (3, 3), (2, 4), (1, 1)])
    assert (spread.value, spread.low <= 0.7 <= spread.high) == (0.7, True)
    assert 0.5 <= spread.low < spread.high <= 1.0


def test_g4_totals_of_runs_without_a_price_say_so() -> None:
    (total,) = totals([result(), result("b", steps=3, cost=None, success=False)])
    assert (total.runs, total.solved, total.cost) == (2, 1, None)
    assert (total.means["steps"].value, total.means["steps"].low, total.means["steps"].high) == (2.0, 1.0, 3.0)
    assert totals([result(), result("b")])[0].cost == 1.0


# ---- what a person gets ---------------------------------------------------------------------------------------------


def test_g4_the_csv_files_hold_every_run_and_the_totals(tmp_path: Path) -> None:
    paths = write_csv([result(answer='a, b\n"c"'), result("b", cost=None)], tmp_path)
    rows, together = [list(csv.DictReader(path.read_text("utf-8").splitlines(keepends=True))) for path in paths]
    assert [(row["task"], row["agent"], row["answer"], row["cost"]) for row in rows] == [
        ("a", "code", 'a, b\n"c"', "0.5"),
        ("b", "code", "3", ""),
    ]
    assert together[0]["solved"] == "2"
    assert float(together[0]["success_low"]) == pytest.approx(wilson(2, 2).low, rel=1e-5)
    assert float(together[0]["tokens_high"]) == 100.0


def test_g4_the_plot_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    assert write_plot([result(), result("b", "tools", 3, success=False)], path) == ""
    assert path.read_bytes().startswith(b"\x89PNG")


def environment(folder: Path, **variables: str) -> Mapping[str, str]:
    return {**os.environ, "CELLWRIGHT_JOURNAL": str(folder / "journal.sqlite"), **variables}


def compare(folder: Path, *arguments: str, seconds: float = 100, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CELLWRIGHT, "compare", "tasks.jsonl", *arguments],
        cwd=folder, env=environment(folder, **variables), capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip


def as_asked(body: dict[str, Any]) -> str:
    """Function calls, as text, for who sent functions; code for who did not."""
    if "tools" in body:
        return '{"name": "final_answer", "arguments": {"answer": "3"}}'
    return "Thought: Add.\n```python\nfinal_answer(1 + 2)\n```"


async def test_g4_the_command_prints_writes_and_goes_on(tmp_path: Path) -> None:
    task_file(tmp_path, SUM, {**SUM, "id": "other", "expect": 4})
    async with FakeProvider(reply=as_asked) as provider:
        access: dict[str, Any] = {"OPENAI_API_BASE": provider.base_url, "OPENAI_API_KEY": "k"}

        async def run(*arguments: str, **variables: Any) -> subprocess.CompletedProcess[str]:
            more = ("--models", "openai/gpt-5", *arguments)
            return await asyncio.to_thread(lambda: compare(tmp_path, *more, **access, **variables))

        first = await run("--limit", "1")
        assert (first.returncode, first.stderr) == (0, "")
        assert "[2/2] sum, tools, openai/gpt-5: solved, 1 step, 120 tokens" in first.stdout
        assert "code / tools, openai/gpt-5, on 1 task that both solved: steps 1.00 (1.00 to 1.00)" in first.stdout
        second = await run(PYTHONPATH=str(without_matplotlib(tmp_path)))
    assert (second.returncode, second.stderr) == (0, "")
    assert "2 of 4 runs are done already." in second.stdout
    assert "other, code, openai/gpt-5: not solved (success: 3)" in second.stdout
    assert "[1/4]" not in second.stdout
    assert "1/2" in second.stdout
    assert "No plot: it needs matplotlib" in second.stdout
    assert len(provider.requests) == 4
    folder = tmp_path / "tasks-comparison"
    assert sorted(path.name for path in folder.iterdir()) == ["plot.png", "results.csv", "results.jsonl", "totals.csv"]
    ids = [row["run_id"] for row in csv.DictReader((folder / "results.csv").read_text("utf-8").splitlines())]
    async with Journal(tmp_path / "journal.sqlite") as journal:
        assert {summary.id for summary in await journal.runs()} == set(ids)
    assert len(ids) == 4


async def test_g4_ctrl_c_ends_it_and_the_run_under_way_is_no_result(tmp_path: Path) -> None:
    task_file(tmp_path, SUM)
    async with FakeProvider("slow", delay=60) as provider:
        access = {"OPENAI_API_BASE": provider.base_url, "OPENAI_API_KEY": "k"}
        process = await asyncio.create_subprocess_exec(
            CELLWRIGHT, "compare", "tasks.jsonl", "--models", "openai/gpt-5", "--agents", "tools",
            cwd=tmp_path, env=environment(tmp_path, **access), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(60):
            while not provider.requests:
                await asyncio.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, said = await process.communicate()
    assert (process.returncode, said.decode().strip()) == (130, "Error: Interrupted.")
    assert len((tmp_path / "tasks-comparison" / "results.jsonl").read_text("utf-8").splitlines()) == 1
    async with Journal(tmp_path / "journal.sqlite") as journal:
        assert [run.status for run in await journal.runs()] == ["interrupted"]


def without_matplotlib(folder: Path) -> Path:
    """A folder for PYTHONPATH with which matplotlib can't be imported."""
    broken = folder / "broken" / "matplotlib"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('matplotlib is not installed')\n")
    return broken.parent


def test_g4_the_embedded_model_writes_calls_in_a_form_of_their_own() -> None:
    model = EmbeddedModel()
    head = FunctionCalls().head(model, [toolbox()["price_of"].facts], "")
    assert "- price_of(item: str) -> float: Price of one piece" in head[0].content
    assert [message.role for message in head[1:]] == ["user", "assistant"] * (len(head) // 2)
    for message in head[2::2]:
        calls = calls_in(message.content)
        assert message.content == "\n".join(
            json.dumps({"name": call.name, "arguments": json.loads(call.arguments)}) for call in calls
        )
    assert all(call.name != "final_answer" for message in head[2:-1:2] for call in calls_in(message.content)[1:])
    wanted = FunctionCalls().parameters(model, {})["extra_body"]["grammar"]
    assert "call ::=" in wanted
    assert Markdown().parameters(model, {}) == {}, "code has the model's own grammar"
    assert Markdown().head(model, [], "")[1:] == list(model.examples)


@pytest.mark.model
@pytest.mark.timeout(400)
async def test_g4_the_embedded_model_does_two_tasks_as_both_agents(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in OWN_TASKS.read_text("utf-8").splitlines()]
    task_file(tmp_path, *(line for line in lines if line["id"] in ("boss of boss", "two towns")))
    done = await asyncio.to_thread(compare, tmp_path, "--models", "embedded", "--max-steps", "4", seconds=380)
    assert (done.returncode, done.stderr) == (0, ""), done
    async with Journal(tmp_path / "journal.sqlite") as journal:
        runs = {summary.id: await journal.run(summary.id) for summary in await journal.runs()}
    kept = [json.loads(line) for line in (tmp_path / "tasks-comparison" / "results.jsonl").read_text().splitlines()]
    results = [Result(**line) for line in kept[1:]]
    assert [item.agent for item in results] == ["code", "tools"] * 2
    assert any(item.success for item in results if item.agent == "code"), done.stdout
    for item in results:
        steps = runs[item.run_id].steps
        assert item.cost == 0.0
        if item.agent == "tools":
            assert item.calls > 0, "it wrote function calls, and they were understood"
            assert not any(isinstance(step.finished, NoAction) for step in steps)
        else:
            assert all(step.reply and step.reply.text.startswith("Thought: ") for step in steps), "its own grammar"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--models", "ollama/any", "--agents", "cod"], 2, "Unknown agent 'cod'; did you mean 'code'?"),
        (["--models", "nobody/nothing"], 1, "Unknown model 'nobody/nothing'"),
        (["--models", "ollama/any,ollama/any"], 2, "--models names ollama/any twice."),
        (["--models", "ollama/any", "--repeat", "0"], 2, "--repeat"),
        (["--models", "ollama/any", "--max-steps", "x"], 2, "--max-steps"),
    ],
)
def test_g4_a_wrong_word_is_one_line(tmp_path: Path, arguments: list[str], status: int, said: str) -> None:
    task_file(tmp_path, SUM)
    done = compare(tmp_path, *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (status, "", 1), done
    assert said in done.stderr


def test_g4_a_wrong_line_of_the_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text("{}\n")
    done = compare(tmp_path, "--models", "ollama/any")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: tasks.jsonl, line 1: id is missing.\n"
