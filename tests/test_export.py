"""The audit notebook: exact, valid, and complete.

`python tests/test_export.py` writes the golden notebooks anew; look at the difference before you commit it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from audit_runs import GOLDENS, SANDBOX, a_run, a_step, an_answer, back, rich, short
from cellwright.errors import ExportError
from cellwright.events import ActionDecided, ActionProposed, Event, NoAction, ReplyReceived
from cellwright.facts import Usage
from cellwright.notebook.export import notebook, write
from cellwright.outputs import Stream
from cellwright.run import Run

GOLDEN = Path(__file__).parent / "golden"


# ---- exact and valid ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDENS)
def test_f1_the_notebook_is_exactly_the_golden_one(name: str, tmp_path: Path) -> None:
    path = tmp_path / "made.ipynb"
    write(GOLDENS[name](), path)
    made, golden = json.loads(path.read_text()), json.loads((GOLDEN / f"{name}.ipynb").read_text())
    assert made == golden


@pytest.mark.parametrize("name", GOLDENS)
def test_f1_it_is_valid_and_knows_nothing_of_us(name: str) -> None:
    import nbformat

    made = notebook(GOLDENS[name]())
    nbformat.validate(made)
    assert (made.nbformat, made.nbformat_minor) == (4, 5)
    assert made.metadata.kernelspec.name == "python3"
    assert "not isolated" in made.cells[0].source
    for cell in made.cells:
        if cell.cell_type == "code":
            assert "cellwright" not in cell.source.lower(), "it must run without us"
    assert len({cell.id for cell in made.cells}) == len(made.cells)


def test_f1_provenance_is_in_the_metadata() -> None:
    made = notebook(rich())
    facts = made.metadata.cellwright
    assert (facts.form, facts.schema, facts.conversation) == (1, 1, "talk-1")
    assert [run.started.run_id for run in facts.runs] == ["run-1", "run-2", "run-3"]
    assert facts.runs[0].started.sandbox.isolation == "process"
    assert facts.runs[0].ended.totals.usage.cached == 3200
    thought = next(cell.metadata.cellwright for cell in made.cells if cell.metadata.cellwright.role == "thought")
    assert thought.reply.model == "claude-x"
    assert thought.reply.usage.prompt == 900
    called = next(cell.metadata.cellwright for cell in made.cells if "calls" in cell.metadata.cellwright)
    assert [call.args for call in called.calls] == [["x"], ["x"], ["y"]]
    assert called.decided.by == "auto"


def test_an_edit_keeps_what_was_proposed() -> None:
    step = a_step(1, "Try.", "new()")
    step[1] = ActionProposed(step=1, thought="Try.", code="old()")
    step[2] = ActionDecided(step=1, verdict="edited", by="person", code="new()", reason="Better so.")
    made = notebook([a_run("x", step)])
    action = next(cell for cell in made.cells if cell.metadata.cellwright.role == "action")
    assert action.source == "new()"
    assert action.metadata.cellwright.proposed.code == "old()"
    (thought,) = (cell.source for cell in made.cells if "**Edited** by `person` before it ran. Better" in cell.source)
    assert "```diff\n--- proposed\n+++ ran\n@@ -1 +1 @@\n-old()\n+new()\n```" in thought


def test_an_unconfirmed_answer_and_an_unfinished_run_are_called_so() -> None:
    silent: list[Event] = [
        ReplyReceived(step=1, text="It is 42.", usage=Usage(), cost=None, seconds=1.0),
        NoAction(step=1, note="No code."),
        replace(an_answer(1, "It is 42.", "It is 42."), confirmed=False),
    ]
    made = notebook([a_run("x", silent, status="failed", reason="The model wrote no code.")])
    assert any("**Answer, unconfirmed**" in cell.source and "> It is 42." in cell.source for cell in made.cells)
    assert made.cells[-1].source.startswith("**Failed**: The model wrote no code.")
    cut = notebook([Run(a_run("x", a_step(1, "t", "while True: pass")).events[:4])])
    assert not any("while True" in cell.source for cell in cut.cells if cell.cell_type == "code")
    assert any("was under way when the record ends" in cell.source for cell in cut.cells)
    assert cut.cells[-1].source.startswith("**Unfinished")


def test_a_restart_between_two_runs_begins_anew() -> None:
    later = a_run("b", a_step(1, "t", "1"), run_id="run-2", sandbox=replace(SANDBOX, instance=2))
    made = notebook([a_run("a", a_step(1, "t", "x = 1")), later])
    assert [cell.source for cell in made.cells if cell.cell_type == "code"][-2].startswith("_begin_anew()")
    lost = a_run("a", a_step(1, "t", "x", outcome="died", state_lost=True), a_step(2, "t", "y = 1"))
    made = notebook([lost, later])
    assert sum(cell.source.startswith("_begin_anew()") for cell in made.cells) == 1, "y is still there"


def sources(runs: Sequence[Run], role: str) -> list[str]:
    return [cell.source for cell in notebook(runs).cells if cell.metadata.cellwright.role == role]


def test_e8_what_was_undone_is_told_and_not_run_again() -> None:
    made = notebook(back())
    code = [cell.source for cell in made.cells if cell.cell_type == "code"][1:]
    assert code == [
        "name = input('Name? ')\nprint('Hello', name)",
        "count = helper('Count the people.')\nprint(count)",
        "final_answer(count / 2)",
        "final_answer(name)",
    ]
    told = [cell for cell in made.cells if cell.metadata.cellwright.get("undone")]
    assert [(cell.metadata.cellwright.run, cell.metadata.cellwright.step) for cell in told] == [
        ("run-1", 4),
        ("run-4", 1),
    ]
    assert all(cell.source.startswith("**Undone**") and cell.cell_type == "markdown" for cell in told)
    assert "### Step 4, undone" in "\n".join(sources(back(), "thought"))
    begun = sources(back(), "task")
    assert any("after step 3 of run `run-1`" in text and text.startswith("## Branch") for text in begun)
    assert any("after step 4 of run `run-3`" in text and text.startswith("## Taken back") for text in begun)
    assert ["taken back" in text for text in sources(back(), "end")] == [True, False, False]


def test_f4_a_resumed_run_shows_the_seam_and_what_was_interrupted() -> None:
    cells = notebook(back()).cells
    at = [cell.metadata.cellwright.role for cell in cells].index("resumed")
    assert cells[at].source.startswith("**Resumed**, 2027-01-15 08:00:01 UTC: 1 action was run again")
    assert cells[at - 1].source.startswith("**Not run again**: this code was interrupted.")
    assert cells[at + 1].source.startswith("### Step 3")
    assert not any(cell.source.startswith("_begin_anew") for cell in cells), "its variables were rebuilt"


def test_f1_all_that_happened_between_steps_is_told() -> None:
    assert sources(back(), "told") == ["**The model was told** by `person`:\n\n> Halve it instead."]
    assert sources(back(), "compacted")[0].startswith("**Shortened**: 12,345 characters")
    assert "500 + 30 tokens (10 reasoning) · $0.0020 · 2.0 s" in sources(back(), "plan")[0]
    assert "| `data/people.csv` | 1,234 | `" + "ab" * 32 in sources(back(), "task")[0]
    asked = sources(back(), "thought")[0]
    assert "**Typed** by a person:\n\n- `Name?` `Ada`" in asked
    paid = "`claude-x` · 900 + 60 tokens (800 cached) · $0.0010 · 1.2 s · approved by `auto` · ran 0.1 s"
    assert f"<sub>{paid}</sub>" in asked


def test_f1_an_agent_that_was_called_is_told_beneath_the_step_and_named_by_the_call() -> None:
    made = notebook(back())
    (told,) = (cell for cell in made.cells if cell.metadata.cellwright.role == "agent")
    assert "run-2" in told.source
    assert "```python\nfinal_answer(2)\n```" in told.source
    action = next(cell for cell in made.cells if cell.metadata.cellwright.get("agents"))
    assert (action.metadata.cellwright.agents, action.metadata.cellwright.step) == (["run-2"], 3)
    alone = notebook([back()[1]])
    roles = [cell.metadata.cellwright.role for cell in alone.cells]
    assert (roles.count("action"), roles.count("agent")) == (1, 0), "it can be exported by itself"


def test_f1_events_that_say_the_same_number_twice_still_make_a_valid_notebook() -> None:
    import nbformat

    run = a_run("</details> | ` <script>", a_step(1, "</details> | ` <script>", "x"))
    same = Run([run.events[0], *(replace(event, seq=1) for event in [*run.events[1:], *run.events[1:]])])
    nbformat.validate(notebook([same]))


# ---- files ----------------------------------------------------------------------------------------------------------


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out.ipynb"
    path.write_text("old")
    write(short(), path)
    assert json.loads(path.read_text())["nbformat"] == 4
    with pytest.raises(ExportError, match="can't be written") as error:
        write(short(), tmp_path / "missing" / "out.ipynb")
    assert "\n" not in str(error.value)
    with pytest.raises(ExportError, match="no run"):
        write([], path)
    write([a_run("x", a_step(1, "half a character: \ud83d", "print('\ud83d')"))], path)
    assert "half a character: ?" in path.read_text()
    assert [file.name for file in tmp_path.iterdir()] == ["out.ipynb"]


def test_a_long_run_is_exported(tmp_path: Path) -> None:
    import nbformat

    run = a_run("x", *(a_step(n, "Think.", f"print({n})", Stream("stdout", f"{n}\n")) for n in range(1, 1001)))
    write([run], tmp_path / "long.ipynb")
    cells = nbformat.read(tmp_path / "long.ipynb", as_version=4).cells  # type: ignore[no-untyped-call]
    assert [cell.source for cell in cells if cell.cell_type == "code"][-1000:] == [
        f"print({n})" for n in range(1, 1001)
    ]


def test_e4_nbconvert_makes_html_of_it(tmp_path: Path) -> None:
    path = tmp_path / "made.ipynb"
    write(rich(), path)
    command = [sys.executable, "-m", "nbconvert", "--to", "html", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    html = path.with_suffix(".html").read_text()
    assert "Look at the <em>table</em>" in html
    assert "denied by" in html


if __name__ == "__main__":
    for golden_name, make in GOLDENS.items():
        write(make(), GOLDEN / f"{golden_name}.ipynb")
