"""The workspace: files go in and are looked at, whatever code in the sandbox has planted there."""

# ruff: noqa: ASYNC240 - a test has the loop to itself

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwright.errors import UsageError, WorkspaceError
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation
from cellwright.sandbox.workspace import FOLDER, copy_in, drop_if_empty, files_of, new_workspace, read_file
from cellwright.task import named_files


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return new_workspace(tmp_path)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.txt"
    path.write_text("the person's own")
    return path


def test_each_session_has_a_folder_of_its_own(tmp_path: Path) -> None:
    first, second = new_workspace(tmp_path), new_workspace(tmp_path)
    assert first != second
    assert first.parent == second.parent == tmp_path / FOLDER


def test_what_holds_nothing_is_not_kept(tmp_path: Path) -> None:
    empty, full = new_workspace(tmp_path), new_workspace(tmp_path)
    (full / "a.txt").write_text("x")
    drop_if_empty(empty)
    drop_if_empty(full)
    assert not empty.exists()
    assert (full / "a.txt").exists()
    (full / "a.txt").unlink()
    drop_if_empty(full)
    assert list(tmp_path.iterdir()) == []


def test_files_go_in_with_their_folders(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("1,2")
    copy_in(tmp_path / "data" / "a.csv", workspace, "data/a.csv")
    assert read_file(workspace, "data/a.csv", 100) == b"1,2"
    assert [(file.name, file.size) for file in files_of(workspace)] == [("data/a.csv", 3)]


def test_what_code_wrote_since_is_not_overwritten_and_what_the_person_wrote_since_is_taken(
    workspace: Path, tmp_path: Path
) -> None:
    source = tmp_path / "a.csv"
    source.write_text("old")
    copy_in(source, workspace, "a.csv")
    (workspace / "a.csv").write_text("by code")
    copy_in(source, workspace, "a.csv")
    assert read_file(workspace, "a.csv", 100) == b"by code"
    source.write_text("new")
    os.utime(source, (4e9, 4e9))
    copy_in(source, workspace, "a.csv")
    assert read_file(workspace, "a.csv", 100) == b"new"


def test_a_planted_link_is_replaced_not_followed(workspace: Path, secret: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("data")
    (workspace / "a.csv").symlink_to(secret)
    copy_in(source, workspace, "a.csv")
    assert secret.read_text() == "the person's own"
    assert (workspace / "a.csv").read_text() == "data"


def test_a_planted_folder_link_is_refused(workspace: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("data")
    (tmp_path / "elsewhere").mkdir()
    (workspace / "data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WorkspaceError):
        copy_in(source, workspace, "data/a.csv")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_links_are_neither_read_nor_listed(workspace: Path, secret: Path, tmp_path: Path) -> None:
    (workspace / "link.txt").symlink_to(secret)
    (workspace / "folder").symlink_to(tmp_path)
    assert list(files_of(workspace)) == []
    for name in ("link.txt", "folder/secret.txt"):
        with pytest.raises(WorkspaceError, match="can't be read"):
            read_file(workspace, name, 100)


def test_a_pipe_does_not_hold_the_host(workspace: Path) -> None:
    os.mkfifo(workspace / "pipe")
    with pytest.raises(WorkspaceError, match="no regular file"):
        read_file(workspace, "pipe", 100)


def test_only_so_much_is_read(workspace: Path) -> None:
    (workspace / "long.txt").write_text("x" * 1000)
    assert len(read_file(workspace, "long.txt", 10)) == 10


@given(st.text(max_size=20))
def test_no_name_leads_out(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    workspace = tmp_path_factory.getbasetemp()
    outside = workspace.parent / "canary.txt"
    outside.write_text("canary")
    for tried in (name, f"../{name}", f"{name}/../../canary.txt", str(outside)):
        try:
            assert read_file(workspace, tried, 100) != b"canary"
        except (WorkspaceError, UsageError):
            continue


def test_a_file_that_is_too_large_is_said(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "big.csv").write_text("x" * 2000)
    with pytest.raises(WorkspaceError, match=r"big\.csv has 2,000 bytes, 1,000 are allowed.*--read") as error:
        copy_in(tmp_path / "big.csv", workspace, "big.csv", limit=1000)
    assert "\n" not in str(error.value)


def test_a_task_hands_over_the_files_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("a.csv", "data/b.csv", "my file.csv", "other.csv"):
        (tmp_path / name).write_text("x")
    (tmp_path.parent / "outside.csv").write_text("x")
    task = "Join `a.csv`, data/b.csv and my file.csv. Leave ../outside.csv and /etc/hosts.conf and v1.2 alone."
    assert [str(path.relative_to(tmp_path)) for path in named_files(task, tmp_path)] == [
        "a.csv",
        "data/b.csv",
        "my file.csv",
    ]


@given(st.text(max_size=200))
def test_any_text_may_be_searched_for_names(task: str) -> None:
    assert list(named_files(task, Path(__file__).parent / "no such folder")) == []


async def test_code_finds_what_was_brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("1,2")
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "b.csv").write_text("3,4")
    monkeypatch.chdir(tmp_path / "far")
    kernel = ChildKernel()
    assert list(await kernel.bring([tmp_path / "a.csv", tmp_path / "far" / "b.csv"])) == ["a.csv", "b.csv"]
    assert {file.name for file in files_of(kernel.workspace)} == {"a.csv", "b.csv"}
    await kernel.close()
    assert (kernel.workspace / "a.csv").exists()  # kept after the session


async def test_without_isolation_files_stay_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kernel = ChildKernel(isolation=Isolation(level="process"))
    (tmp_path / "a.csv").write_text("1,2")
    assert list(await kernel.bring([tmp_path / "a.csv", Path(__file__)])) == ["a.csv", str(Path(__file__).resolve())]
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
