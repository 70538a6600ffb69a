"""What a run says that ends without `final_answer`: an answer, marked unconfirmed.

A run that is out of steps has the model asked once more, for what it would answer now (smolagents does so, too); one
that is out of money, tokens or time asks nothing. A model that only ever wrote prose is taken by its word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import ModelError
from .events import AnswerGiven, ReplyReceived, Told
from .fences import without_reasoning
from .limits import Exceeded
from .prompt_templates import filled

if TYPE_CHECKING:
    from .loop import Work


async def say_best_answer(work: Work, limit: Exceeded) -> None:
    """Ask for the best answer when the run is out of steps and has taken one."""
    if limit.status != "out_of_steps" or work.model is None or not work.run.steps:
        return
    work.step += 1
    text = filled(work.agent.prompt_templates.best_answer, {"task": work.run.task})
    await work.emit(Told(step=work.step, text=text, by="limits"))
    try:
        await work.ask(work.model)
    except (ModelError, Exceeded):
        return  # the run ends with its status as it is; there is no answer to add
    await take_as_answer(work, work.run.steps[-1].reply)


async def take_as_answer(work: Work, reply: ReplyReceived | None) -> None:
    """What the model said as the run's answer, unconfirmed."""
    text = without_reasoning(reply.text).strip() if reply else ""
    if text:
        data = {"text/plain": text, "text/markdown": text}
        await work.emit(
            AnswerGiven(step=work.step, data=data, value=text, has_value=True, type_name="str", confirmed=False)
        )
