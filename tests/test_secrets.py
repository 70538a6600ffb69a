"""Row B6: what is given as a Secret is used by tools, and is in no record."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from cellwright import CodeAgent, ScriptedModel
from cellwright.errors import ToolCallError
from cellwright.events import ActionProposed, Output, ToolCalled
from cellwright.journal import Journal
from cellwright.notebook.export import write
from cellwright.outputs import Display, Stream
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation
from cellwright.secrets import Secret, handed_out, redacted
from cellwright.tools import Tool, tool
from cellwright.wire import to_json

VALUE = "hunter2-Ω/+ 'quoted'"
"""A value that looks different in a URL and in a repr."""


@dataclass
class Login:
    user: str
    key: Secret


class Account(BaseModel):
    user: str
    key: Secret


def test_b6_a_secret_shows_nothing() -> None:
    secret = Secret(VALUE)
    assert secret.reveal() == VALUE
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>30}", f"{secret!r}", "%s %r" % (secret, secret)]  # noqa: UP031
    shown += [
        repr([secret]),
        repr(Login("me", secret)),
        repr(Account(user="me", key=secret)),
        str(asdict(Login("me", secret))),
    ]
    shown += [Account(user="me", key=secret).model_dump_json(), json.dumps([secret], default=str)]
    assert not any("hunter2" in text for text in shown)
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps(secret)
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        vars(secret)
    with pytest.raises(TypeError):
        _ = secret + "x"  # type: ignore[operator]
    for wrong in ("", 3, None):
        with pytest.raises(ValueError, match="holds text"):
            Secret(wrong)  # type: ignore[arg-type]


def test_b6_secrets_are_equal_when_their_values_are() -> None:
    secret = Secret(VALUE)
    assert secret == Secret(VALUE)
    assert hash(secret) == hash(Secret(VALUE))
    assert secret != Secret("another")
    assert secret != VALUE
    assert copy.copy(secret) is copy.deepcopy(secret) is secret


async def test_b6_a_result_crosses_as_a_handle_that_a_later_call_turns_back() -> None:
    secret = Secret(VALUE)

    @tool
    def give() -> dict[str, Any]:
        """Give it."""
        return {
            "plain": secret,
            "list": [secret],
            "login": Login("me", secret),
            "account": Account(user="me", key=secret),
        }

    @tool
    def take(key: Secret, login: Login, account: Account, keys: list[Secret]) -> bool:
        """Take it back."""
        return all(given.reveal() == VALUE for given in (key, login.key, account.key, *keys))

    given = await give()
    handle = given["plain"]
    assert handle == handed_out(secret)
    assert given == {
        "plain": handle, "list": [handle], "login": {"user": "me", "key": handle},
        "account": {"user": "me", "key": handle},
    }  # fmt: skip
    assert await take(handle, given["login"], given["account"], given["list"]) is True


async def test_b6_only_an_argument_that_is_hinted_as_a_secret_becomes_one() -> None:
    @tool
    def send(text: str, anything: Any) -> list[Any]:
        """Send it anywhere."""
        return [text, anything]

    handle = handed_out(Secret(VALUE))
    assert await send(handle, [handle]) == [handle, [handle]]


async def test_b6_a_handle_of_nothing_is_refused_and_plain_text_is_hidden_from_then_on() -> None:
    seen: list[Any] = []

    @tool
    def use(key: Secret) -> None:
        """Use it."""
        seen.append(key)

    with pytest.raises(
        ToolCallError, match="expected the handle of a secret of this session; get the secret anew, got str"
    ):
        await use("<secret 0123456789ab>")
    with pytest.raises(ToolCallError, match="expected a Secret, or the handle of one, got int"):
        await use(5)
    await use("typed-by-the-model")
    assert seen == [Secret("typed-by-the-model")]
    assert redacted(["typed-by-the-model"]) == ["<secret>"]


async def test_b6_no_error_about_arguments_repeats_what_was_given_to_a_tool_that_takes_secrets() -> None:
    @tool
    def use(login: Login) -> None:
        """Use it."""

    with pytest.raises(ToolCallError) as error:
        await use({"key": "never-shown-anywhere"})
    assert "never-shown" not in str(error.value)
    with pytest.raises(ToolCallError) as error:
        await use("never-shown-anywhere")
    assert "never-shown" not in str(error.value)


@pytest.mark.parametrize("form", [VALUE, "https://x.test/?key=hunter2-%CE%A9%2F%2B%20%27quoted%27", repr([VALUE])])
async def test_b6_what_tools_say_is_searched_for_secrets(form: str) -> None:
    secret = Secret(VALUE)
    told: list[str] = []

    @tool
    def say() -> Any:
        """Say it."""
        yield f"asking with {form}"
        return {"text": f"<{form}>", form: [form]}

    @tool
    def fail() -> None:
        """Fail with it."""
        raise ConnectionError(f"refused: {form}")

    result = await say.call((), {}, told.append)
    with pytest.raises(ToolCallError) as error:
        await fail()
    for text in (json.dumps(result, ensure_ascii=False), str(error.value), *told):
        assert "hunter2" not in text
        assert "<secret>" in text
    assert secret.reveal() == VALUE


def test_b6_events_are_searched_and_left_as_they_are_where_there_is_nothing() -> None:
    secret = Secret(VALUE)
    event = Output(step=1, output=Stream("stdout", f"key {VALUE}\n"))
    assert redacted(event) == Output(step=1, output=Stream("stdout", "key <secret>\n"))
    shown = Output(step=1, output=Display({"text/plain": VALUE, "application/json": {"a": [VALUE]}}))
    assert "hunter2" not in to_json(redacted(shown))
    called = ToolCalled(step=1, name="f", args=(VALUE,), kwargs={"a": VALUE})
    assert redacted(called) == ToolCalled(step=1, name="f", args=("<secret>",), kwargs={"a": "<secret>"})
    fine = ActionProposed(step=1, thought="", code="x = 1")
    assert redacted(fine) is fine
    assert secret


def test_b6_a_value_that_is_gone_or_short_is_not_searched_for() -> None:
    brief = Secret("abc")
    assert redacted("abc") == "abc"
    assert brief
    secret = Secret("a-value-that-goes")
    assert redacted("a-value-that-goes") == "<secret>"
    del secret
    assert redacted("a-value-that-goes") == "a-value-that-goes"


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[ChildKernel]:
    kernel = ChildKernel(workspace=tmp_path / "work", isolation=Isolation(level="process"))
    (tmp_path / "work").mkdir()
    yield kernel
    await kernel.close()


def names_of(folder: Path, holding: bytes = b"") -> set[str]:
    """Names of the files in a folder that hold these bytes."""
    return {path.name for path in folder.rglob("*") if path.is_file() and holding in path.read_bytes()}


async def test_b6_no_record_of_a_run_holds_a_secret(sandbox: ChildKernel, tmp_path: Path) -> None:
    secret, got = Secret("s3cret-in-no-record"), []

    @tool
    def login(user: str) -> Secret:
        """Log in."""
        return secret

    @tool
    def read_mail(session: Secret, number: int = 1) -> str:
        """Read a mail."""
        got.append(session.reveal())
        return f"mail {number} of the session {session.reveal()}"

    @tool
    def broken(session: Secret) -> str:
        """Fail."""
        raise ConnectionError(f"GET https://mail.test/?session={session.reveal()}")

    code = (
        "session = login('me')\nprint(session, session.upper())\nprint(read_mail(session, number=2))\n"
        "try:\n    broken(session)\nexcept Exception as error:\n    print(error)\nfinal_answer([session])"
    )
    model = ScriptedModel(f"Read it.\n```python\n{code}\n```")
    journal = Journal(tmp_path / "journal.sqlite")
    agent = CodeAgent(model, tools=[login, read_mail, broken], sandbox=sandbox, journal=journal)
    run = await agent.run("Read my mail.")
    write([run], tmp_path / "audit.ipynb")
    assert {"journal.sqlite", "audit.ipynb"} <= names_of(tmp_path)
    assert names_of(tmp_path, holding=b"s3cret") == set()
    await agent.aclose()
    assert names_of(tmp_path, holding=b"s3cret") == set()

    assert run.status == "success", run.reason
    assert got == ["s3cret-in-no-record"]
    handle = handed_out(secret)
    assert run.answer == [handle]
    assert [(call.name, call.args, call.result, call.error) for call in run.steps[0].calls] == [
        ("login", ("me",), handle, None),
        ("read_mail", (handle,), "mail 2 of the session <secret>", None),
        ("broken", (handle,), None, "broken failed: ConnectionError: GET https://mail.test/?session=<secret>"),
    ]
    assert handle in run.steps[0].text
    assert "read_mail(session: Secret, number: int = 1) -> str" in model.asked[0][0].content


def test_b6_the_model_is_told_what_a_secret_is() -> None:
    def use(key: Secret, more: list[Secret] | None = None) -> None:
        """Use it."""

    facts = Tool(use).facts
    assert facts.parameters["properties"]["key"] == {"format": "password", "title": "Key", "type": "string"}
    assert facts.signature == "use(key: Secret, more: list[Secret] | None = None) -> None"
    assert "Secret is a str that stands for a secret value" in facts.description
