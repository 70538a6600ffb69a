"""`%agent` and `%%agent` in a plain python3 kernel, as a person's own notebook has it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from fake_provider import FakeProvider
from notebook import WIDGET, Notebook, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def book(provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Notebook]:
    folder, base = tmp_path_factory.mktemp("book"), provider.base_url
    async with opened(
        "ipykernel_launcher", folder, interrupt="signal", OPENAI_API_BASE=base, OPENAI_BASE_URL=base
    ) as notebook:
        for _ in range(2):  # loading twice changes nothing
            assert (await notebook.run("%load_ext cellwright")).is_ok
        yield notebook


async def test_e2_a_task_is_shown_and_answered(book: Notebook) -> None:
    cell = await book.run("%%agent\npy: final_answer(6 * 7)")
    assert cell.is_ok, cell.reply
    (live,) = cell.of("display_data")
    (twin,) = cell.of("update_display_data")
    assert WIDGET in live["data"]
    assert WIDGET not in twin["data"]
    assert cell.result == "42"
    number = cell.of("execute_result")[0]["execution_count"]
    assert (await book.run("_ + 1")).result == "43"
    assert (await book.run(f"Out[{number}], _{number}, _, __")).result == "(42, 42, 43, 42)"


async def test_e2_a_table_goes_in_and_comes_back(book: Notebook) -> None:
    await book.run("import pandas as pd\ndf = pd.DataFrame({'a': [1, 2, 3]})")
    cell = await book.run("%%agent --in df --out result\npy: final_answer(df * 2)")
    assert cell.is_ok, cell.reply
    assert (await book.run("type(result).__name__, result['a'].tolist()")).result == "('DataFrame', [2, 4, 6])"


async def test_e2_a_table_is_the_cells_value(book: Notebook) -> None:
    code = "import pandas as pd\nfinal_answer(pd.DataFrame({'a': [1, 2]}))"
    cell = await book.run(f"%%agent\npy: {code}")
    assert "<table" in cell.of("execute_result")[0]["data"]["text/html"]
    assert (await book.run("_['a'].sum()")).result in ("3", "np.int64(3)")


async def test_e2_the_run_is_at_hand(book: Notebook) -> None:
    await book.run("%%agent\npy: final_answer(6)")
    assert (await book.run("_run.status, _run.answer, len(_run.steps), _run.steps[0].code")).result == (
        "('success', 6, 1, 'final_answer(6)')"
    )
    # What can't leave the sandbox is the run, which shows it.
    await book.run("%%agent\npy: import re\nfinal_answer(re.compile('x+'))")
    assert (await book.run("_ is _run, _")).result == "(True, re.compile(r'x+', re.UNICODE))"
    assert not (await book.run("%%agent --max-steps 1\npy: print('no answer')")).is_ok
    assert (await book.run("_run.status")).result == "'out_of_steps'"


async def test_e2_cells_of_the_notebook_go_along_when_they_are_asked_for(
    book: Notebook, provider: FakeProvider
) -> None:
    await book.run("secret_plan = 'older'")
    await book.run("print('counted')\n6 * 7")
    await book.run("1 / 0")
    await book.run("%%agent --context 2 --new\npy: final_answer(1)")
    told = provider.requests[-1]["messages"][-1]["content"]
    at = [told.index(text) for text in ("Task: ", "print('counted')\n6 * 7", "counted\n42", "1 / 0", "ZeroDivision")]
    assert at == sorted(at)
    assert "older" not in told
    assert "--context" not in told
    # It is on record, and only there where it was asked for.
    assert (await book.run("'counted' in _run.started.context, 'counted' in _run.task")).result == "(True, False)"
    await book.run("%%agent --new\npy: final_answer(2)")
    assert "counted" not in provider.requests[-1]["messages"][-1]["content"]


async def test_e2_long_cells_are_told_in_part(book: Notebook, provider: FakeProvider) -> None:
    for number in range(8):
        await book.run(f"print('begin{number}', 'x' * 9_000, 'end{number}')")
    await book.run("%%agent --context 8 --new\npy: final_answer(1)")
    told = provider.requests[-1]["messages"][-1]["content"]
    assert "end7" in told and "begin7" in told and "are left out here" in told
    assert "begin0" not in told
    assert len(told) < 21_000


async def test_e2_a_click_arrives_while_a_task_runs(book: Notebook) -> None:
    request = book.send("%%agent\npy: import time; time.sleep(30)")
    shown = (await book.heard(request, "display_data"))["data"][WIDGET]["model_id"]
    await asyncio.sleep(0.5)
    begun = time.monotonic()
    content = {"comm_id": shown, "data": {"method": "custom", "content": {"op": "stop"}}}
    book.client.shell_channel.send(book.client.session.msg("comm_msg", content))
    assert not (await book.done(request)).is_ok
    assert time.monotonic() - begun < 2.0


async def test_e2_a_commands_result_is_a_value(book: Notebook) -> None:
    assert (await book.run("r = %agent runs")).is_ok
    assert (await book.run("type(r).__name__")).result == "'Table'"
    assert "%agent steps" in (await book.run("%agent help")).result
    assert "--out" in (await book.run("%%agent --help\nx")).result


async def test_e2_a_variable_in_braces_is_filled_in(book: Notebook, provider: FakeProvider) -> None:
    await book.run("town = 'Bergen'")
    await book.run("%%agent\nSay {town} and {unknown_name}.")
    assert "Say Bergen and {unknown_name}." in provider.requests[-1]["messages"][-1]["content"]


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="
"""A PNG."""


async def test_c5_images_are_shown_to_a_model_that_sees(book: Notebook, provider: FakeProvider) -> None:
    await book.run(f"import base64; open('a.png', 'wb').write(base64.b64decode('{PIXEL}'))")
    cell = await book.run("%%agent --new --model openai/gpt-4o --image a.png -i ./a.png\nWhat is it?")
    assert cell.is_ok, cell.reply
    text, *pictures = provider.requests[-1]["messages"][-1]["content"]
    assert text["text"].startswith("Task: What is it?")
    assert [part["image_url"]["url"].rpartition(",")[2] for part in pictures] == [PIXEL] * 2
    asked = len(provider.requests)
    for line, said in (
        ("--image b.png", "'b.png' can't be read"),
        ("--model openai/x --image a.png", "can't see images"),
    ):
        (error,) = (await book.run(f"%%agent {line}\nWhat is it?")).of("error")
        assert error["ename"] == "UsageError"
        assert said in error["evalue"]
        assert len(error["traceback"]) == 1
    assert len(provider.requests) == asked


async def test_c1_a_rate_that_was_said_holds(book: Notebook, provider: FakeProvider) -> None:
    assert (await book.run("%%agent --model openai/rated --requests-per-minute 7\npy: final_answer(1)")).is_ok
    await book.run("from cellwright.models.rates import limiter")
    assert (await book.run("limiter('openai/rated').requests_per_minute")).result == "7"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%agent modle", "model"),
        ("%%agent --modle x\ntask", "--model"),
        ("%%agent --in nothing\ntask", "nothing"),
        ("%%agent --context many\ntask", "--context"),
        ("%%agent --context 1 --step 2\ntask", "--context"),
    ],
)
async def test_e2_a_mistake_is_one_line(book: Notebook, line: str, said: str) -> None:
    (error,) = (await book.run(line)).of("error")
    assert error["ename"] == "UsageError"
    assert said in error["evalue"]
    assert len(error["traceback"]) == 1


async def test_e2_a_signal_ends_a_run_at_once(book: Notebook, provider: FakeProvider) -> None:
    provider.mode, asked = "slow", len(provider.requests)
    try:
        request = book.send("%%agent\nwait")
        while len(provider.requests) == asked:
            await asyncio.sleep(0.01)
        begun = time.monotonic()
        await book.manager.interrupt_kernel()
        cell = await book.done(request)
        assert time.monotonic() - begun < 2.0
    finally:
        provider.mode = "ok"
    assert not cell.is_ok
    assert len(cell.of("error")) == 1
    assert (await book.run("1 + 1")).result == "2"
    assert (await book.run("%%agent\npy: final_answer(1)")).result == "1"


async def test_e2_the_magic_can_be_called_from_code(book: Notebook) -> None:
    code = "a = await get_ipython().run_cell_magic('agent', '', 'py: final_answer(9)')"
    cell = await book.run(f"from cellwright import Run\n{code}\nisinstance(a, Run), a.status, a.value, a")
    assert cell.result == "(True, 'success', 9, 9)", cell.reply
    assert (await book.run("a")).result == "9"
    assert (await book.run("_ + 1")).result == "10"


async def test_e2_other_cells_are_as_they_were(book: Notebook) -> None:
    assert (await book.run("print('plain')\n1 + 1")).text == "plain\n"
    assert (await book.run("%time 1")).is_ok
    # Only a call is awaited, not a text that holds one.
    assert "await" not in (await book.run("\"get_ipython().run_cell_magic('agent'\"")).result
