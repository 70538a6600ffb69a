"""What the page is told of a question to the person: here it is, and it was answered."""

from __future__ import annotations

from collections.abc import Iterator

from cellwright.approval import Question

from .message_types import AskedMessage, AskMessage, Message
from .messages import head_of, placed, step_of
from .render import terminal_text
from .tree import Tree


def asking(tree: Tree, question: Question, number: int) -> Iterator[Message]:
    """A question to the person; nothing as long as the page does not know the code that it is about."""
    meant = tree.find(question.run_id)
    step = meant.run.steps[-1] if meant and meant.run.steps else None
    if meant is None or step is None or step.number != question.step or step.proposed is None:
        return
    message = AskMessage(
        op="ask",
        step=question.step,
        id=number,
        why=terminal_text(question.why),
        code=question.code,
        edit=question.can_edit,
        all=question.can_allow,
        alike=question.can_allow_alike,
    )
    yield from _of(meant, iter([message]))


def asked(tree: Tree, question: Question) -> Iterator[Message]:
    """It was answered: the step goes on from now."""
    if meant := tree.find(question.run_id):
        yield from _of(
            meant, iter([AskedMessage(op="asked", step=question.step), step_of(meant.run, meant.run.steps[-1])])
        )
        yield head_of(tree)


def _of(tree: Tree, messages: Iterator[Message]) -> Iterator[Message]:
    return placed(tree, messages) if tree.key else messages
