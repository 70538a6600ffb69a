"""What was given as a Secret stands in no export, in no form, whatever tools and code did with it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from cellwright import CodeAgent, ScriptedModel
from cellwright.journal import Journal
from cellwright.notebook.export import write, write_html
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation
from cellwright.secrets import Secret
from cellwright.tools import tool

VALUE = "tr0ub4dor & 3 'ключ' /+="
CODE = """
session = login("me")
print("printed", session, repr(session), [session])
print(read_mail(session, number=2))
for broken_way in ("plain", "url", "repr"):
    try:
        broken(session, way=broken_way)
    except Exception as error:
        print(error)
        kept = str(error)
display({"key": session})
final_answer({"session": session, "error": kept, "mail": read_mail(session)})
"""


def forms(value: str) -> dict[str, bytes]:
    """How the value could stand in a file."""
    found = {"plain": value.encode(), "json": json.dumps(value)[1:-1].encode(), "repr": repr(value)[1:-1].encode()}
    found |= {
        "url": quote(value).encode(),
        "whole url": quote(value, safe="").encode(),
        "form": quote_plus(value).encode(),
    }
    for offset in range(3):
        # Base64 of a text around the value: without the ends, which its neighbours change.
        coded = base64.b64encode(b"\0" * offset + value.encode())
        found[f"base64 at {offset}"] = coded[4 if offset else 0 : len(coded) // 4 * 4 - 4]
    return found


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[ChildKernel]:
    (tmp_path / "work").mkdir()
    kernel = ChildKernel(workspace=tmp_path / "work", isolation=Isolation(level="process"))
    yield kernel
    await kernel.close()


async def test_b6_no_export_holds_a_secret_in_any_form(sandbox: ChildKernel, tmp_path: Path) -> None:
    secret, used = Secret(VALUE), []

    @tool
    def login(user: str) -> Secret:
        """Log in."""
        return secret

    @tool
    def read_mail(session: Secret, number: int = 1) -> Any:
        """Read a mail."""
        yield f"asking as {session.reveal()}"
        used.append(session.reveal())
        return {"text": f"of {session.reveal()}", session.reveal(): [quote(session.reveal())]}

    @tool
    def broken(session: Secret, way: str) -> str:
        """Fail."""
        value = session.reveal()
        said = {"plain": value, "url": quote(value, safe=""), "repr": repr(value)}[way]
        raise ConnectionError(f"GET https://mail.test/?session={said}")

    model = ScriptedModel(f"Read it.\n```python\n{CODE.strip()}\n```")
    journal = Journal(tmp_path / "journal.sqlite")
    tools = [login, read_mail, broken]
    async with CodeAgent(model, tools=tools, sandbox=sandbox, journal=journal) as agent:
        run = await agent.run("Read my mail.")
        assert run.status == "success", run.reason
        assert used == [VALUE, VALUE], "the tools had it"
        records = await journal.records(agent.conversation)
    write(records, tmp_path / "made.ipynb")
    write([run], tmp_path / "report.ipynb", report=True)
    write_html(records, tmp_path / "page.html")
    for name in ("made.ipynb", "report.ipynb", "page.html"):
        data = (tmp_path / name).read_bytes()
        assert re.search(rb"(<|&lt;)secret(>|&gt;)", data), "it stood there, and was taken out"
        assert [form for form, text in forms(VALUE).items() if text in data] == [], name


def test_b6_the_forms_that_are_looked_for_would_be_found() -> None:
    for offset in range(3):
        assert forms(VALUE)[f"base64 at {offset}"] in base64.b64encode(b"user:"[:offset] + VALUE.encode() + b"@host")
    assert forms(VALUE)["url"] in f"?key={quote(VALUE)}".encode()
