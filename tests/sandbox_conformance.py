"""What every sandbox must do. Apply it by a class with a fixture `sandbox` that yields a started one.

class TestMine(SandboxConformance):
    @pytest.fixture
    async def sandbox(self): ...
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import Awaitable, Callable

import pytest

from cellwright.errors import ValueNotTransferable
from cellwright.facts import ToolFacts
from cellwright.outputs import CellOutput, Clear, Display, Failure, Stream, show
from cellwright.sandbox.base import (
    Answer,
    Call,
    Callbacks,
    CallResult,
    Died,
    Execution,
    Failed,
    Finished,
    Raised,
    Returned,
    Sandbox,
    TimedOut,
)

STOP_SECONDS = 2.0
"""Until a stopped call is over; a bound for busy machines. `python -m benchmarks stop` holds the real one, 0.5 s."""


class Seen:
    """Runs code and remembers what it showed and called."""

    def __init__(self, sandbox: Sandbox, on_input: Callable[[str, bool], Awaitable[str]] | None = None) -> None:
        self.sandbox = sandbox
        self.outputs: list[CellOutput] = []
        self.calls: list[Call] = []
        self.on_input = on_input
        self.tool: Callable[[Call], Awaitable[CallResult]] = self._double
        self.called = asyncio.Event()

    async def run(self, code: str, seconds: float | None = 60.0) -> Execution:
        self.outputs = []

        async def on_output(output: CellOutput) -> None:
            show(self.outputs, output)

        async def on_call(call: Call) -> CallResult:
            self.calls.append(call)
            self.called.set()
            return await self.tool(call)

        return await self.sandbox.run(code, Callbacks(on_output, on_call, self.on_input), seconds)

    async def _double(self, call: Call) -> CallResult:
        return Returned([*call.args, *call.kwargs.values()] * 2)

    def text(self, name: str = "stdout") -> str:
        return "".join(o.text for o in self.outputs if isinstance(o, Stream) and o.name == name)

    @property
    def failure(self) -> Failure:
        return next(o for o in self.outputs if isinstance(o, Failure))

    async def result(self, code: str) -> str:
        """Plain text of the last expression's value."""
        assert isinstance(await self.run(code), Finished), self.outputs
        return next(str(o.data["text/plain"]) for o in self.outputs if isinstance(o, Display) and o.is_result)

    async def is_usable(self) -> bool:
        return await self.result("40 + 2") == "42"


def answer_of(execution: Execution) -> Answer | None:
    assert isinstance(execution, Finished | Failed), execution
    return execution.answer


DOUBLE = ToolFacts("double", "Twice.", {"type": "object"}, "double(*args)")


class SandboxConformance:
    """The suite; see above."""

    @pytest.fixture
    def seen(self, sandbox: Sandbox) -> Seen:
        return Seen(sandbox)

    # ---- code and what it shows -----------------------------------------------------------------------------------

    async def test_d1_state_stays_from_cell_to_cell(self, seen: Seen) -> None:
        await seen.run("x = [1, 2]")
        assert await seen.result("x + [3]") == "[1, 2, 3]"

    async def test_d1_variables_may_be_called_like_builtins(self, seen: Seen) -> None:
        names = ("sum", "len", "list", "str", "map", "dict", "print", "isinstance", "getattr", "repr", "open")
        await seen.run("; ".join(f"{name} = {at}" for at, name in enumerate(names)))
        assert await seen.result("sum + map") == "4"
        assert {name: (await seen.sandbox.get(name))[1] for name in names} == {n: i for i, n in enumerate(names)}
        found = await seen.sandbox.at_hand()
        assert {variable.name for variable in found.variables} >= set(names)
        await seen.run("import pandas\ntable = pandas.DataFrame({'a': [1, 2]})\ntable")
        assert await seen.result("table['a'].sum().item()") == "3"

    async def test_d1_top_level_await(self, seen: Seen) -> None:
        assert await seen.result("import asyncio\nawait asyncio.sleep(0.01, 'slept')") == "'slept'"

    async def test_d1_shell_lines_and_magics(self, seen: Seen) -> None:
        await seen.run("!echo hello from the shell")
        assert "hello from the shell" in seen.text()
        await seen.run("%time 1 + 1\n%pwd")
        assert "Wall time" in seen.text()
        await seen.run("%%writefile made.txt\nline")
        assert await seen.result("open('made.txt').read()") == r"'line\n'"

    async def test_streams(self, seen: Seen) -> None:
        await seen.run("import sys\nprint('out')\nprint('err', file=sys.stderr)\nprint('out again')")
        assert seen.text() == "out\nout again\n"
        assert seen.text("stderr") == "err\n"

    async def test_displays_results_updates_and_clearing(self, seen: Seen) -> None:
        await seen.run(
            "from IPython.display import *\nh = display('first', display_id=True)\nh.update('second')\nHTML('<b>x</b>')"
        )
        shown = [o for o in seen.outputs if isinstance(o, Display)]
        assert shown[0].data["text/plain"] == "'second'"
        assert shown[-1].is_result
        assert shown[-1].data["text/html"] == "<b>x</b>"
        await seen.run("print('gone')\nclear_output()\nprint('here')")
        assert seen.text() == "here\n"

    async def test_e7_clear_is_passed_on_when_it_waits_with_what_it_waits_for(self, sandbox: Sandbox) -> None:
        taken: list[CellOutput] = []

        async def on_output(output: CellOutput) -> None:
            taken.append(output)

        async def on_call(call: Call) -> CallResult:
            return Raised("none")

        code = "from IPython.display import clear_output\nimport time\nclear_output()\nprint('old')\n"
        code += "clear_output(wait=True)\ntime.sleep(0.5)\nprint('new')\nclear_output(wait=True)"
        running = asyncio.create_task(sandbox.run(code, Callbacks(on_output, on_call)))
        while len(taken) < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert taken == [Clear(wait=False), Stream("stdout", "old\n")], "a page that empties at once would flicker"
        await running
        assert taken[2:] == [Clear(wait=True), Stream("stdout", "new\n")], "nothing came after the last one"

    async def test_scripts_in_html_do_not_pass(self, seen: Seen) -> None:
        await seen.run(
            "from IPython.display import *\ndisplay(HTML('<b>x</b><script>alert(1)</script>'))\n"
            "display(Javascript('alert(1)'))"
        )
        assert all("script" not in str(o.data.get("text/html")) for o in seen.outputs if isinstance(o, Display))
        assert all("application/javascript" not in o.data for o in seen.outputs if isinstance(o, Display))

    async def test_an_error_names_the_line(self, seen: Seen) -> None:
        execution = await seen.run("def f(n):\n    return 1 / n\n\nprint('before')\nf(0)")
        assert isinstance(execution, Failed)
        assert seen.text() == "before\n"
        assert (seen.failure.ename, seen.failure.evalue) == ("ZeroDivisionError", "division by zero")
        assert seen.failure.line in (2, 5)
        assert await seen.is_usable()

    async def test_a_syntax_error(self, seen: Seen) -> None:
        assert isinstance(await seen.run("x = (1,\ny = 2"), Failed)
        assert seen.failure.ename == "SyntaxError"

    async def test_much_output_is_bounded_and_said(self, seen: Seen) -> None:
        begun = time.monotonic()
        assert isinstance(await seen.run("for _ in range(100): print('x' * 1_000_000)"), Finished)
        assert len(seen.text()) <= 1 << 20
        assert "more characters of output were not kept" in seen.text("stderr")
        assert time.monotonic() - begun < 20
        assert await seen.is_usable()

    # ---- the answer -----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "code",
        [
            "final_answer(42)",
            "try:\n    final_answer(42)\nexcept Exception:\n    print('swallowed')",
            "try:\n    final_answer(42)\nexcept BaseException:\n    pass",
            "def outer():\n    def inner():\n        final_answer(42)\n    inner()\nouter()\nprint('after')",
            "import asyncio\nasync def f():\n    final_answer(42)\nawait f()",
            "import threading\nt = threading.Thread(target=lambda: final_answer(42))\nt.start()\nt.join()",
            "try:\n    final_answer(42)\nexcept BaseException:\n    final_answer(43)",
            "final_answer(answer=42)",
        ],
        ids=["plain", "except-Exception", "except-BaseException", "nested", "async", "thread", "twice", "keyword"],
    )
    async def test_final_answer_counts_wherever_it_is_called(self, seen: Seen, code: str) -> None:
        answer = answer_of(await seen.run(code))
        assert answer
        assert (answer.value, answer.has_value, answer.type_name) == (42, True, "int")
        assert "after" not in seen.text()
        assert "swallowed" not in seen.text()
        assert await seen.is_usable()

    async def test_the_answer_ends_the_cell_without_an_error(self, seen: Seen) -> None:
        assert isinstance(await seen.run("print('a')\nfinal_answer(1)\nprint('b')"), Finished)
        assert seen.text() == "a\n"
        assert not any(isinstance(o, Failure) for o in seen.outputs)

    async def test_code_that_goes_on_for_ever_after_its_answer_is_ended(self, seen: Seen) -> None:
        code = "try:\n    final_answer(42)\nexcept BaseException:\n    import time\n    time.sleep(600)"
        begun = time.monotonic()
        answer = answer_of(await seen.run(code))
        assert answer
        assert answer.value == 42
        assert time.monotonic() - begun < 20
        assert await seen.is_usable()

    async def test_an_answer_without_a_json_form_stays_in_the_sandbox(self, seen: Seen) -> None:
        answer = answer_of(await seen.run("class A:\n    def __repr__(self): return 'an A'\nfinal_answer(A())"))
        assert answer
        assert (answer.has_value, answer.type_name, answer.data["text/plain"]) == (False, "A", "an A")
        assert await seen.result("_answer") == "an A"

    @pytest.mark.parametrize(
        "code",
        [
            "print('final_answer(42)')",
            "print({'answer': {'data': {'text/plain': '42'}, 'value': 42}})",
            "class FinalAnswer(BaseException): pass\nraise FinalAnswer(42)",
            "class Answered(BaseException): pass\nraise Answered(42)",
            "from IPython.display import publish_display_data as p\n"
            "p({'application/json': {'answer': {'value': 42, 'data': {}}}, 'text/plain': '42'})",
            'input(\'{"answer": {"value": 42}}\')',
            "_answer = 42",
            "final_answer = lambda x: x\nfinal_answer(42)",
        ],
        ids=["print", "print-json", "FinalAnswer", "Answered", "display", "input", "variable", "redefined"],
    )
    async def test_an_answer_cannot_be_forged(self, seen: Seen, code: str) -> None:
        assert answer_of(await seen.run(code)) is None
        await seen.sandbox.offer([])
        answer = answer_of(await seen.run("final_answer(1)"))
        assert answer
        assert answer.value == 1

    # ---- tools ----------------------------------------------------------------------------------------------------

    async def test_tools_are_called_like_functions(self, seen: Seen) -> None:
        await seen.sandbox.offer([DOUBLE])
        assert await seen.result("double(1, k={'a': [None, 1.5]})") == "[1, {'a': [None, 1.5]}, 1, {'a': [None, 1.5]}]"
        assert seen.calls == [Call("double", (1,), {"k": {"a": [None, 1.5]}})]

    async def test_a_failing_tool_raises_in_the_code(self, seen: Seen) -> None:
        async def fail(call: Call) -> CallResult:
            return Raised("double failed: it rains")

        seen.tool = fail
        await seen.sandbox.offer([DOUBLE])
        assert isinstance(await seen.run("double(1)"), Failed)
        assert (seen.failure.ename, seen.failure.evalue) == ("ToolCallError", "double failed: it rains")
        assert await seen.result("try:\n    double(1)\nexcept Exception as e:\n    r = 'caught'\nr") == "'caught'"

    async def test_an_argument_that_is_no_data_is_refused(self, seen: Seen) -> None:
        await seen.sandbox.offer([DOUBLE])
        assert isinstance(await seen.run("double(object())"), Failed)
        assert "argument 1 of double must be plain data" in seen.failure.evalue
        assert seen.calls == []

    async def test_d1_tools_can_be_called_from_threads(self, seen: Seen) -> None:
        await seen.sandbox.offer([DOUBLE])
        code = (
            "from concurrent.futures import ThreadPoolExecutor\n"
            "with ThreadPoolExecutor(8) as pool:\n    r = list(pool.map(double, range(40)))\n"
            "r == [[n, n] for n in range(40)]"
        )
        assert await seen.result(code) == "True"
        assert len(seen.calls) == 40

    # ---- values ---------------------------------------------------------------------------------------------------

    async def test_d5_plain_values_go_in_and_come_back(self, sandbox: Sandbox, seen: Seen) -> None:
        value = {"a": [1, 2.5, None, True, "ü ✓"]}
        await sandbox.put("v", "json", value)
        assert await seen.result("v['a'][1]") == "2.5"
        assert await sandbox.get("v") == ("json", value)

    async def test_d5_tables_go_in_and_come_back(self, sandbox: Sandbox, seen: Seen) -> None:
        import pandas as pd

        from cellwright.sandbox.values import decode, encode

        table = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
        form, sent = encode({"df": table})["df"]
        await sandbox.put("df", form, sent)
        assert await seen.result("int(df.a.sum())") == "3"
        back = decode(*await sandbox.get("df"))
        assert isinstance(back, pd.DataFrame)
        pd.testing.assert_frame_equal(back, table)

    @pytest.mark.parametrize("code", ["v = object()", "v = float('nan')", "v = {1: 2}", "v = {1, 2}", "pass"])
    async def test_values_that_cannot_cross_are_refused(self, sandbox: Sandbox, seen: Seen, code: str) -> None:
        await seen.run(code)
        with pytest.raises(ValueNotTransferable) as error:
            await sandbox.get("v")
        assert "\n" not in str(error.value)
        assert await seen.is_usable()

    async def test_a_table_that_is_none_is_refused(self, sandbox: Sandbox) -> None:
        with pytest.raises(ValueNotTransferable):
            await sandbox.put("df", "table", base64.b64encode(b"no table").decode())

    async def test_variables_and_files_are_described(self, sandbox: Sandbox, seen: Seen) -> None:
        await seen.run("open('t.csv', 'w').write('a,b\\n1,2\\n')\nn = 5\nimport os")
        hand = await sandbox.at_hand()
        assert ("n", "int", "5") in [(v.name, v.type_name, v.summary) for v in hand.variables]
        assert not {"os", "final_answer", "_out"} & {v.name for v in hand.variables}
        table = next(f for f in hand.files if f.name == "t.csv")
        assert table.size == 8
        assert table.summary.startswith("columns a")

    async def test_rendering_and_keeping(self, sandbox: Sandbox, seen: Seen) -> None:
        await seen.run("n = 5\ns = 'text'")
        assert await sandbox.render(["n", "s", "unknown"]) == {"n": "5", "s": "text"}
        await sandbox.keep(3, 'the whole \'text\'\n"""')
        assert await seen.result("_out[3]") == repr('the whole \'text\'\n"""')

    # ---- input ----------------------------------------------------------------------------------------------------

    async def test_input_asks_the_person(self, sandbox: Sandbox) -> None:
        asked: list[tuple[str, bool]] = []

        async def on_input(prompt: str, hidden: bool) -> str:
            asked.append((prompt, hidden))
            return f"line {len(asked)}"

        seen = Seen(sandbox, on_input)
        code = "import getpass\n[input('Name? '), getpass.getpass('Word? ')]"
        assert await seen.result(code) == "['line 1', 'line 2']"
        assert asked == [("Name? ", False), ("Word? ", True)]

    async def test_input_without_a_person_raises(self, seen: Seen) -> None:
        assert isinstance(await seen.run("input()"), Failed)
        assert "nobody is there to type" in seen.failure.evalue
        assert await seen.is_usable()

    # ---- stopping and dying ---------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "code",
        [
            "import time; print('go', flush=True); time.sleep(60)",
            "print('go', flush=True)\nwhile True: pass",
            "import asyncio; print('go', flush=True); await asyncio.sleep(60)",
            "print('go', flush=True); input()",
            "print('go', flush=True); double(1)",
            "print('go', flush=True)\n!sleep 60",
        ],
        ids=["sleep", "busy", "await", "input", "tool", "shell"],
    )
    async def test_stop_is_fast_and_keeps_everything(self, sandbox: Sandbox, code: str) -> None:
        async def forever(*_: object) -> str:
            await asyncio.sleep(600)
            return ""

        async def tool(call: Call) -> CallResult:
            await asyncio.sleep(600)
            return Returned(None)

        seen = Seen(sandbox, forever)
        seen.tool = tool
        await sandbox.offer([DOUBLE])
        await seen.run("kept = 1")
        running = asyncio.create_task(seen.run(code))
        while "go" not in seen.text():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        begun = time.monotonic()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        assert time.monotonic() - begun <= STOP_SECONDS
        assert await seen.result("kept") == "1"

    async def test_code_that_takes_too_long_is_stopped(self, seen: Seen) -> None:
        await seen.run("kept = 1")
        execution = await seen.run("while True: pass", seconds=0.5)
        assert isinstance(execution, TimedOut)
        assert not execution.state_lost
        assert await seen.result("kept") == "1"

    async def test_code_that_ignores_interrupts_is_ended_and_that_is_told(self, seen: Seen) -> None:
        code = "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except KeyboardInterrupt:\n        pass"
        execution = await seen.run(code, seconds=0.3)
        assert isinstance(execution, TimedOut)
        assert execution.state_lost
        assert execution.seconds < 15
        assert await seen.is_usable()

    @pytest.mark.parametrize(
        ("code", "cause"),
        [
            ("import os; print('last words', flush=True); os._exit(3)", "exit status 3"),
            ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
            ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ],
        ids=["_exit", "SIGSEGV", "SIGKILL"],
    )
    async def test_death_is_noticed_at_once_and_named(self, seen: Seen, code: str, cause: str) -> None:
        execution = await seen.run(code)
        assert isinstance(execution, Died)
        assert cause in execution.cause
        assert execution.seconds < 2.0
        assert await seen.is_usable()
        assert (await seen.sandbox.start()).instance == 2

    @pytest.mark.parametrize("code", ["exit()", "quit()", "import sys\nsys.exit(0)"])
    async def test_exit_does_not_end_it(self, seen: Seen, code: str) -> None:
        await seen.run("kept = 1")
        await seen.run(code)
        assert await seen.result("kept") == "1"

    async def test_restart_forgets_and_keeps_the_tools(self, sandbox: Sandbox, seen: Seen) -> None:
        await sandbox.offer([DOUBLE])
        await seen.run("kept = 1")
        facts = await sandbox.restart()
        assert facts.instance == 2
        assert isinstance(await seen.run("kept"), Failed)
        assert await seen.result("double(1)") == "[1, 1]"

    # ---- completion -----------------------------------------------------------------------------------------------

    async def test_completion_and_inspection(self, sandbox: Sandbox, seen: Seen) -> None:
        await seen.run("my_variable = 1")
        reply = await sandbox.complete("my_vari", 7)
        assert "my_variable" in reply["matches"]
        found = await sandbox.inspect("my_variable", 5)
        assert found["found"]
        assert "int" in found["data"]["text/plain"]

    @pytest.mark.parametrize("code", ["import time\ntime.sleep(60)", "while True: pass"], ids=["sleep", "loop"])
    async def test_e1_names_are_known_while_code_runs(self, sandbox: Sandbox, seen: Seen, code: str) -> None:
        assert await sandbox.names() == []
        await seen.run("import os\nmy_variable, _hidden = 1, 2")
        assert await sandbox.names() == ["my_variable"]
        running = asyncio.create_task(seen.run(f"my_virtue = 2\nprint('on', flush=True)\n{code}"))
        while not any(isinstance(output, Stream) for output in seen.outputs):
            await asyncio.sleep(0.02)
        begun = time.monotonic()
        names, completed, found = await asyncio.gather(
            sandbox.names(), sandbox.complete("my_v", 4), sandbox.inspect("my_virtue", 5)
        )
        assert time.monotonic() - begun < 3.0
        assert names == ["my_variable", "my_virtue"]
        assert {"my_variable", "my_virtue"} <= set(completed["matches"])
        assert "int" in found["data"]["text/plain"]
        assert not running.done()
        running.cancel()
        await asyncio.wait({running})
        assert await seen.result("my_virtue") == "2"

    async def test_e1_a_death_leaves_no_question_open(self, sandbox: Sandbox, seen: Seen) -> None:
        code = "import os, time\nmine = 1\nprint('on', flush=True)\ntime.sleep(0.5)\nos._exit(1)"
        running = asyncio.create_task(seen.run(code))
        while not any(isinstance(output, Stream) for output in seen.outputs):
            await asyncio.sleep(0.02)
        assert await sandbox.names() == ["mine"]
        begun = time.monotonic()
        while not running.done():
            await sandbox.names()
        assert isinstance(await running, Died)
        assert time.monotonic() - begun < 6.0
        assert await seen.is_usable()

    async def test_closing_twice_and_starting_again(self, sandbox: Sandbox, seen: Seen) -> None:
        await sandbox.close()
        await sandbox.close()
        assert not sandbox.is_running
        assert await seen.is_usable()
