"""The form of a run that lasts: HTML without scripts or style sheets, and plain text.

Both come from the run alone, so one out of the journal looks like one that has just ended. The static twin must read
well where nothing of ours is installed and nothing is trusted: so it uses `<details>`, inline styles, no colours that a
dark page would swallow, and pygments' classes, for which JupyterLab and nbconvert bring their own theme. Runs of agents
that were called stand in a quotation: GitHub drops every style, and what is inside must still be told from what is
around it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from cellwright.errors import one_line
from cellwright.outputs import Display, Failure, plain_text
from cellwright.run import Run, Step

from .render import (
    MONO,
    bundle_html,
    clip,
    code_html,
    escaped,
    failing_line,
    markdown_html,
    output_html,
    terminal_text,
    text_html,
    visible_code,
)
from .tree import Tree
from .words import (
    Header,
    answer_label,
    asides,
    call_seconds,
    call_words,
    changed,
    duration,
    headline,
    notes,
    plain,
    step_state,
    thought,
    tree_header,
)

# ---- HTML -----------------------------------------------------------------------------------------------------------

_QUIET = "opacity:0.75;font-size:90%"
_BOX = "border:1px solid #8888;border-radius:8px;padding:10px 14px;margin:4px 0"
_CODE = "border:1px solid #8886;border-radius:6px;padding:2px 10px;margin:6px 0;overflow:auto"
_BODY = "border-left:2px solid #8888;padding:2px 0 2px 12px;margin:2px 0 8px 4px"
_SIGNS = {"good": "✓ ", "bad": "✗ ", "warn": "■ ", "running": ""}


def static_html(run: Run, *, with_answer: bool = True) -> str:
    """The run as HTML that needs nothing and may be shown anywhere."""
    tree = Tree(run)
    answer = _answer_block(run) if with_answer else ""
    return f'<div style="{_BOX}">{_header_html(tree_header(tree))}{_steps_html(tree)}{answer}</div>'


def _header_html(head: Header) -> str:
    reason = f'<div style="padding:2px 0">{escaped(head.reason)}</div>' if head.reason else ""
    return (
        f'<div style="white-space:pre-wrap;font-weight:bold">{escaped(head.task)}</div>'
        f'<div style="padding:2px 0 6px"><b>{_SIGNS[head.tone]}{head.status}</b> '
        f'<span style="{_QUIET}">· {escaped(_facts(head))}</span></div>{reason}'
    )


def _facts(head: Header) -> str:
    marks = (mark.text for mark in head.marks)
    return " · ".join(filter(None, (head.model, head.steps, duration(head.seconds), *head.spent, *marks)))


def _steps_html(tree: Tree) -> str:
    before, after = asides(tree.run, "told"), asides(tree.run, "notes")
    steps = (
        _said_html(before.pop(step.number, ())) + _step_html(tree, step, after.get(step.number, ()))
        for step in tree.run.steps
    )
    return "".join(steps) + "".join(map(_said_html, before.values()))


def _said_html(lines: Iterable[str]) -> str:
    return "".join(f'<div style="{_BODY};white-space:pre-wrap">{escaped(line)}</div>' for line in lines)


def _step_html(tree: Tree, step: Step, after: Iterable[str]) -> str:
    state, word = step_state(tree.run, step)
    sign = {"ok": "", "error": "✗ ", "warn": "■ ", "running": ""}[state]
    title = " ".join(filter(None, (f"<b>Step {step.number}</b>", escaped(headline(step)))))
    tail = f' <span style="{_QUIET}">{sign}{escaped(word)}</span>' if word else ""
    is_open = " open" if _wants_to_be_seen(tree.run, step) else ""
    said = "".join(f"<div><i>{escaped(line)}</i></div>" for line in after)
    body = f'<div style="{_BODY}">{_body_html(tree, step)}{said}</div>'
    return f"<details{is_open}><summary>{title}{tail}</summary>{body}</details>"


def _wants_to_be_seen(run: Run, step: Step) -> bool:
    """Pictures are what people look for; and where a run went wrong, its last step."""
    has_picture = any(
        isinstance(output, Display) and any(mime.startswith("image/") for mime in output.data)
        for output in step.outputs
    )
    return has_picture or (run.status != "success" and step is run.steps[-1])


def _body_html(tree: Tree, step: Step) -> str:
    # A thought of one sentence stands in the summary already.
    parts = [markdown_html(thought(step))] if plain(thought(step)) != headline(step) else []
    if step.code:
        parts.append(f'<div style="{_CODE}">{code_html(step.code)}{changed_html(step)}</div>')
    parts += [f'<div style="{MONO};{_QUIET}">{escaped(line)}</div>' for line in _call_lines(tree, step)]
    parts += [_inner_html(inner) for inner in tree.inner(step.number)]
    parts += [output_block(output_html(output, step.code)) for output in step.outputs]
    parts += [f"<div><i>{escaped(note)}</i></div>" for note in notes(step)]
    return "".join(parts)


def changed_html(step: Step) -> str:
    """What a person changed in the code, under it; empty when nothing."""
    if not (lines := changed(step)):
        return ""
    tags = {"-": "del", "+": "ins"}
    shown = (f"<{tag}>{escaped(line)}</{tag}>" if (tag := tags.get(line[:1])) else escaped(line) for line in lines)
    body = f'<pre style="{MONO}">{"<br>".join(shown)}</pre>'
    return f"<details><summary>What was changed</summary>{body}</details>"


def _inner_html(tree: Tree) -> str:
    """The run of an agent that was called: folded, but where it went wrong."""
    head = _inner_header(tree)
    task = one_line(head.task, 100)
    whole = f'<div style="white-space:pre-wrap">{escaped(head.task)}</div>' if task != head.task else ""
    reason = f"<div><i>{escaped(head.reason)}</i></div>" if head.reason else ""
    is_open = " open" if head.tone != "good" else ""
    tail = f'<span style="{_QUIET}">{_SIGNS[head.tone]}{escaped(_inner_facts(head))}</span>'
    body = f'<blockquote style="{_BODY}">{whole}{reason}{_steps_html(tree)}{_answer_block(tree.run)}</blockquote>'
    return f"<details{is_open}><summary>↳ <b>{escaped(tree.name)}</b> {escaped(task)} {tail}</summary>{body}</details>"


def _inner_header(tree: Tree) -> Header:
    head = tree_header(tree)
    # Nobody will hear of it any more: its process was killed.
    return replace(head, status="not finished", tone="warn") if head.running else head


def _inner_facts(head: Header) -> str:
    return " · ".join(filter(None, (head.status, _facts(head))))


def _call_lines(tree: Tree, step: Step) -> Iterator[str]:
    for call in tree.calls(step.number):
        state, called, said = call_words(tree, step, call)
        if state != "agent":
            result = f"✗ {called}: {said}" if state == "error" else f"{called} {said}"
            yield result + (f" · {duration(call_seconds(call))}" if call.called else "")


def output_block(html: str) -> str:
    """An output that scrolls by itself when it is wide."""
    return f'<div style="overflow:auto;max-height:400px">{html}</div>' if "<img" not in html else f"<div>{html}</div>"


def _answer_block(run: Run) -> str:
    if run.answered is None:
        return ""
    return (
        f'<div style="border-top:1px solid #8888;padding:8px 0 0;margin:8px 0 0"><b>{escaped(answer_label(run))}</b>'
        f'<div style="overflow:auto;padding:2px 0">{answer_html(run)}</div></div>'
    )


def answer_html(run: Run) -> str:
    """The answer in its richest form; empty when there is none."""
    if run.answered is None:
        return ""
    return bundle_html(run.answered.data, run.answered.metadata) or text_html(str(run.answer))


# ---- text -----------------------------------------------------------------------------------------------------------


def static_text(run: Run, *, with_answer: bool = True) -> str:
    """The run as plain text, for a terminal; without escapes."""
    tree = Tree(run)
    head = tree_header(tree)
    lines = [head.task, " · ".join(filter(None, (head.status, _facts(head))))]
    if head.reason:
        lines.append(head.reason)
    for part in _steps_lines(tree):
        lines += ["", *part]
    if run.answered and with_answer:
        lines += ["", _answer_line(run)]
    return "\n".join(lines)


def step_text(tree: Tree, step: Step) -> str:
    """One step as plain text."""
    return "\n".join(_step_lines(tree, step))


def _answer_line(run: Run) -> str:
    answer = str(run.answered.data.get("text/plain", run.answer)) if run.answered else ""
    return f"{answer_label(run)}: {clip(terminal_text(answer))}"


def _steps_lines(tree: Tree) -> Iterator[list[str]]:
    before, after = asides(tree.run, "told"), asides(tree.run, "notes")
    for step in tree.run.steps:
        said = [*before.pop(step.number, ())]
        yield said + [*_step_lines(tree, step)] + [f"  {line}" for line in after.get(step.number, ())]
    yield from before.values()


def _step_lines(tree: Tree, step: Step) -> Iterator[str]:
    _, word = step_state(tree.run, step)
    yield f"Step {step.number}" + (f" ({terminal_text(word)})" if word else "")
    if text := thought(step).strip():
        yield from _indented(text, "  ")
    if step.code:
        yield from _indented(visible_code(step.code), "  | ")
    if lines := changed(step):
        yield from ("  Changed:", *_indented("\n".join(lines), "  "))
    for line in _call_lines(tree, step):
        yield f"  {line}"
    for inner in tree.inner(step.number):
        yield from (f"  {line}" for line in _inner_lines(inner))
    for output in step.outputs:
        yield from _indented(plain_text(output), "  ")
        if isinstance(output, Failure) and (line := failing_line(output, step.code)):
            yield from _indented(line, "  ")
    for note in notes(step):
        yield from _indented(note, "  ")


def _inner_lines(tree: Tree) -> Iterator[str]:
    head = _inner_header(tree)
    yield f"{terminal_text(tree.name)}: " + " ".join(
        filter(None, (one_line(head.task, 200), f"({_inner_facts(head)})"))
    )
    if head.reason:
        yield f"  {head.reason}"
    for part in _steps_lines(tree):
        yield from (f"  {line}" for line in part)
    if tree.run.answered:
        yield from _indented(_answer_line(tree.run), "  ")


def _indented(text: str, margin: str) -> Iterator[str]:
    return (margin + line for line in clip(terminal_text(text)).rstrip().splitlines())
