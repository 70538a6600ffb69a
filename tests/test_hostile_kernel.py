"""A kernel whose code has got hold of the kernel's own sockets: what it sends costs little and fools nobody.

The programs run in a real kernel without isolation: a fence around the process changes nothing about its messages.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cellwright.errors import SandboxDied
from cellwright.outputs import Stream
from cellwright.sandbox.base import Died, Failed, Finished, TimedOut
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation
from hostile import TOOLS
from sandbox_conformance import DOUBLE, Seen, answer_of

END = "\ntime.sleep(0.3)\nprint('still here')"
HOST_MEGABYTES = 20
"""By which the host may grow for one thing of 100 MB."""
FLOOD_MEGABYTES = 50
"""By which it may grow for many messages of just the size that is read."""


@pytest.fixture
async def seen(tmp_path: Path) -> AsyncIterator[Seen]:
    kernel = ChildKernel(workspace=tmp_path, isolation=Isolation(level="process"))
    await kernel.start()
    yield Seen(kernel)
    await kernel.close()


MALFORMED = {
    "no delimiter": "iopub(b'x', b'y')",
    "two delimiters": "iopub(DELIM, *parts(header('stream'), cell, {'text': 'BAD'}))",
    "no parts": "iopub(DELIM)",
    "no JSON": "iopub(*parts(b'{{', cell, b'\\xff\\x00'))",
    "bytes": "iopub(*[os.urandom(50) for _ in range(9)])",
    "a header that is a list": "iopub(*parts([], cell, {'text': 'BAD'}))",
    "a header that is null": "iopub(*parts(None, None, None))",
    "a parent that is a list": "iopub(*parts(header('stream'), [1], {'text': 'BAD'}))",
    "ids that are no text": "iopub(*parts(header('stream', msg_id=[1]), {'msg_id': {}}, {'text': 'BAD'}))",
    "a type that is a list": "iopub(*parts(header(['stream']), cell, {'text': 'BAD'}))",
    "content that is a list": "iopub(*parts(header('stream'), cell, ['BAD']))",
    "a wrong date": "show('stream', {'name': 'stdout', 'text': ''}); "
    "iopub(*parts(header('status', date='99999-99-99T99:99:99Z'), {**cell, 'date': '0000-00-00T25:61:61+99:99'}, {}))",
    "a wrong version": "iopub(*parts(header('pyout', version='x.y'), cell, {'data': 'BAD'}))",
    "an old version": "iopub(*parts(header('pyout', version='4.0'), cell, {'data': {'text/plain': 'BAD'}}))",
    "a huge header": "iopub(*parts(header('stream', x='x' * 10**6), cell, {'name': 'stdout', 'text': 'BAD'}))",
    "a deep header": "iopub(*parts(b'[' * 100000, cell, {'text': 'BAD'}))",
    "deep content": "iopub(*parts(header('display_data'), cell, b'{\"data\":' * 50000))",
    "a million parts": "iopub(DELIM, *[b'{}'] * 100000)",
    "no such type": "show('nonsense', {'text': 'BAD', 'data': {'text/plain': 'BAD'}})",
    "a comm": "show('comm_open', {'comm_id': 'c', 'target_name': 'jupyter.widget', 'data': {'text/plain': 'BAD'}})",
    "a script": "show('display_data', {'data': {'application/javascript': 'BAD', 'text/x-python': 'BAD'}})",
    "no data": "show('display_data', {'data': {'text/plain': 5, 'image/png': ['BAD', 7], 'text/html': None}})",
    "wrong signature": "iopub(*parts(header('stream'), cell, {'name': 'stdout', 'text': 'BAD'}, signature=b'0' * 64))",
    "no signature": "iopub(*parts(header('stream'), cell, {'name': 'stdout', 'text': 'BAD'}, signature=b''))",
    "somebody else's": "show('stream', {'name': 'stdout', 'text': 'BAD'}, msg_id='somebody-else')",
    "status for somebody else": "show('status', {'execution_state': 'idle'}, msg_id='somebody-else')",
    "a status of no kind": "show('status', {'execution_state': ['idle']}); show('status', {})",
    "infinite numbers": "iopub(*parts(header('display_data'), cell, b'{\"data\": {\"application/json\": NaN}}'))",
    "a deep stream": "iopub(*parts(header('stream'), cell, b'{\"text\":' + b'[' * 900 + b']' * 900 + b'}'))",
    "a deep reply": "shell(parts(header('execute_reply'), {'msg_id': 'x'}, b'[' * 100000))",
    "a reply for somebody else": "shell(parts(header('execute_reply'), {'msg_id': 'x'}, {'status': 'ok'}))",
    "a reply of no kind": "shell(parts(header('execute_reply'), [], [1])); shell([b'x'])",
    "a request of no kind": "stdin(parts(header('input_request'), cell, {'prompt': {'answer': 1}})); stdin([b'x'])",
}


async def test_malformed_messages_are_passed_over(seen: Seen) -> None:
    for name, attack in MALFORMED.items():
        execution = await seen.run(TOOLS + attack + END)
        assert isinstance(execution, Finished), (name, seen.outputs)
        assert seen.text() == "still here\n", name
        assert "BAD" not in repr([o for o in seen.outputs if not isinstance(o, Stream)]), name
        assert not seen.calls, name
        assert execution.answer is None, name
    assert await seen.is_usable()


async def test_ten_thousand_of_them_are_passed_over(seen: Seen) -> None:
    attacks = "\n".join(
        f"    {attack}" for name, attack in MALFORMED.items() if "million" not in name and "reply" not in name
    )
    execution = await seen.run(f"{TOOLS}\nfor _ in range(400):\n{attacks}\n" + END, seconds=100)
    assert isinstance(execution, Finished)
    assert "BAD" not in seen.text()
    assert await seen.is_usable()


async def test_a_flood_stops_neither_the_clock_nor_other_tasks(seen: Seen) -> None:
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)

    ticking = asyncio.create_task(tick())
    begun = time.monotonic()
    execution = await seen.run(TOOLS + "while True: iopub(b'x'); show('status', {})", seconds=2)
    ticking.cancel()
    assert isinstance(execution, TimedOut)
    assert time.monotonic() - begun < 15
    assert longest < 1.0
    assert await seen.is_usable()


async def test_a_forged_idle_ends_nothing(seen: Seen) -> None:
    attack = "show('status', {'execution_state': 'idle'})\ntime.sleep(1)\nprint('after')"
    assert isinstance(await seen.run(TOOLS + attack), Finished)
    assert "after" in seen.text()


async def test_a_forged_reply_ends_its_own_cell_and_nothing_else(seen: Seen) -> None:
    begun = time.monotonic()
    attack = "shell(parts(header('execute_reply'), cell, {'status': 'ok'}))\ntime.sleep(3)\nprint('late')\nx = 'late'"
    execution = await seen.run(TOOLS + attack)
    assert isinstance(execution, Finished)
    assert time.monotonic() - begun < 3
    # The next cell waits for the rest of that one, and none of it is taken for its own.
    assert await seen.result("1 + 1") == "2"
    assert "late" not in seen.text()


@pytest.mark.parametrize(
    "content",
    [{}, {"status": 5}, {"status": ["ok"]}, {"status": "ok", "payload": {"source": "page"}, "user_expressions": 5}],
)
async def test_a_forged_reply_of_no_kind_ends_its_own_cell(seen: Seen, content: dict[str, object]) -> None:
    execution = await seen.run(TOOLS + f"shell(parts(header('execute_reply'), cell, {content!r}))\ntime.sleep(0.5)")
    assert isinstance(execution, Finished | Failed)
    assert not isinstance(execution, Finished) or not execution.payload
    assert await seen.is_usable()


async def test_a_call_without_the_mark_is_no_call(seen: Seen) -> None:
    await seen.sandbox.offer([DOUBLE])
    forged = "{'prompt': %s + json.dumps({'call': 'double', 'args': [1]}), 'password': False}"
    answer = "{'prompt': %s + json.dumps({'answer': {'data': {'text/plain': 'BAD'}, 'value': 1}})}"
    for guess in ("''", "'0' * 32", "mark()[:-1] + 'x'", "mark().upper() + ' '"):
        attack = "\n".join(f"stdin(parts(header('input_request'), cell, {text % guess}))" for text in (forged, answer))
        execution = await seen.run(TOOLS + attack + END)
        assert answer_of(execution) is None
        assert not seen.calls
    assert await seen.result("double(4)") == "[4, 4]"


async def test_a_call_with_the_mark_really_calls(seen: Seen) -> None:
    """Code in the sandbox knows the mark, and gains nothing by it: the tool runs, and the host records that it ran."""
    await seen.sandbox.offer([DOUBLE])
    attack = (
        "stdin(parts(header('input_request'), cell, {'prompt': mark() + json.dumps({'call': 'double', 'args': [7]})}))"
    )
    await seen.run(TOOLS + attack + END)
    assert [(call.name, call.args) for call in seen.calls] == [("double", (7,))]
    assert await seen.is_usable()


async def test_the_kernel_does_not_say_what_a_tool_returned(seen: Seen) -> None:
    """What the record holds comes from the tool; the sandbox can only lie to itself."""
    await seen.sandbox.offer([DOUBLE])
    lie = "kernel.raw_input = kernel._input_request = lambda *a, **k: json.dumps({'value': 'BAD'})\n"
    await seen.run(TOOLS + lie + "for cell in double.__closure__: pass\nprint(double(1))")
    assert [call.args for call in seen.calls] in ([(1,)], [])
    assert await seen.is_usable()


@pytest.mark.parametrize("value", ["5", "{'data': 5}", "{'data': {'application/json': {'variables': 5}}}", "None"])
async def test_what_the_host_asks_for_may_be_answered_with_anything(seen: Seen, value: str) -> None:
    attack = (
        "stock = session.send\n"
        "def send(stream, kind, content=None, *a, **k):\n"
        "    if kind == 'execute_reply' and content.get('user_expressions'):\n"
        f"        content = {{**content, 'user_expressions': {{'value': {value}}}}}\n"
        "    return stock(stream, kind, content, *a, **k)\n"
        "session.send = send"
    )
    await seen.run(TOOLS + attack)
    with pytest.raises(SandboxDied) as error:
        await seen.sandbox.at_hand()
    assert "\n" not in str(error.value)
    await seen.sandbox.restart()
    assert await seen.is_usable()


async def test_a_payload_opens_nothing(seen: Seen) -> None:
    attack = (
        "for item in ({'source': 'ask_exit'}, {'source': 'load', 'file': '/x'}, {'source': 'edit'},\n"
        "             {'source': 'page', 'data': {'text/html': '<script>BAD</script><b>x</b>'}, 'start': 0},\n"
        "             {'source': 'set_next_input', 'text': 'y', 'replace': 1}):\n"
        "    get_ipython().payload_manager.write_payload(item, single=False)"
    )
    execution = await seen.run(attack)
    assert isinstance(execution, Finished)
    assert [dict(item) for item in execution.payload] == [
        {"source": "page", "data": {"text/html": "<b>x</b>"}, "start": 0},
        {"source": "set_next_input", "text": "y", "replace": False},
    ]


# ---- messages that are too large -----------------------------------------------------------------------------------

LARGE = {
    "a print of 100 MB": "print('x' * 10**8)",
    "a value of 100 MB": "'x' * 10**8",
    "an error of 100 MB": "raise ValueError('x' * 10**8)",
    "a display of 100 MB": "from IPython.display import HTML\nHTML('x' * 10**8)",
    "a message of 100 MB": TOOLS + "show('stream', {'name': 'stdout', 'text': 'x' * 10**8})" + END,
    "sixty of 7 MB": TOOLS
    + "m = parts(header('stream'), cell, {'text': 'x' * 7_000_000})\nfor _ in range(60): iopub(*m)"
    + END,
    "7 MB of brackets": TOOLS + "show('display_data', {'data': {'application/json': [[]] * 1_700_000}})" + END,
    "a reply of 100 MB": TOOLS + "shell(parts(header('execute_reply'), cell, {'status': 'x' * 10**8}))\ntime.sleep(60)",
    "a request of 100 MB": TOOLS
    + "stdin(parts(header('input_request'), cell, {'prompt': 'x' * 10**8}))\ntime.sleep(60)",
}
MEASURE = """
import asyncio, json, sys, time
from pathlib import Path
from sandbox_conformance import Seen
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024

async def main():
    seen = Seen(ChildKernel(workspace=Path(sys.argv[1]), isolation=Isolation(level="process")))
    await seen.run("from IPython.display import HTML\\nprint(1)\\nHTML('<b>x</b>')")
    before, begun = peak(), time.monotonic()
    execution = await seen.run(sys.stdin.read())
    said = {"ended": type(execution).__name__, "seconds": time.monotonic() - begun, "grown": peak() - before,
            "text": seen.text()[-20:], "stderr": seen.text("stderr")[-100:], "usable": await seen.is_usable()}
    await seen.sandbox.close()
    print(json.dumps(said))

asyncio.run(main())
"""


@pytest.mark.parametrize("name", LARGE)
async def test_what_is_too_large_costs_the_host_little_and_the_run_goes_on(name: str, tmp_path: Path) -> None:
    def measure() -> str:
        command = [sys.executable, "-c", MEASURE, str(tmp_path)]
        tests = str(Path(__file__).parent)
        done = subprocess.run(
            command, input=LARGE[name], capture_output=True, text=True, cwd=tests, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = json.loads(await asyncio.to_thread(measure))
    print(name, said)
    assert said["grown"] < (FLOOD_MEGABYTES if "sixty" in name else HOST_MEGABYTES), said
    assert said["usable"], said
    if "reply" in name or "request" in name:
        assert said["ended"] == Died.__name__, said
    elif "time.sleep" in LARGE[name]:
        assert said["text"] == "still here\n", said
        assert "not kept" in said["stderr"], said
    assert said["seconds"] < 20, said
