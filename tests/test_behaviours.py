"""The forty behaviours of a smolagents user, 1 to 33: replies, `final_answer`, state over steps, errors.

Each is driven for real: a scripted model writes the code, a child kernel runs it. `test_behaviours_of_runs.py` goes on
with tools and runs. Where smolagents does otherwise, the test says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from cellwright import CodeAgent, ScriptedModel, Tool
from cellwright.errors import ToolDefinitionError
from cellwright.run import Run
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.values import decode

pytestmark = pytest.mark.asyncio(loop_scope="module")


def reply(code: str) -> str:
    return f"Go.\n```python\n{code}\n```"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChildKernel]:
    kernel = ChildKernel(workspace=tmp_path_factory.mktemp("workspace"))
    yield kernel
    await kernel.close()


async def done(sandbox: ChildKernel, *codes: str) -> Run:
    """The run in which the model writes these codes, one a step."""
    return await CodeAgent(ScriptedModel(*map(reply, codes)), sandbox=sandbox, journal=None).run("Go.")


async def told(sandbox: ChildKernel, *codes: str) -> str:
    """What the model is told of the last of these codes."""
    model = ScriptedModel(*map(reply, codes), reply("final_answer(0)"))
    run = await CodeAgent(model, sandbox=sandbox, journal=None).run("Go.")
    assert (run.status, len(run.steps)) == ("success", len(codes) + 1), "and the run goes on"
    return model.asked[-1][-1].content


# ---- replies --------------------------------------------------------------------------------------------------------


async def test_01_of_several_blocks_the_first_is_run_and_the_others_are_not_paid_for(sandbox: ChildKernel) -> None:
    """smolagents joins the blocks of a reply, and runs what the model wrote before it saw what came of the first."""
    model = ScriptedModel(reply("print('first')") + "\nThen:\n" + reply("final_answer(1)"), reply("final_answer(2)"))
    run = await CodeAgent(model, sandbox=sandbox, journal=None).run("Go.")
    assert (run.answer, run.steps[0].code, run.steps[0].text) == (2, "print('first')", "first")
    assert model.was_cut == 1


async def test_02_bare_python_without_a_fence_is_code(sandbox: ChildKernel) -> None:
    run = await CodeAgent(ScriptedModel("x = 6\nfinal_answer(x * 7)"), sandbox=sandbox, journal=None).run("Go.")
    assert run.answer == 42


async def test_02_tags_as_smolagents_asks_for_them_are_read(sandbox: ChildKernel) -> None:
    model = ScriptedModel("Thought: Add.\n<code>\nfinal_answer(1 + 1)\n</code>\nMore.")
    run = await CodeAgent(model, sandbox=sandbox, journal=None).run("Go.")
    assert (run.answer, run.steps[0].thought, run.steps[0].code) == (2, "Add.", "final_answer(1 + 1)")


# ---- final_answer ---------------------------------------------------------------------------------------------------


async def test_03_final_answer_inside_if(sandbox: ChildKernel) -> None:
    run = await done(
        sandbox, "if 1 > 2:\n    final_answer('no')", "if 1 > 2:\n    pass\nelse:\n    final_answer('yes')"
    )
    assert (run.answer, len(run.steps)) == ("yes", 2)


async def test_04_final_answer_is_not_swallowed_by_except_exception(sandbox: ChildKernel) -> None:
    run = await done(
        sandbox, "try:\n    final_answer(1)\nexcept Exception as e:\n    print('caught', e)\nprint('after')"
    )
    assert (run.status, run.answer, run.steps[0].text) == ("success", 1, "")


@pytest.mark.parametrize("clause", ["except:", "except BaseException:"])
async def test_05_a_bare_except_does_not_undo_an_answer(sandbox: ChildKernel, clause: str) -> None:
    """The code goes on after such a clause, as Python has it, and the answer stands: smolagents loses it."""
    run = await done(sandbox, f"try:\n    final_answer(1)\n{clause}\n    print('caught')\nfinal_answer(2)")
    assert (run.status, run.answer, len(run.steps)) == ("success", 1, 1)
    assert run.steps[0].text == "caught"


async def test_06_final_answer_in_finally_takes_the_place_of_the_error(sandbox: ChildKernel) -> None:
    run = await done(sandbox, "try:\n    1 / 0\nfinally:\n    final_answer(3)")
    assert (run.status, run.answer, run.steps[0].outcome) == ("success", 3, "ok")


async def test_07_what_must_be_done_in_the_end_is_done(sandbox: ChildKernel) -> None:
    assert (await done(sandbox, "try:\n    final_answer(1)\nfinally:\n    is_closed = True")).answer == 1
    assert (await done(sandbox, "final_answer(is_closed)")).answer is True


async def test_08_final_answer_in_a_loop_ends_the_cell(sandbox: ChildKernel) -> None:
    run = await done(sandbox, "for i in range(10):\n    print(i)\n    if i == 2:\n        final_answer(i)")
    assert (run.answer, run.steps[0].text) == (2, "0\n1\n2")


async def test_09_final_answer_in_a_function(sandbox: ChildKernel) -> None:
    code = "def finish(values):\n    [final_answer(v) for v in values if v > 3]\nfinish([1, 5, 9])"
    assert (await done(sandbox, code)).answer == 5


async def test_10_final_answer_with_a_keyword_and_an_expression(sandbox: ChildKernel) -> None:
    assert (await done(sandbox, "final_answer(answer=sum(range(5)))")).answer == 10


async def test_11_final_answer_takes_one_argument_and_says_so(sandbox: ChildKernel) -> None:
    """In smolagents a tool named `final_answer` may have arguments of its own; here a dict is the answer."""
    assert "TypeError" in await told(sandbox, "final_answer(1, 2)")
    assert "unexpected keyword argument 'mean'" in await told(sandbox, "final_answer(mean=1)")
    assert (await done(sandbox, "final_answer({'mean': 1, 'max': 2})")).answer == {"mean": 1, "max": 2}

    def final_answer(mean: float, most: float) -> str:
        """Give both."""
        return f"{mean} {most}"

    with pytest.raises(ToolDefinitionError, match="final_answer"):
        Tool(final_answer)


async def test_12_final_answer_in_a_string_or_a_comment_is_none(sandbox: ChildKernel) -> None:
    code = "# final_answer(1)\ntext = 'final_answer(2)'\nprint('final_answer(3)')\nrepr(final_answer)"
    run = await done(sandbox, code, "final_answer(4)")
    assert (run.answer, len(run.steps)) == (4, 2)


async def test_13_final_answer_over_several_lines(sandbox: ChildKernel) -> None:
    code = "final_answer(\n    {\n        'rows': [1,\n                 2],  # two\n    }\n)"
    assert (await done(sandbox, code)).answer == {"rows": [1, 2]}


@pytest.mark.parametrize("code", ["final_answer()", "final_answer(None)"])
async def test_14_none_is_an_answer(sandbox: ChildKernel, code: str) -> None:
    run = await done(sandbox, code)
    assert (run.status, run.answer) == ("success", None)
    assert run.answered
    assert (run.answered.has_value, run.answered.type_name) == (True, "NoneType")


async def test_15_a_table_as_answer_is_shown_and_can_be_had(sandbox: ChildKernel) -> None:
    run = await done(sandbox, "import pandas as pd\nfinal_answer(pd.DataFrame({'a': [1, 2], 'b': ['x', 'y']}))")
    assert run.answered
    assert run.answered.type_name == "DataFrame"
    assert "<table" in run.answered.data["text/html"]
    assert "a" in run.answer
    table = decode(*await sandbox.get("_answer"))
    assert getattr(table, "to_dict")("list") == {"a": [1, 2], "b": ["x", "y"]}  # noqa: B009 - its type is pandas' own


async def test_16_a_figure_as_answer_is_a_picture(sandbox: ChildKernel) -> None:
    run = await done(
        sandbox, "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 2])\nfinal_answer(fig)"
    )
    assert run.answered
    assert run.answered.data["image/png"].startswith("iVBOR")


async def test_17_a_large_answer_stays_whole_in_the_sandbox(sandbox: ChildKernel) -> None:
    run = await done(sandbox, "final_answer('x' * 9_000_000)")
    assert run.answered
    assert not run.answered.has_value
    assert len(run.answer) < 2_000_000
    assert (await done(sandbox, "final_answer(len(_answer))")).answer == 9_000_000


async def test_18_of_two_answers_the_first_counts(sandbox: ChildKernel) -> None:
    run = await done(sandbox, "final_answer(1)\nfinal_answer(2)\nwent_on = True")
    assert run.answer == 1
    assert (await done(sandbox, "final_answer('went_on' in globals())")).answer is False


async def test_19_what_was_printed_before_the_answer_is_kept(sandbox: ChildKernel) -> None:
    run = await done(sandbox, "print('looked')\nfinal_answer(1)")
    assert run.steps[0].text == "looked"


@pytest.mark.parametrize(
    "code", ["def final_answer(x):\n    return x\nfinal_answer(3)", "final_answer = 5", "del final_answer"]
)
async def test_19_code_that_takes_the_name_can_answer_in_the_next_step(sandbox: ChildKernel, code: str) -> None:
    run = await done(sandbox, code, "final_answer(4)")
    assert (run.status, run.answer, len(run.steps)) == ("success", 4, 2)


# ---- state over steps -----------------------------------------------------------------------------------------------


async def test_20_variables_stay_over_steps_and_tasks(sandbox: ChildKernel) -> None:
    assert (await done(sandbox, "kept = [1]", "kept.append(2)", "final_answer(kept)")).answer == [1, 2]
    assert (await done(sandbox, "final_answer(kept)")).answer == [1, 2]


async def test_21_functions_stay_and_see_what_is_defined_later(sandbox: ChildKernel) -> None:
    run = await done(sandbox, "def area(r):\n    return factor * r * r", "factor = 3", "final_answer(area(2))")
    assert run.answer == 12


async def test_22_imports_stay_those_in_functions_included(sandbox: ChildKernel) -> None:
    run = await done(
        sandbox, "import math as m\nfrom statistics import mean", "final_answer([m.floor(2.5), mean([1, 3])])"
    )
    assert run.answer == [2, 2]


async def test_23_classes_stay_with_all_that_python_has(sandbox: ChildKernel) -> None:
    first = (
        "from dataclasses import dataclass, field\n"
        "class Base:\n    def __init_subclass__(cls): cls.known = True\n    def name(self): return 'base'\n"
        "@dataclass\nclass Stock(Base):\n    items: list = field(default_factory=list)\n"
        "    def __iter__(self): yield from self.items\n    def name(self): return super().name() + '+'"
    )
    second = "s = Stock([3, 1])\nmatch s:\n    case Stock(items=[a, *rest]):\n        pass"
    run = await done(sandbox, first, second, "final_answer([s.name(), sorted(s), a, rest, Stock.known])")
    assert run.answer == ["base+", [1, 3], 3, [1], True]


async def test_24_the_last_expression_is_shown(sandbox: ChildKernel) -> None:
    said = await told(sandbox, "x = 20\nx + 1")
    assert "\n21\n" in said
    assert "No answer yet" in said
    assert "(no output)" in await told(sandbox, "x = 22")


# ---- errors ---------------------------------------------------------------------------------------------------------


async def test_25_an_error_keeps_what_was_printed_and_names_the_line(sandbox: ChildKernel) -> None:
    said = await told(sandbox, "print('before')\nn = 0\nprint('still')\nk = 1 / n\nprint('never')")
    assert "before\nstill\n" in said
    assert "Error in line 4: `k = 1 / n`: ZeroDivisionError: division by zero" in said
    assert "never" not in said


async def test_26_the_line_is_one_of_the_cell_that_failed(sandbox: ChildKernel) -> None:
    said = await told(sandbox, "def half(n):\n\n\n\n    return 1 / n", "a = 1\nb = half(0)")
    assert "Error in line 2: `b = half(0)`: ZeroDivisionError" in said


async def test_27_a_syntax_error_is_an_observation_and_nothing_was_run(sandbox: ChildKernel) -> None:
    said = await told(sandbox, "was_run = True\nfor i in range(3)\n    print(i)")
    assert "SyntaxError" in said
    assert "Error in line 2: `for i in range(3)`" in said
    assert (await done(sandbox, "final_answer('was_run' in globals())")).answer is False


async def test_28_endless_recursion_is_an_observation(sandbox: ChildKernel) -> None:
    said = await told(sandbox, "def down(n):\n    return down(n + 1)\nstays = 1\ndown(0)")
    assert "RecursionError" in said
    assert len(said) < 1000
    assert (await done(sandbox, "final_answer(stays)")).answer == 1


@pytest.mark.parametrize("code", ["import sys\nsys.exit(3)", "exit()", "quit()", "raise SystemExit"])
async def test_29_leaving_is_no_end(sandbox: ChildKernel, code: str) -> None:
    said = await told(sandbox, f"left = {len(code)}\n{code}")
    assert "SystemExit" in said or "The sandbox stays." in said
    assert (await done(sandbox, "final_answer(left)")).answer == len(code), "the variables are there still"


async def test_30_input_without_a_person_fails_at_once(sandbox: ChildKernel) -> None:
    assert "input() is not available here: nobody is there to type." in await told(sandbox, "name = input('Name? ')")


async def test_31_an_interrupt_that_code_raises_is_its_own(sandbox: ChildKernel) -> None:
    assert "KeyboardInterrupt: by me" in await told(sandbox, "raise KeyboardInterrupt('by me')")


# ---- real Python ----------------------------------------------------------------------------------------------------


async def test_32_top_level_await_shell_commands_and_magics_work(sandbox: ChildKernel) -> None:
    code = (
        "import asyncio, pathlib\npathlib.Path('seen.txt').write_text('x')\n"
        "both = await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2))\nfiles = !ls"
    )
    run = await done(sandbox, code, "!echo said\n%time pass", "final_answer([both, 'seen.txt' in files])")
    assert run.answer == [[1, 2], True]
    assert "said" in run.steps[1].text


async def test_33_every_script_and_sign_comes_through(sandbox: ChildKernel) -> None:
    run = await done(sandbox, "größe = '日本語 🎉 e\\u0301 العربية'\nprint(größe)", "final_answer({größe: größe})")
    text = "日本語 🎉 e\u0301 العربية"
    assert run.steps[0].text == text
    assert run.answer == {text: text}
    assert (await done(sandbox, "final_answer('half \\ud83d')")).answer == "half \ufffd"
