"""Who decides whether an action runs: what is risky, what a person says, what is on record, what can't be lifted."""

from __future__ import annotations

import ast
import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from traitlets.config import Config

from cellwright import CodeAgent, Limits, ScriptedModel, ToolCallingAgent, tool
from cellwright.approval import NOBODY, Approval, Mode, Question, Said, must_ask, stricter
from cellwright.errors import UsageError
from cellwright.facts import ToolUse
from cellwright.risks import risks
from cellwright.sandbox.child import ChildKernel
from cellwright.settings import gather

SAFE = [
    "1 + 1",
    "import math\nprint(math.pi)",
    "import os\nprint(os.listdir())",
    "import os\nprint(os.path.join('a', 'b'), os.getcwd())",
    "xs = [1, 2]\nxs.remove(1)",
    "text.replace('a', 'b').split('/')",
    "'/'.join(parts)",
    "open('out.txt', 'w').write('x')",
    "from pathlib import Path\nPath('a/b.csv').read_text()",
    "import pandas as pd\npd.read_csv('penguins.csv').groupby('species').mean()",
    "df.query('age > 3')",
    "df.eval('a + b')",
    "model.eval()",
    "from urllib.parse import quote\nquote('a b')",
    "import numpy as np\nnp.exp(1)",
    "f'{a}/{b}'",
    "class A:\n    def __init__(self):\n        self.x = 1",
    "if __name__ == '__main__':\n    main()",
    "import json, re, csv, datetime, collections",
    "'... and so on'",
    "a[..., 0]",
    "print('a / b')",
    "search('weather')",
    "final_answer('see notes.txt')",
]
RISKY = [
    ("import socket", "network"),
    ("import requests\nrequests.get(url)", "network"),
    ("from urllib.request import urlopen", "network"),
    ("import urllib.request as u", "network"),
    ("import httpx", "network"),
    ("import http.client", "network"),
    ("import pandas as pd\npd.read_csv('https://example.com/a.csv')", "network"),
    ("import asyncio\nawait asyncio.open_connection('a', 80)", "network"),
    ("requests.post(url, data=secret)", "network"),
    ("open('/etc/passwd').read()", "outside the workspace"),
    ("open('../secret')", "outside the workspace"),
    ("open('data/../../secret')", "outside the workspace"),
    ("open(b'/etc/passwd')", "outside the workspace"),
    ("open(f'/home/{user}/x')", "outside the workspace"),
    ("open(f'{folder}/../x')", "outside the workspace"),
    ("import os\nos.path.expanduser(p)", "outside the workspace"),
    ("from pathlib import Path\nPath.home()", "outside the workspace"),
    ("Path('~/.ssh/id_rsa')", "outside the workspace"),
    ("Path.cwd().parent.iterdir()", "outside the workspace"),
    ("open(r'C:\\Users\\me\\x')", "outside the workspace"),
    ("import os\nos.listdir('/')", "outside the workspace"),
    ("open('/' + name)", "outside the workspace"),
    ("import os\nos.remove('a')", "deletion"),
    ("os.remove('a')", "deletion"),
    ("import os as o\no.unlink('a')", "deletion"),
    ("from os import remove as r\nr('a')", "deletion"),
    ("f = os.remove", "deletion"),
    ("import shutil\nshutil.rmtree('a')", "deletion"),
    ("Path('a').unlink()", "deletion"),
    ("Path('a').rmdir()", "deletion"),
    ("import pandas as pd\npd.io.common.os.remove('a')", "deletion"),
    ("def clean():\n    os.unlink('a')", "deletion"),
    ("import subprocess\nsubprocess.run(['ls'])", "other programs"),
    ("from subprocess import run", "other programs"),
    ("import os\nos.system('ls')", "other programs"),
    ("os.execv('a', [])", "other programs"),
    ("os.popen('ls')", "other programs"),
    ("await asyncio.create_subprocess_shell('ls')", "other programs"),
    ("!ls", "other programs"),
    ("files = !ls", "other programs"),
    ("x = 1\n  !rm a", "other programs"),
    ("%%bash\nls", "other programs"),
    ("!pip install x", "other programs"),
    ("!pip install x", "installs"),
    ("%pip install x", "installs"),
    ("%conda install x", "installs"),
    ("import pip", "installs"),
    ("subprocess.run(['pip', 'install', 'x'])", "installs"),
    ("import os\nos.system('pip3 install x')", "installs"),
    ("exec('1')", "unclear"),
    ("eval(text)", "unclear"),
    ("__import__('os')", "unclear"),
    ("import importlib\nimportlib.import_module('os')", "unclear"),
    ("getattr(os, 'rem' + 'ove')('a')", "unclear"),
    ("import os as o", "unclear"),
    ("o = os", "unclear"),
    ("from shutil import os", "unclear"),
    ("from os import *", "unclear"),
    ("import sys\nsys.modules['os']", "unclear"),
    ("().__class__.__subclasses__()", "unclear"),
    ("import ctypes", "unclear"),
    ("import pickle\npickle.loads(raw)", "unclear"),
    ("df.query('@pd.io.common.os.popen(1)')", "unclear"),
    ("get_ipython().system('ls')", "unclear"),
    ("globals()['x']", "unclear"),
    ("rm -r *x", "unclear"),
    ("%run x.py", "unclear"),
    ("%matplotlib inline", "unclear"),
    ("ls?", "unclear"),
    ("x = (1,", "unclear"),
    ("a\0b", "unclear"),
    ("send_mail('a')", "risky tool"),
    ("f = send_mail", "risky tool"),
]


@pytest.mark.parametrize("code", SAFE)
def test_e5_nothing_speaks_against(code: str) -> None:
    assert risks(code, tools=["send_mail"]) == ()


@pytest.mark.parametrize(("code", "kind"), RISKY)
def test_e5_the_reason_is_named(code: str, kind: str) -> None:
    assert kind in [risk.kind for risk in risks(code, tools=["send_mail"])]


def test_e5_no_network_no_reason_and_the_workspace_is_inside() -> None:
    assert risks("import requests\nrequests.get('https://a.example')", network=False) == ()
    assert risks("open('/data/here/a.csv')", workspace="/data/here") == ()
    for path in ("/data/here/../a", "/data/hereby/a", "/data"):
        assert risks(f"open({path!r})", workspace="/data/here")


@given(st.text())
@example("(" * 5000)
@example("-" * 20_000 + "1")
@example("1\r\n\x00")
@example("!" * 100)
@example("\ud800")
def test_e5_no_text_breaks_it_and_what_is_no_python_is_asked(code: str) -> None:
    found = risks(code)
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        assert found


@given(
    st.sampled_from(RISKY), st.sampled_from(["if a:\n{}", "def f():\n{}", "try:\n{}\nexcept E:\n pass", "class A:\n{}"])
)
def test_e5_it_is_found_inside_of_other_code(case: tuple[str, str], frame: str) -> None:
    code, _ = case
    inside = frame.format("\n".join(f"    {line}" for line in code.splitlines()))
    assert risks(inside, tools=["send_mail"]) or code == "rm -r *x", inside


def test_e5_the_modes() -> None:
    risk = risks("import socket")
    assert [must_ask(mode, risk) for mode in ("auto", "ask-risky", "ask")] == [False, True, True]
    assert [must_ask(mode, ()) for mode in ("auto", "ask-risky", "ask")] == [False, False, True]
    assert stricter("ask-risky", "auto") == stricter("auto", "ask-risky") == "ask-risky"


# ---- settings -------------------------------------------------------------------------------------------------------


@pytest.fixture
def environment() -> Iterator[Callable[[str, str], None]]:
    """Sets a variable for the time of the test."""
    before = dict(os.environ)
    yield os.environ.__setitem__
    os.environ.clear()
    os.environ.update(before)


def test_e5_flag_environment_and_config_say_the_mode(environment: Callable[[str, str], None]) -> None:
    config = Config({"Cellwright": {"approve": "ask"}})
    assert gather().approve == "auto"
    assert gather(config=config).approve == "ask"
    environment("CELLWRIGHT_APPROVE", "ask-risky")
    assert gather(config=config).approve == "ask-risky"
    assert gather({"approve": "auto"}, config).approve == "auto"
    with pytest.raises(UsageError, match="--approve: approve must be one of auto, ask-risky, ask, not 'never'"):
        gather({"approve": "never"})


@pytest.mark.parametrize("place", ["environment", "config", "earlier"])
def test_e5_what_an_administrator_wants_cannot_be_lifted(place: str, environment: Callable[[str, str], None]) -> None:
    config = Config({"Cellwright": {"approve": "auto"}})
    least: Mode = "auto"
    if place == "environment":
        environment("CELLWRIGHT_APPROVE_MIN", "ask-risky")
    elif place == "config":
        config.Cellwright.approve_min = "ask-risky"
        environment("CELLWRIGHT_APPROVE_MIN", "auto")  # the strictest place holds, not the last
    else:
        least = "ask-risky"
    environment("CELLWRIGHT_APPROVE", "auto")
    settings = gather({"approve_min": "auto"}, config, least=least)
    assert (settings.approve, settings.approve_min) == ("ask-risky", "ask-risky")
    assert gather({"approve": "ask"}, config, least=least).approve == "ask"
    with pytest.raises(UsageError, match="an administrator wants at least ask-risky") as refused:
        gather({"approve": "auto"}, config, least=least)
    assert "\n" not in str(refused.value)


# ---- in the loop ----------------------------------------------------------------------------------------------------


def reply(code: str) -> str:
    return f"Go.\n```python\n{code}\n```"


class Person:
    """Says what stands in the script, and remembers what was asked."""

    def __init__(self, *script: Said, seconds: float = 0.0) -> None:
        self.script = list(script)
        self.seconds = seconds
        self.asked: list[Question] = []

    async def __call__(self, question: Question) -> Said:
        self.asked.append(question)
        await asyncio.sleep(self.seconds)
        return self.script.pop(0)


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[ChildKernel]:
    kernel = ChildKernel(workspace=tmp_path)
    yield kernel
    await kernel.close()


Asks = Callable[..., CodeAgent]


@pytest.fixture
def asks(sandbox: ChildKernel) -> Asks:
    def make(approval: Approval, *replies: str, **options: object) -> CodeAgent:
        return CodeAgent(
            ScriptedModel(*map(reply, replies)),
            sandbox=sandbox,
            journal=None,
            approve=approval,
            **options,  # type: ignore[arg-type]
        )

    return make


async def test_e5_run_edit_deny_and_what_is_on_record(asks: Asks, tmp_path: Path) -> None:
    person = Person(Said("run"), Said("edit", "x = 3"), Said("deny", "use x"), Said("run"))
    agent = asks(Approval("ask", person), "x = 1", "x = 2", "open('a', 'w').write('1')", "final_answer(x)")
    run = await agent.run("Go.")
    decided = [(step.decided.verdict, step.decided.by) for step in run.steps if step.decided]
    assert decided == [("approved", "person"), ("edited", "person"), ("denied", "person"), ("approved", "person")]
    assert run.answer == 3, "the edited code ran"
    assert not (tmp_path / "a").exists(), "the denied code did not"
    assert run.steps[1].code == "x = 3"
    model = agent.model
    assert isinstance(model, ScriptedModel)
    assert "The user changed the code before it ran. This ran:\n```python\nx = 3\n```" in model.asked[2][-1].content
    assert model.asked[3][-1].content == "Observation:\nNot run: the user said no: use x"
    assert [question.step for question in person.asked] == [1, 2, 3, 4]
    assert [question.code for question in person.asked][:2] == ["x = 1", "x = 2"]


async def test_e5_only_what_is_risky_is_asked_with_its_reason(asks: Asks) -> None:
    person = Person(Said("deny"))
    run = await asks(Approval("ask-risky", person), "x = 1", "import os; os.remove('a')", "final_answer(x)").run("Go.")
    assert [question.why for question in person.asked] == ["deletion: os.remove"]
    by = [step.decided.by for step in run.steps if step.decided]
    assert by == ["ask-risky", "person", "ask-risky"]


async def test_e5_all_that_follow_and_all_that_look_alike(asks: Asks) -> None:
    removes = ["import os; os.path.exists('a') and os.remove('a')", "import os; os.path.exists('b') and os.remove('b')"]
    person = Person(Said("alike"), Said("all"))
    agent = asks(Approval("ask-risky", person), *removes, "import subprocess", "exec('1')", "final_answer(1)")
    run = await agent.run("Go.")
    assert run.answer == 1
    assert [question.step for question in person.asked] == [1, 3]
    assert [step.decided.reason for step in run.steps if step.decided and step.decided.by == "person"] == [
        "All that look like this may run, too.",
        "All that look like this may run.",
        "All that follow may run, too.",
        "All that follow may run.",
    ]


async def test_e5_what_cannot_be_judged_is_like_nothing(asks: Asks) -> None:
    person = Person(Said("alike"), Said("run"))
    await asks(Approval("ask-risky", person), "exec('x = 1')", "exec('x = 2')", "final_answer(1)").run("Go.")
    assert [question.can_allow_alike for question in person.asked] == [False, False]


async def test_e5_an_administrators_least_is_not_lifted_by_allowing(asks: Asks) -> None:
    person = Person(Said("all"), Said("alike"), Said("run"))
    approval = Approval("auto", person, least="ask-risky")
    assert approval.mode == "ask-risky"
    approval.set("auto", "ask-risky")
    await asks(approval, "import socket; 1", "import socket; 2", "import socket; 3", "final_answer(1)").run("Go.")
    assert not any(question.can_allow for question in person.asked)


@pytest.mark.parametrize("mode", ["ask", "ask-risky"])
async def test_e5_where_nobody_can_be_asked_the_mode_decides_and_says_so(asks: Asks, mode: Mode) -> None:
    agent = asks(Approval(mode), "import subprocess", "final_answer(1)", limits=Limits(steps=2))
    run = await agent.run("Go.")
    decided = run.steps[0].decided
    assert decided
    assert (decided.verdict, decided.by) == ("denied", mode)
    assert NOBODY in decided.reason
    assert "other programs: subprocess" in decided.reason
    assert [step.outcome for step in run.steps][:2] == ["denied", "denied" if mode == "ask" else "ok"]


async def test_e5_a_stop_while_asking_ends_the_run_at_once(asks: Asks) -> None:
    agent = asks(Approval("ask", Person(Said("run"), seconds=600)), "x = 1")
    await agent.sandbox.start()
    doing = asyncio.create_task(agent.run("Go."))
    while not (agent._work and agent._work.run.steps and agent._work.run.steps[-1].proposed):
        await asyncio.sleep(0.01)
    begun = time.monotonic()
    agent.stop()
    run = await doing
    assert time.monotonic() - begun < 0.5
    assert run.status == "interrupted"
    assert run.steps[0].outcome is None
    assert run.steps[0].decided is None
    agent.approve = None
    assert isinstance(agent.model, ScriptedModel)
    agent.model.replies = (reply("final_answer(2)"),)
    assert (await agent.run("Again.")).answer == 2


async def test_e5_the_time_a_person_takes_does_not_count(asks: Asks) -> None:
    person = Person(Said("run"), Said("run"), seconds=1.5)
    agent = asks(Approval("ask", person), "x = 1", "final_answer(x)", limits=Limits(seconds=2.5))
    await agent.sandbox.start()
    begun = time.monotonic()
    run = await agent.run("Go.")
    assert time.monotonic() - begun > 3
    assert (run.status, run.answer) == ("success", 1)


async def test_e5_an_agent_that_is_called_is_no_way_around(sandbox: ChildKernel, tmp_path: Path) -> None:
    person = Person(Said("run"), Said("deny", "no"), Said("run"))
    (tmp_path / "inner").mkdir()
    inner = CodeAgent(
        ScriptedModel(reply("open('a', 'w').write('1')"), reply("final_answer(1)")),
        sandbox=ChildKernel(workspace=tmp_path / "inner"),
        journal=None,
        name="helper",
        description="Helps.",
        limits=Limits(steps=2),
    )
    code = "final_answer(helper(task='Help.'))"
    outer = CodeAgent(
        ScriptedModel(reply(code)),
        sandbox=sandbox,
        journal=None,
        managed_agents=[inner],
        approve=Approval("ask", person),
    )
    run = await outer.run("Go.")
    await inner.aclose()
    assert run.status == "success", run.reason
    assert [(question.agent, question.code) for question in person.asked] == [
        ("", code),
        ("helper", "open('a', 'w').write('1')"),
        ("helper", "final_answer(1)"),
    ]
    assert not (tmp_path / "inner" / "a").exists()


async def test_e5_function_calls_are_approved_together_and_never_edited() -> None:
    done: list[str] = []

    @tool
    def send(to: str) -> str:
        """Send it.

        Args:
            to: whom
        """
        done.append(to)
        return "sent"

    send.risky = True
    calls = [ToolUse("1", "send", '{"to": "a"}'), ToolUse("2", "send", '{"to": "b"}')]
    person = Person(Said("deny", "only to a"), Said("edit", "send(to='c')"))
    final = [ToolUse("3", "final_answer", '{"answer": 1}')]
    model = ScriptedModel(calls, calls, final)
    agent = ToolCallingAgent(model, tools=[send], journal=None, approve=Approval("ask-risky", person))
    run = await agent.run("Send.")
    assert run.answer == 1
    first = person.asked[0]
    assert (first.why, first.can_edit) == ("risky tool: send", False)
    assert first.code.count("send(") == 2
    assert "Not run: the user said no: only to a" in "".join(message.content for message in model.asked[1])
    assert done == ["a", "b"], "what was asked is what is called"


async def test_e5_an_approver_of_ones_own(asks: Asks) -> None:
    from cellwright.approval import Decision

    async def two_eyes(code: str, reasons: object, work: object) -> Decision:
        return Decision("approved", code, "two_eyes", "looked at")

    agent = asks(two_eyes, "final_answer(1)")
    run = await agent.run("Go.")
    assert run.steps[0].decided
    assert (run.steps[0].decided.by, run.steps[0].decided.reason) == ("two_eyes", "looked at")


async def test_e5_an_own_approver_cannot_edit_function_calls() -> None:
    from cellwright.approval import Decision

    async def changes(code: str, reasons: object, work: object) -> Decision:
        return Decision("edited", "other()", "changes")

    model = ScriptedModel([ToolUse("1", "final_answer", '{"answer": 1}')])
    run = await ToolCallingAgent(model, journal=None, approve=changes).run("Go.")
    assert run.status == "failed"
    assert issubclass(UsageError, Exception)
    assert "can't be edited" in run.reason
