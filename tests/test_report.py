"""The audit notebook for readers: a report, and one page for a browser that loads nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from audit_runs import GOLDENS, PNG, a_run, a_step, an_answer, by_hand, rich, short
from cellwright.errors import ExportError
from cellwright.events import AnswerGiven
from cellwright.notebook.export import notebook, write_html
from cellwright.outputs import CellOutput, Display, Failure, Stream
from cellwright.run import Run

BEACON = "https://tracker.test/pixel.png"
WORDS = f"""![x]({BEACON}) <img src="{BEACON}"> <script src="{BEACON}">alert(1)</script>
<link rel="stylesheet" href="{BEACON}"> <iframe src="{BEACON}"></iframe> [a link]({BEACON})
<style>@import url({BEACON})</style> <b onclick="fetch('{BEACON}')">bold</b> $x^2$ </main></body>"""


def hostile() -> list[Run]:
    """A run whose model, code and answer try to load something."""
    shown: list[CellOutput] = [
        Stream("stdout", WORDS),
        Display({"text/html": WORDS, "text/plain": "x"}),
        Display({"text/markdown": WORDS, "text/plain": "x"}),
        Display({"image/svg+xml": f'<svg><image href="{BEACON}"/></svg>', "text/plain": "x"}),
        Display({"application/javascript": f"fetch('{BEACON}')", "text/plain": "x"}),
        Display({"text/vnd.mermaid": "graph", "text/plain": "x"}),
        Display({"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "x"}),
        Failure("ValueError", WORDS, (WORDS, "\x1b[31mred\x1b[0m")),
    ]
    answer = AnswerGiven(step=2, data={"text/markdown": WORDS, "text/plain": WORDS})
    steps = [a_step(1, WORDS, f"'''{WORDS}'''", *shown, outcome="error"), a_step(2, WORDS, "y", answer=answer)]
    return [a_run(WORDS, *steps)]


class Seen(HTMLParser):
    """What a page loads, and what it would run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.acts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "link", "object", "embed", "base", "form"):
            self.acts.append(tag)
        for name, value in attrs:
            if name.startswith("on"):
                self.acts.append(name)
            if (name in ("src", "srcset", "poster", "data", "background") or name.endswith("href")) and tag != "a":
                self.loads.append(str(value))


ALL: dict[str, Callable[[], list[Run]]] = {**GOLDENS, "hostile": hostile}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("report", [True, False])
def test_f6_the_page_loads_nothing_and_runs_nothing(name: str, report: bool, tmp_path: Path) -> None:
    write_html(ALL[name](), tmp_path / "page.html", report=report)
    text = (tmp_path / "page.html").read_text()
    seen = Seen(text)
    assert seen.acts == []
    assert [address for address in seen.loads if not address.startswith("data:image/")] == []
    assert "default-src 'none'" in text
    assert "@import" not in re.sub(r"<pre>.*?</pre>|<div class=\"highlight.*?</div>", "", text, flags=re.DOTALL)


def test_f6_the_page_shows_what_a_reader_wants(tmp_path: Path) -> None:
    write_html(rich(), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    for wanted in (
        "<title>Who is oldest?",
        "Look at the <em>table</em>",
        "Zoë",
        "denied by",
        "data:image/png",
        "<details>",
    ):
        assert wanted in text, wanted
    for unwanted in ("_end_quietly", "Run All", "_begin_anew()"):
        assert unwanted not in text, unwanted


def test_f6_the_page_makes_no_noise_and_needs_no_kernel(tmp_path: Path) -> None:
    made = (
        "import sys; sys.path.insert(0, 'tests')\nfrom audit_runs import rich\n"
        "from cellwright.notebook.export import write_html\n"
        f"write_html(rich(), {str(tmp_path / 'page.html')!r})"
    )
    done = subprocess.run([sys.executable, "-c", made], capture_output=True, text=True, timeout=120, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_f6_without_nbconvert_one_line_says_what_to_install(tmp_path: Path) -> None:
    made = (
        "import sys; sys.path.insert(0, 'tests'); sys.modules['nbconvert'] = None\n"
        "from audit_runs import short\nfrom cellwright.notebook.export import write_html, ExportError\n"
        "try:\n    write_html(short(), '/nowhere/page.html')\nexcept ExportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", made], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "A page needs nbconvert: pip install 'cellwright[html]'.\n", done.stderr


def test_f6_a_page_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="can't be written"):
        write_html(short(), tmp_path / "missing" / "page.html")


# ---- a report as a notebook ------------------------------------------------------------------------------------------


def test_f6_a_report_has_the_answer_on_top_and_its_code_folded() -> None:
    import nbformat

    made = notebook(short(), report=True)
    nbformat.validate(made)
    assert made.cells[0].source.startswith("# What is six times seven?\n\n**`42`**")
    assert made.cells[1].source.startswith("## How this came about")
    for cell in made.cells:
        if cell.cell_type == "code":
            assert cell.metadata.jupyter.source_hidden is True
            assert "hide-input" in cell.metadata.tags
    whole = notebook(short())
    assert [cell.source for cell in made.cells[2:]] == [cell.source for cell in whole.cells[1:]], "nothing is left out"
    assert made.metadata.cellwright.runs == whole.metadata.cellwright.runs


def test_f6_the_answer_of_a_report_is_what_it_is() -> None:
    def top(answer: AnswerGiven | None, **more: Any) -> str:
        steps = [a_step(1, "t", "x", answer=answer)]
        source: str = notebook([a_run("A task\nof two lines.", *steps, **more)], report=True).cells[0].source
        return source

    assert "> A task\n> of two lines." in top(an_answer(1, 1))
    table = an_answer(1, None, "  a\n0 1", **{"text/html": "<table>\n\n<tr><td>1</td></tr>\n</table>"})
    assert "<table>\n<tr><td>1</td></tr>\n</table>" in top(table)
    assert "**big**" in top(an_answer(1, "x", **{"text/markdown": "**big**"}))
    assert "```\nfirst\nsecond\n```" in top(an_answer(1, "x", "first\nsecond"))
    assert "**No answer**: failed. It broke." in top(None, status="failed", reason="It broke.")
    picture = notebook([a_run("x", a_step(1, "t", "x", answer=an_answer(1, None, **{"image/png": PNG})))], report=True)
    assert picture.cells[0].attachments == {"answer.png": {"image/png": PNG}}
    assert "(attachment:answer.png)" in picture.cells[0].source
    alone = notebook([by_hand("1 + 1", run_id="run-1", time=1.8e9)], report=True)
    assert alone.cells[0].source.startswith("# 1 + 1")


def test_f6_a_picture_that_is_the_answer_is_in_the_page(tmp_path: Path) -> None:
    runs = [a_run("Draw.", a_step(1, "t", "x", answer=an_answer(1, None, **{"image/png": PNG})))]
    write_html(runs, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().count(f"data:image/png;base64,{PNG}") == 2
    assert json.dumps(PNG) not in (tmp_path / "page.html").read_text()
