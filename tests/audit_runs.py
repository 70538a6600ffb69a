"""Runs made by hand, for tests of the audit notebook: a short one, one of each thing, one that was gone back in."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cellwright.events import (
    ActionDecided,
    ActionFinished,
    ActionProposed,
    AnswerGiven,
    Compacted,
    Event,
    InputGiven,
    NoAction,
    Outcome,
    Output,
    Planned,
    ReplyReceived,
    RunEnded,
    RunResumed,
    RunStarted,
    Status,
    Told,
    ToolCalled,
    ValuePut,
)
from cellwright.facts import FileFacts, SandboxFacts, ToolFacts, Totals, Usage
from cellwright.outputs import CellOutput, Display, Failure, Json, Stream
from cellwright.run import Run

PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
        "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
    )
).decode()
SANDBOX = SandboxFacts("child-kernel", "process", "host", "python3", "3.11.7", "work", packages={"pandas": "3.1.1"})
SANDBOX_2 = replace(SANDBOX, instance=2)
SEARCH = ToolFacts(
    name="search",
    description='Search the catalogue. Really?\n%%bash\n!echo """it\'s""" CALLS TOOLS \\',
    parameters={"type": "object", "properties": {"query": {"type": "string"}}},
    signature="search(query: str, limit: int = 10) -> list[str]",
)


def a_run(task: str, *steps: Sequence[Event], run_id: str = "run-1", time: float = 1.8e9, **more: Any) -> Run:
    """A run of these steps, numbered as the loop would do it."""
    status: Status = more.pop("status", "success")
    reason: str = more.pop("reason", "")
    values: Sequence[Event] = more.pop("values", ())
    conversation: str = more.pop("conversation", "talk-1")
    more = {"model": "anthropic/claude-sonnet-4-5", "sandbox": SANDBOX, "version": "0.1.0", **more}
    body = [event for step in steps for event in step]
    replies = [event for event in body if isinstance(event, ReplyReceived)]
    usage = Usage()
    for reply in replies:
        usage += reply.usage
    totals = Totals(len(replies), 1.5 * len(replies), usage, 0.001 * len(replies))
    listed: list[Event] = [
        RunStarted(run_id=run_id, conversation=conversation, task=task, **more),
        *values,
        *body,
        RunEnded(status=status, reason=reason, totals=totals),
    ]
    return Run(replace(event, seq=seq, time=time + seq / 8) for seq, event in enumerate(listed))


def a_step(
    number: int,
    thought: str,
    code: str,
    *outputs: CellOutput,
    outcome: Outcome = "ok",
    note: str = "",
    calls: Sequence[ToolCalled] = (),
    answer: AnswerGiven | None = None,
    state_lost: bool = False,
) -> list[Event]:
    text = f"{thought}\n```python\n{code}\n```"
    return [
        ReplyReceived(
            step=number,
            text=text,
            usage=Usage(900, 60, cached=800),
            cost=0.001,
            seconds=1.2,
            model="claude-x",
            cut=True,
        ),
        ActionProposed(step=number, thought=thought, code=code),
        ActionDecided(step=number, verdict="approved", by="auto", code=code),
        *(Output(step=number, output=output) for output in outputs),
        *calls,
        *([answer] if answer else []),
        ActionFinished(step=number, outcome=outcome, seconds=0.1, note=note, state_lost=state_lost),
    ]


def an_answer(step: int, value: Json, text: str | None = None, **data: Json) -> AnswerGiven:
    bundle = {"text/plain": repr(value) if text is None else text, **data}
    return AnswerGiven(step=step, data=bundle, value=value, has_value=True, type_name=type(value).__name__)


def a_call(step: int, *args: Json, result: Json = None, error: str | None = None, **kwargs: Json) -> ToolCalled:
    return ToolCalled(step=step, name="search", args=args, kwargs=kwargs, result=result, error=error)


def by_hand(code: str, *outputs: CellOutput, run_id: str, time: float) -> Run:
    events: list[Event] = [
        ActionDecided(step=1, verdict="approved", by="person", code=code),
        *(Output(step=1, output=output) for output in outputs),
        ActionFinished(step=1, outcome="ok", seconds=0.1),
    ]
    return a_run(code, events, run_id=run_id, time=time, author="person", model="")


def error_step(number: int) -> list[Event]:
    failure = Failure("ZeroDivisionError", "division by zero", ("Traceback", "ZeroDivisionError: division by zero"), 2)
    return a_step(number, "Divide.", "print('before')\n1 / 0", Stream("stdout", "before\n"), failure, outcome="error")


def short() -> list[Run]:
    """One task, one error, one answer."""
    last = a_step(2, "Answer then.", "final_answer(6 * 7)\nprint('never')", answer=an_answer(2, 42))
    return [a_run("What is six times seven?", error_step(1), last)]


ARROW = (
    "/////wADAAAQAAAAAAAKAA4ABgAFAAgACgAAAAABBAAQAAAAAAAKAAwAAAAEAAgACgAAAFgCAAAEAAAAAQAAAAwAAAAIAAwABAAIAAgAAAAwAgAA"
    "BAAAACECAAB7ImluZGV4X2NvbHVtbnMiOiBbeyJraW5kIjogInJhbmdlIiwgIm5hbWUiOiBudWxsLCAic3RhcnQiOiAwLCAic3RvcCI6IDIsICJz"
    "dGVwIjogMX1dLCAiY29sdW1uX2luZGV4ZXMiOiBbeyJuYW1lIjogbnVsbCwgImZpZWxkX25hbWUiOiBudWxsLCAicGFuZGFzX3R5cGUiOiAidW5p"
    "Y29kZSIsICJudW1weV90eXBlIjogInN0ciIsICJtZXRhZGF0YSI6IHsiZW5jb2RpbmciOiAiVVRGLTgifX1dLCAiY29sdW1ucyI6IFt7Im5hbWUi"
    "OiAibmFtZSIsICJmaWVsZF9uYW1lIjogIm5hbWUiLCAicGFuZGFzX3R5cGUiOiAib2JqZWN0IiwgIm51bXB5X3R5cGUiOiAic3RyIiwgIm1ldGFk"
    "YXRhIjogbnVsbH0sIHsibmFtZSI6ICJhZ2UiLCAiZmllbGRfbmFtZSI6ICJhZ2UiLCAicGFuZGFzX3R5cGUiOiAiaW50NjQiLCAibnVtcHlfdHlw"
    "ZSI6ICJpbnQ2NCIsICJtZXRhZGF0YSI6IG51bGx9XSwgImF0dHJpYnV0ZXMiOiB7fSwgImNyZWF0b3IiOiB7ImxpYnJhcnkiOiAicHlhcnJvdyIs"
    "ICJ2ZXJzaW9uIjogIjI2LjAuMSJ9LCAicGFuZGFzX3ZlcnNpb24iOiAiMy4xLjEifQAAAAYAAABwYW5kYXMAAAIAAABMAAAABAAAAMz///8AAAEC"
    "EAAAABwAAAAEAAAAAAAAAAMAAABhZ2UACAAMAAgABwAIAAAAAAAAAUAAAAAQABQACAAGAAcADAAAABAAEAAAAAAAARQQAAAAHAAAAAQAAAAAAAAA"
    "BAAAAG5hbWUAAAAABAAEAAQAAAD/////yAAAABQAAAAAAAAADAAWAAYABQAIAAwADAAAAAADBAAYAAAAMAAAAAAAAAAAAAoAGAAMAAQACAAKAAAA"
    "bAAAABAAAAACAAAAAAAAAAAAAAAFAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAGAAAAAAAAAAYAAAAAAAAAAcAAAAAAAAAIAAAAAAAAAAAAAAA"
    "AAAAACAAAAAAAAAAEAAAAAAAAAAAAAAAAgAAAAIAAAAAAAAAAAAAAAAAAAACAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAADAAAAAAAAAAcAAAAAAAAA"
    "QWRhWm/DqwAkAAAAAAAAACkAAAAAAAAA/////wAAAAA="
)
"""The table `people`, as an Arrow stream; its bytes differ from version to version of pyarrow."""
TABLE_CODE = "top = people.nlargest(1, 'age')\nprint(len(people), settings['größe'])\ntop"
TABLE_SHOWN = Display(
    {"text/plain": "  name  age\n1  Zoë   41", "text/html": "<table><tr><td>Zoë</td></tr></table>"}, is_result=True
)


def table_shown_here() -> CellOutput:
    """What `TABLE_CODE` shows with the pandas that is installed."""
    import pandas as pd

    top = pd.DataFrame({"name": ["Ada", "Zoë"], "age": [36, 41]}).nlargest(1, "age")
    return Display({"text/plain": repr(top), "text/html": top._repr_html_()}, is_result=True)  # type: ignore[operator]


def rich(table_shown: CellOutput = TABLE_SHOWN) -> list[Run]:
    """A conversation with about everything in it: values, tools, pictures, a person's cell, a dead sandbox."""
    values = [
        ValuePut(name="people", form="table", value=ARROW),
        ValuePut(
            name="settings", form="json", value={"größe": 1.5, "names": ["a", None, True], "text": "''' \\ \"\"\""}
        ),
    ]
    picture = f"from IPython.display import Image\nimport base64\nImage(base64.b64decode('{PNG}'))"
    tools = "\n".join(
        [
            "found = [search('x', limit=2), search('x', limit=2)]",
            "try:",
            "    search('y')",
            "except RuntimeError as error:",
            "    found.append(str(error))",
            "found",
        ]
    )
    calls = [
        a_call(3, "x", limit=2, result=["ü", '"""']),
        a_call(3, "x", limit=2, result=[]),
        a_call(3, "y", error="The catalogue is closed."),
    ]
    found = Display({"text/plain": "[['ü', '\"\"\"'], [], 'The catalogue is closed.']"}, is_result=True)
    in_try = (
        "try:\n    if found:\n        final_answer({'oldest': 'Zoë'})\n"
        "except Exception:\n    print('caught')\nprint('never')"
    )
    first = a_run(
        "Who is oldest? | ``` <b>Markup</b>\nTwo lines.",
        a_step(1, "Look at the *table*.", TABLE_CODE, Stream("stdout", "2 1.5\n"), table_shown),
        a_step(
            2,
            "Draw.",
            picture,
            Display({"image/png": PNG, "text/plain": "<IPython.core.display.Image object>"}, is_result=True),
        ),
        a_step(3, "Use the tool.", tools, found, calls=calls),
        a_step(4, "", in_try, answer=an_answer(4, {"oldest": "Zoë"})),
        values=values,
        tools=(SEARCH,),
    )
    human = by_hand(
        "found = 7\nprint('by hand', len(people))", Stream("stdout", "by hand 2\n"), run_id="run-2", time=1.8e9 + 60
    )
    denied = [
        *a_step(1, "Remove.", "import shutil\nshutil.rmtree('/')")[:2],
        ActionDecided(
            step=1, verdict="denied", by="ask-risky", code="import shutil\nshutil.rmtree('/')", reason="It deletes."
        ),
        ActionFinished(step=1, outcome="denied", seconds=0.0, note="It deletes."),
    ]
    silent: list[Event] = [
        ReplyReceived(step=2, text="I would rather talk.", usage=Usage(900, 60), cost=None, seconds=1.0),
        NoAction(step=2, note="Your reply had no Python code block, so nothing was run."),
    ]
    second = a_run(
        "And now?",
        denied,
        silent,
        a_step(
            3,
            "Crash.",
            "import os\nprint('```')\nos._exit(1)",
            Stream("stdout", "```\n"),
            calls=[a_call(3, "z", result=1)],
            outcome="died",
            state_lost=True,
            note="It ended by itself (exit status 1).",
        ),
        a_step(
            4,
            "See what is left.",
            "print('found' in globals(), 'people' in globals())\nexit()",
            Stream("stdout", "False False\n"),
            Stream("stderr", "The sandbox stays. Call final_answer(value) to end the task.\n"),
        ),
        a_step(
            5,
            "Wait and answer.",
            "import asyncio\nawait asyncio.sleep(0.01)\nfinal_answer(None)",
            answer=an_answer(5, None),
        ),
        run_id="run-3",
        time=1.8e9 + 120,
        tools=(SEARCH,),
    )
    return [first, human, second]


def back() -> list[Run]:
    """A conversation that was gone back in: a crash, a resumed run, an agent that was called, a branch, an undo."""
    files = (FileFacts("data/people.csv", 1234, "ab" * 32),)
    plan = Planned(step=1, text="1. Ask.\n2. Answer.", usage=Usage(500, 30, reasoning=10), cost=0.002, seconds=2.0)
    asked = a_step(
        1, "Ask for the name.", "name = input('Name? ')\nprint('Hello', name)", Stream("stdout", "Hello Ada\n")
    )
    asked.insert(3, InputGiven(step=1, prompt="Name? ", value="Ada"))
    asked.insert(0, plan)
    killed = a_step(
        2, "Wait.", "import time\ntime.sleep(1000)", outcome="interrupted", note="It is not repeated by itself."
    )
    killed.insert(
        -1, RunResumed(step=2, note="1 action was run again, with the recorded results of tools.", sandbox=SANDBOX_2)
    )
    helped = a_step(
        3,
        "Let the helper count.",
        "count = helper('Count the people.')\nprint(count)",
        Stream("stdout", "2\n"),
        calls=[ToolCalled(step=3, name="helper", args=("Count the people.",), kwargs={}, result=2)],
    )
    edited = a_step(4, "Double it.", "x = 1\ncount = 2 * count\nfinal_answer(count)", answer=an_answer(4, 4))
    edited[1] = ActionProposed(step=4, thought="Double it.", code="x = 1\ncount = 3 * count\nfinal_answer(count)")
    edited[2] = ActionDecided(
        step=4, verdict="edited", by="person", code="x = 1\ncount = 2 * count\nfinal_answer(count)", reason="Twice."
    )
    shortened = Compacted(step=4, kept=2, characters=12345)
    parent = a_run("Greet, then count. | Twice.", asked, killed, helped, [shortened, *edited], files=files)
    helper = a_run(
        "Count the people.",
        a_step(1, "Count.", "final_answer(2)", answer=an_answer(1, 2)),
        run_id="run-2",
        time=parent.steps[1].finished.time + 0.01 if parent.steps[1].finished else 0,
        conversation="talk-of-helper",
        caller="run-1",
    )
    told = Told(step=4, text="Halve it instead.", by="person")
    rebuilt = RunResumed(step=3, note="2 actions were run again, with the recorded results of tools.")
    branch = a_run(
        parent.task,
        [rebuilt, told, *a_step(4, "Halve it.", "final_answer(count / 2)", answer=an_answer(4, 1.0))],
        run_id="run-3",
        time=1.8e9 + 60,
        parent="run-1",
        parent_step=3,
        sandbox=SANDBOX_2,
    )
    lost = by_hand("count = 0", run_id="run-4", time=1.8e9 + 80)
    undone = a_run(
        "undo 1",
        [RunResumed(step=4, note="3 actions were run again. Not taken back: what tools did outside of the sandbox.")],
        run_id="run-5",
        time=1.8e9 + 90,
        author="person",
        model="",
        parent="run-3",
        parent_step=4,
    )
    last = a_run(
        "And the name?", a_step(1, "It is known.", "final_answer(name)", answer=an_answer(1, "Ada")), run_id="run-6",
        time=1.8e9 + 120,
    )  # fmt: skip
    return [parent, helper, branch, lost, undone, last]


GOLDENS: dict[str, Callable[[], list[Run]]] = {"short": short, "rich": rich, "back": back}
