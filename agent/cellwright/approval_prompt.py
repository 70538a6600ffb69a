"""The question in a terminal, or wherever only lines can be typed: `Run it? [y]es, [n]o, [e]dit, [a]ll`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable

from .approval import Question, Said

AskLine = Callable[[str], Awaitable[str]]
"""Prompt -> the line that was typed. Raises `EOFError` where nobody answers."""
SHOWN_SECONDS = 0.05
"""So long the step may take to be shown before the question is."""
END = "."
"""The line that ends edited code."""
_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if code not in (9, 10)}


def question_text(question: Question) -> str:
    """The code and the reasons, as lines."""
    who = f"The agent {question.agent}" if question.agent else "The agent"
    why = f" ({question.why})" if question.why else ""
    code = "\n".join(f"  | {line}" for line in question.code.splitlines())
    return f"{who} wants to run this in step {question.step}{why}:\n{code}".translate(_CONTROLS)


async def ask_by_line(question: Question, ask: AskLine, show: Callable[[str], object]) -> Said:
    """What the person says, line by line. show: shows a text above the prompt. Raises `EOFError`."""
    show(question_text(question))
    prompt = f"Run it? {_choices(question)}: "
    while True:
        word, _, rest = (await ask(prompt)).strip().partition(" ")
        match word.lower():
            case "y" | "yes" | "run":
                return Said("run")
            case "n" | "no" | "deny":
                return Said("deny", rest or await ask("A word to the model why (or Enter): "))
            case "a" | "all" if question.can_allow:
                return Said("all")
            case "l" | "like" | "alike" if question.can_allow_alike:
                return Said("alike")
            case "e" | "edit" if question.can_edit:
                return Said("edit", await _edited(ask, show))
        show(f"Type one of {_choices(question)}.")


def _choices(question: Question) -> str:
    words = ["[y]es", "[n]o"]
    words += ["[e]dit"] * question.can_edit
    words += ["[a]ll that follow"] * question.can_allow
    words += ["all [l]ike this"] * question.can_allow_alike
    return ", ".join(words)


async def _edited(ask: AskLine, show: Callable[[str], object]) -> str:
    show(f"Write the code line by line; a line with only {END!r} ends it.")
    lines = []
    while (line := await ask("... ")) != END:
        lines += line.split("\n")  # a front end may send several at once
    return "\n".join(lines)


async def terminal_line(prompt: str) -> str:
    """A line typed in the terminal; a stop ends it at once. Raises `EOFError` where there is none."""
    if not sys.stdin.isatty():
        raise EOFError
    print(prompt, end="", file=sys.stderr, flush=True)
    loop = asyncio.get_running_loop()
    line: asyncio.Future[bytes] = loop.create_future()
    number = sys.stdin.fileno()

    def read_line() -> None:
        if not line.done():
            line.set_result(os.read(number, 1 << 16))

    # A thread that reads could not be stopped; the terminal gives whole lines when it is ready.
    loop.add_reader(number, read_line)
    try:
        read = await line
    finally:
        loop.remove_reader(number)
    if not read:
        raise EOFError
    return read.decode(errors="replace").rstrip("\r\n")


def by_terminal(show: Callable[[str], object]) -> Callable[[Question], Awaitable[Said]]:
    """Asks in the terminal, where the step has been shown. show: shows a text there."""

    async def ask(question: Question) -> Said:
        await asyncio.sleep(SHOWN_SECONDS)
        return await ask_by_line(question, terminal_line, show)

    return ask
