"""`cellwright export`: a notebook, a report, a page, a signature."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from audit_runs import rich
from cellwright.journal import Journal
from cellwright.notebook.metadata import layout_of, read_file, read_record
from cellwright.signing import check_signature, signature_of


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A folder with a journal of three runs."""
    async with Journal(tmp_path / "journal.sqlite") as journal:
        for run in rich():
            for event in run.events:
                await journal.append(run.id, event)
    return tmp_path


def export(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CELLWRIGHT_JOURNAL": str(folder / "journal.sqlite"), "JUPYTER_DATA_DIR": str(folder)}
    command = [sys.executable, "-c", "from cellwright.cli import main; main()", "export", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_g1_export_writes_the_conversation_up_to_the_run(folder: Path) -> None:
    done = export(folder, "run-2")
    assert (done.stdout, done.returncode) == ("cellwright-run-2.ipynb\n", 0), done.stderr
    assert [record.run.id for record in read_record(read_file(folder / "cellwright-run-2.ipynb"))] == ["run-1", "run-2"]


def test_f3_a_signed_export_holds_a_signature_by_a_key_that_is_made_once(folder: Path) -> None:
    signers = []
    for name in ("a.ipynb", "b.ipynb"):
        done = export(folder, "run-3", name, "--sign", "--report", "--max-output", "5000")
        assert done.returncode == 0, done.stderr
        made = read_file(folder / name)
        signature = signature_of(made["metadata"]["cellwright"]["signature"])
        check_signature(read_record(made), signature)
        signers.append(signature.fingerprint)
        assert layout_of(made).is_report
    assert signers[0] == signers[1]
    assert stat.S_IMODE((folder / "cellwright" / "signing-key.pem").stat().st_mode) == 0o600


def test_f6_a_page_is_one_word(folder: Path) -> None:
    done = export(folder, "latest", "--html", "--report")
    assert (done.stdout, done.returncode) == ("cellwright-run-3.html\n", 0), done.stderr
    assert "<!DOCTYPE html>" in (folder / "cellwright-run-3.html").read_text()
    refused = export(folder, "latest", "--html", "--sign")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
