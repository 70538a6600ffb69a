"""What a person asks for in a view, besides stop: a word to the agent, a step's code as a cell, edit, undo.

A page can't add a cell to a notebook, and a kernel can only with the reply to a cell. So in a run the cells that are
asked for come when it has ended; a wish that ends the run (edit, undo) stops it, and is carried out then. In a view
that was brought back later, the page has the cell's text on the clipboard, and only undo is left to be done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from cellwright.events import RunResumed
from cellwright.rewind import undo_to
from cellwright.run import Run
from cellwright.steering import MOST_CHARACTERS, Steering

if TYPE_CHECKING:
    from cellwright.agent import CodeAgent

What = Literal["tell", "insert", "edit", "undo"]
EDIT = "%%agent --step "
"""What a cell begins with that takes the place of a step; its number follows."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One thing that was asked for, of a step or in words."""

    what: What
    step: int = 0
    text: str = ""


def wish_of(content: Mapping[str, Any]) -> Wish | None:
    """The wish in a message from the page; None where it is none."""
    match content:
        case {"op": "tell", "text": str(text)} if text.strip():
            return Wish("tell", text=text[:MOST_CHARACTERS])  # the page's field takes no more
        case {"op": str(what), "step": int(step)} if what in get_args(What) and what != "tell":
            return Wish(what, step)  # type: ignore[arg-type]
    return None


@dataclass(slots=True)
class Wishes:
    """What is asked for while one run goes on.

    by_hand: what a cell with a person's own code begins with. add_cell: has text put into a new cell below.
    """

    agent: CodeAgent
    steering: Steering
    by_hand: str
    add_cell: Callable[[str], object]
    _open: list[Wish] = field(default_factory=list)

    def take(self, wish: Wish) -> None:
        """Note it; one that ends the run stops it. For the loop's own thread."""
        if wish.what == "tell":
            self.steering.say(wish.text)
            return
        self._open.append(wish)
        if wish.what != "insert":
            self.agent.stop()

    async def grant(self, run: Run) -> bool:
        """Carry out what is left to do; whether that is why the run was ended. Raises as `undo_to`."""
        for text in self.steering.take_back():
            print(f"The run had ended before the agent could read this; give it as the next task: {text}")
        for wish in self._open:
            if wish.what == "edit":
                self.add_cell(f"{EDIT}{wish.step}\n{_code(run, wish.step)}")
                return True
            if wish.what == "undo":
                print(await taken_back(self.agent, run, wish.step))
                return True
        if codes := [_code(run, wish.step) for wish in dict.fromkeys(self._open)]:
            self.add_cell(self.by_hand + "\n\n".join(codes))
        return False


async def taken_back(agent: CodeAgent, run: Run, step: int) -> str:
    """Go back to after a step; what was done, in words. Raises as `undo_to`."""
    done = await undo_to(agent, run.id, step)
    notes = [event.note for event in done.events if isinstance(event, RunResumed) and event.note]
    return "\n".join([f"Taken back: all that came after step {step}.", *notes])


def _code(run: Run, step: int) -> str:
    return next((known.code for known in run.steps if known.number == step), "")


def offered(by_hand: str, *, is_going: bool) -> dict[str, str]:
    """What a page may offer: wish -> what a cell for it begins with."""
    return {"insert": by_hand, "edit": EDIT, "undo": "", **({"tell": ""} if is_going else {})}
