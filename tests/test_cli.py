"""The command line as a person uses it: real processes, their output, their exit status."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import nbformat
import pytest

from cellwright import CodeAgent, ScriptedModel
from cellwright.cli import _with_files
from cellwright.console import ConsoleView, printable
from cellwright.events import Event, Output, ReplyDelta
from cellwright.journal import Journal
from cellwright.outputs import Failure, Stream

CELLWRIGHT = str(Path(sys.executable).with_name("cellwright"))


def cellwright(
    *arguments: str, folder: Path, seconds: float = 60, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run it in `folder`, with a journal of its own."""
    return subprocess.run(
        [CELLWRIGHT, *arguments],
        cwd=folder, env=environment(folder, **variables), capture_output=True, text=True, timeout=seconds, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def environment(folder: Path, **variables: str) -> Mapping[str, str]:
    journal = folder.parent / f"{folder.name}.sqlite"  # beside the folder, or the agent takes it for data
    return {**os.environ, "CELLWRIGHT_JOURNAL": str(journal), **variables}


def assert_one_line(done: subprocess.CompletedProcess[str], status: int, *parts: str) -> None:
    """It ended with that status and one line on stderr that says all of `parts`; nothing on stdout."""
    assert (done.returncode, done.stdout) == (status, ""), done
    assert done.stderr.startswith("Error: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    for part in parts:
        assert part in done.stderr


@pytest.fixture
async def on_record(tmp_path: Path) -> tuple[Path, list[str]]:
    """A folder whose journal holds two runs of one conversation, and their ids."""
    folder = tmp_path / "work"
    folder.mkdir()
    model = ScriptedModel(
        "Thought: Look.\n```python\nprint('first look')\n1 / 0\n```",
        "Thought: Multiply.\n```python\nfinal_answer(6 * 7)\n```",
        "Thought: Again.\n```python\nfinal_answer('the end')\n```",
    )
    async with CodeAgent(model, journal=Journal(environment(folder)["CELLWRIGHT_JOURNAL"])) as agent:
        first = await agent.run("What is six times seven?")
        second = await agent.run("And now?")
    assert (first.answer, second.answer) == (42, "the end")
    return folder, [first.id, second.id]


# ---- words and mistakes ----------------------------------------------------------------------------------------------


def test_without_arguments_it_shows_its_help(tmp_path: Path) -> None:
    bare, asked = cellwright(folder=tmp_path), cellwright("--help", folder=tmp_path)
    assert (bare.returncode, bare.stdout) == (0, asked.stdout)
    for command in ("run", "resume", "model", "install", "doctor", "runs", "show", "export", "verify"):
        assert re.search(rf"^  {command} ", bare.stdout, re.MULTILINE), command


def test_version(tmp_path: Path) -> None:
    assert re.fullmatch(r"cellwright \d+\.\d+\.\d+\n", cellwright("--version", folder=tmp_path).stdout)


def test_g1_run_names_its_options(tmp_path: Path) -> None:
    said = cellwright("run", "--help", folder=tmp_path).stdout
    for option in ("--file", "--model", "--max-steps", "--budget", "--export", "--json"):
        assert option in said


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["rnu", "x"], ["'rnu'", "'run'"]),
        (["instal"], ["'instal'", "'install'"]),
        (["model", "pul"], ["'pul'", "'pull'"]),
        (["run", "x", "--modle", "y"], ["--modle", "--model"]),
        (["run"], ["TASK"]),
        (["run", "  "], ["task is empty"]),
        (["run", "x", "--file", "no.csv"], ["no.csv"]),
        (["run", "x", "--max-steps", "many"], ["--max-steps", "many"]),
        (["run", "x", "--budget", "0"], ["--budget"]),
        (["install", "--user", "--sys-prefix"], ["--user"]),
    ],
)
def test_a_wrong_word_is_one_line_with_status_2(arguments: list[str], parts: list[str], tmp_path: Path) -> None:
    # A name that needs nothing, so that the task itself is looked at where no model is to be had.
    assert_one_line(cellwright(*arguments, folder=tmp_path, CELLWRIGHT_MODEL="ollama/any"), 2, *parts)


def test_an_unknown_model_is_one_line(tmp_path: Path) -> None:
    assert_one_line(cellwright("run", "x", "--model", "nobody/nothing", folder=tmp_path), 1, "'nobody/nothing'")


def test_a_model_without_key_is_one_line(tmp_path: Path) -> None:
    done = cellwright("run", "x", "--model", "anthropic/claude-sonnet-4-5", folder=tmp_path)
    assert_one_line(done, 1, "ANTHROPIC_API_KEY")


def test_nowhere_to_export_to_is_said_before_a_model_is_asked(tmp_path: Path) -> None:
    done = cellwright("run", "x", "--model", "nobody/nothing", "--export", "no/such/a.ipynb", folder=tmp_path)
    assert_one_line(done, 1, "There is no folder no/such")
    done = cellwright("run", "x", "--model", "nobody/nothing", "--export", "a.txt", folder=tmp_path)
    assert_one_line(done, 1, "ends in .ipynb")


def test_a_file_is_named_in_the_task_once() -> None:
    assert _with_files("Sum it up.", ["a.csv"]) == "Sum it up.\nFile: a.csv"
    assert _with_files("Sum up a.csv.", ["a.csv"]) == "Sum up a.csv."


# ---- what is on record -----------------------------------------------------------------------------------------------


def test_an_empty_journal_says_so(tmp_path: Path) -> None:
    listed = cellwright("runs", folder=tmp_path)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.startswith("No runs in ")
    assert_one_line(cellwright("show", "latest", folder=tmp_path), 1, "no runs")
    assert_one_line(cellwright("show", "abc", folder=tmp_path), 1, "'abc'")


def test_f5_runs_lists_the_newest_first(on_record: tuple[Path, list[str]]) -> None:
    folder, (first, second) = on_record
    lines = cellwright("runs", folder=folder).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["run", second, first]
    assert "What is six times seven?" in lines[2]
    assert "success" in lines[2]
    only = cellwright("runs", "--limit", "1", folder=folder).stdout.splitlines()
    assert [line.split()[0] for line in only] == ["run", second]


def test_f5_show_prints_thought_code_output_error_answer_and_totals(on_record: tuple[Path, list[str]]) -> None:
    folder, (first, second) = on_record
    shown = cellwright("show", first[:8], folder=folder).stdout
    places = [
        shown.index(part)
        for part in (
            "What is six times seven?", "Step 1", "Look.", "│ print('first look')", "\nfirst look\n",
            "ZeroDivisionError: division by zero", "line 2: 1 / 0", "Step 2", "Multiply.", "Answer: 42", "2 steps",
        )
    ]  # fmt: skip
    assert places == sorted(places)
    assert "\x1b" not in shown
    assert "the end" in cellwright("show", "latest", folder=folder).stdout
    assert second in cellwright("show", second, folder=folder).stdout


def test_export_writes_the_conversation_up_to_that_run(on_record: tuple[Path, list[str]]) -> None:
    folder, (first, second) = on_record
    done = cellwright("export", first, "a.ipynb", folder=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a.ipynb\n", "")
    assert runs_in(folder / "a.ipynb") == [first]
    done = cellwright("export", "latest", folder=folder)
    assert runs_in(folder / done.stdout.strip()) == [first, second]


def runs_in(path: Path) -> list[str]:
    made = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(made)
    return [run["started"]["run_id"] for run in made.metadata.cellwright.runs]


def test_a_pipe_that_closes_early_is_no_error(on_record: tuple[Path, list[str]]) -> None:
    folder, _ = on_record
    command = f"{CELLWRIGHT} show latest | true"
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""


# ---- in a terminal ---------------------------------------------------------------------------------------------------


def test_in_a_terminal_there_are_colours(on_record: tuple[Path, list[str]]) -> None:
    folder, _ = on_record
    shown = in_terminal("show", "latest", folder=folder)
    assert "\x1b[1;32m" in shown
    assert "the end" in shown


def in_terminal(*arguments: str, folder: Path, typed: str = "") -> str:
    """What it writes to a terminal, in which somebody has typed."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [CELLWRIGHT, *arguments], cwd=folder, env={**environment(folder), "TERM": "xterm-256color"},
        stdin=its, stdout=its, stderr=its, start_new_session=True,
    )  # fmt: skip
    os.close(its)
    os.write(ours, typed.encode())
    written = b""
    try:
        while piece := os.read(ours, 65536):
            written += piece
    except OSError:
        pass  # EIO: the other side is closed
    finally:
        os.close(ours)
        process.wait(60)
    return written.decode(errors="replace")


def test_nothing_that_code_writes_can_steer_the_terminal() -> None:
    assert printable("a\x1b[2Jb\x1b]0;title\x07c\x1b[31md\x1b") == "abcd"
    assert printable("10%\r50%\r100%\r\nend") == "100%\nend"
    assert printable("x\x08y\u202ez") == "x\N{REPLACEMENT CHARACTER}y\N{REPLACEMENT CHARACTER}z"


def test_output_that_comes_in_pieces_stays_on_its_line() -> None:
    shown = watch(
        Output(step=1, output=Stream("stdout", "one ")),
        Output(step=1, output=Stream("stdout", "two")),
        Output(step=1, output=Failure("ValueError", "no [bold]markup[/]")),
    )
    assert shown == "one two\nValueError: no [bold]markup[/]\n"


def test_a_reply_is_not_shown_piece_by_piece_where_there_is_no_terminal() -> None:
    assert watch(ReplyDelta(step=1, text="Thought: ")) == ""


def watch(*events: Event) -> str:
    from io import StringIO

    from rich.console import Console

    file = StringIO()
    view = ConsoleView(Console(file=file, width=80))
    for event in events:
        view.take(event)
    view.close()
    return file.getvalue()


# ---- the machine -----------------------------------------------------------------------------------------------------


def test_install_writes_a_kernelspec_that_names_this_python(tmp_path: Path) -> None:
    done = cellwright("install", "--prefix", str(tmp_path), folder=tmp_path)
    spec = tmp_path / "share" / "jupyter" / "kernels" / "cellwright"
    assert (done.returncode, done.stdout) == (0, f"The Cellwright kernel is in {spec}\n")
    facts = json.loads((spec / "kernel.json").read_text())
    python, *rest = facts["argv"]
    assert Path(python).parent == Path(sys.executable).parent  # not resolved: the link is what says which environment
    assert rest == ["-m", "cellwright_kernel", "-f", "{connection_file}"]
    assert (facts["display_name"], facts["language"], facts["interrupt_mode"]) == ("Cellwright", "markdown", "message")
    assert {path.name for path in spec.iterdir()} == {
        "kernel.json", "logo-32x32.png", "logo-64x64.png", "logo-svg.svg"
    }  # fmt: skip
    extension = tmp_path / "share" / "jupyter" / "labextensions" / "cellwright"
    build = json.loads((extension / "package.json").read_text())["jupyterlab"]["_build"]
    assert (extension / build["load"]).is_file()
    assert cellwright("install", "--prefix", str(tmp_path), folder=tmp_path).returncode == 0


def test_install_where_nothing_can_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_one_line(cellwright("install", "--prefix", str(tmp_path / "file"), folder=tmp_path), 1, "can't be written")


def test_doctor_starts_a_sandbox_and_shows_no_key(tmp_path: Path) -> None:
    done = cellwright("doctor", folder=tmp_path, MISTRAL_API_KEY="very-secret")
    assert "very-secret" not in done.stdout + done.stderr
    assert "MISTRAL_API_KEY" in done.stdout
    assert re.search(
        r"^ok +sandbox +python3, Python 3\.\d+\.\d+, isolated by (bwrap|landlock), network none: started and ended",
        done.stdout,
        re.MULTILINE,
    )


def test_model_list_says_which_one_would_answer(tmp_path: Path) -> None:
    done = cellwright("model", "list", folder=tmp_path, MISTRAL_API_KEY="very-secret")
    assert "Without --model: mistral/" in done.stdout
    assert "very-secret" not in done.stdout + done.stderr


def test_remove_without_a_model_is_no_error(tmp_path: Path) -> None:
    done = cellwright("model", "remove", folder=tmp_path, CELLWRIGHT_MODELS=str(tmp_path / "models"))
    assert (done.returncode, done.stderr) == (0, "")


# ---- a task, with the embedded model ---------------------------------------------------------------------------------

SPECIES = "species,flipper_length_mm\nAdelie,181\nAdelie,186\nGentoo,211\nGentoo,230\nChinstrap,192\n"


@pytest.mark.model
@pytest.mark.timeout(400)
def test_g1_a_task_about_a_file_is_done_shown_and_on_record(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "penguins.csv").write_text(SPECIES)
    task = "Which species has the longest flippers on average?"
    done = cellwright(
        "run", task, "--file", "penguins.csv", "--model", "embedded", "--json", "--export", "a.ipynb",
        folder=folder, seconds=300,
    )  # fmt: skip
    assert done.returncode == 0, done
    assert done.stdout.count("\n") == 1
    facts = json.loads(done.stdout)
    assert (facts["answer"], facts["status"], facts["cost"]) == ("Gentoo", "success", 0)
    assert facts["steps"] >= 1 and facts["tokens"] > 100 and facts["seconds"] > 0
    assert runs_in(folder / "a.ipynb") == [facts["run_id"]]
    shown = cellwright("show", facts["run_id"], folder=folder).stdout
    assert "File: penguins.csv" in shown
    assert "Answer: 'Gentoo'" in shown


@pytest.mark.model
@pytest.mark.timeout(400)
def test_ctrl_c_stops_the_run_and_keeps_its_record(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    process = subprocess.Popen(
        [CELLWRIGHT, "run", "What is 2**10?", "--model", "embedded"], cwd=folder, env=environment(folder),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    first = process.stdout.readline()  # the run has begun
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    rest, complaint = process.communicate(timeout=60)
    assert (process.returncode, complaint) == (130, "")
    assert "interrupted" in rest
    assert time.monotonic() - began < 10
    run_id = first.split()[-1]
    assert "interrupted" in cellwright("show", run_id, folder=folder).stdout
