"""Tools and agents on the Hugging Face Hub: a repository holds the same files as a folder.

A name may mean other files tomorrow, so what is pulled is pinned: the commit is looked up first, every file is taken
from it, and its hash is shown before anything is trusted. `HF_ENDPOINT` names another Hub, as it does elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from ..agent import CodeAgent
from ..errors import one_line
from ..tools import Tool
from .agents import agent_files, loaded
from .files import MOST_BYTES, MOST_FILES, Files, SharingError, decoded, is_wanted, read_folder, refuse_secrets
from .tools import tool_files

T = TypeVar("T")
RepoType: TypeAlias = Literal["model", "dataset", "space"]

REACH_SECONDS = 5.0
"""So long is the Hub looked for, before anything else: huggingface_hub itself tries for 23 seconds."""
SECONDS = 60.0
"""So long may a push or a pull take."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a repository holds at one commit."""

    files: Files
    repo_id: str
    commit: str

    @property
    def where(self) -> str:
        return f"{self.repo_id}@{self.commit}"


async def push(
    obj: Tool | CodeAgent | str | Path,
    repo_id: str,
    *,
    token: str | None = None,
    private: bool = True,
    repo_type: RepoType = "model",
) -> str:
    """Put a tool, an agent or a saved folder into a repository, made if need be; the hash of the commit.

    token: of the Hub; by default the one that huggingface_hub finds. Raises `SharingError`.
    """
    if isinstance(obj, CodeAgent):
        files = agent_files(obj)
    else:
        files = tool_files(obj) if isinstance(obj, Tool) else read_folder(obj)
    refuse_secrets(files)
    api = _api(token)

    def work() -> str:
        from huggingface_hub import CommitOperationAdd

        sdk = {"space_sdk": "static"} if repo_type == "space" else {}
        api.create_repo(repo_id, private=private, repo_type=repo_type, exist_ok=True, **sdk)
        added = [CommitOperationAdd(path, text.encode()) for path, text in files.items()]
        message = "Saved by Cellwright"
        return str(api.create_commit(repo_id, added, commit_message=message, repo_type=repo_type).oid)

    return await _bounded(work, api.endpoint, repo_id)


async def pull(
    repo_id: str,
    *,
    revision: str | None = None,
    trust: bool = False,
    token: str | None = None,
    repo_type: RepoType = "model",
    **options: Any,
) -> Tool | CodeAgent:
    """The tool or the agent of a repository; options as for `load_agent`.

    revision: a branch, a tag or a commit. Raises `NotTrusted` without `trust`, which names the commit and says what
    would run; `SharingError`.
    """
    found = await fetch(repo_id, revision=revision, token=token, repo_type=repo_type)
    return loaded(found.files, found.where, trust=trust, **options)


async def fetch(
    repo_id: str, *, revision: str | None = None, token: str | None = None, repo_type: RepoType = "model"
) -> Pulled:
    """The files of a repository at one commit, in memory; nothing of them is run. Raises `SharingError`."""
    api = _api(token)

    def work() -> Pulled:
        info = api.repo_info(repo_id, revision=revision, repo_type=repo_type, files_metadata=True)
        sizes = {item.rfilename: item.size or 0 for item in info.siblings or () if is_wanted(item.rfilename)}
        # Asked before anything is fetched: a repository may be as large as it likes.
        if len(sizes) > MOST_FILES or any(size > MOST_BYTES for size in sizes.values()):
            raise SharingError(f"{repo_id} has more or larger files than a tool or an agent may have.")
        files: dict[str, str] = {}
        with tempfile.TemporaryDirectory() as cache:
            for path in sizes:
                local = api.hf_hub_download(repo_id, path, revision=info.sha, repo_type=repo_type, cache_dir=cache)
                files[path] = decoded(Path(local).read_bytes(), path, repo_id)
        if not files:
            raise SharingError(f"{repo_id} holds no saved tool or agent.")
        return Pulled(files, repo_id, str(info.sha))

    return await _bounded(work, api.endpoint, repo_id)


def _api(token: str | None) -> Any:
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise SharingError("The Hub needs one more package: pip install 'cellwright[hub]'.") from None
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token, library_name="cellwright")


async def _bounded(work: Callable[[], T], endpoint: str, repo_id: str) -> T:
    """Do the work in a thread, if the Hub can be reached, and within `SECONDS`. Raises `SharingError` in one line."""
    from httpx import HTTPError
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    await _reach(endpoint)
    try:
        return await asyncio.wait_for(_in_thread(work), SECONDS)
    except TimeoutError:
        raise SharingError(f"{endpoint} took longer than {SECONDS:g} s; try again later.") from None
    except HfHubHTTPError as error:
        raise SharingError(_refused(error, repo_id)) from None
    except HFValidationError as error:
        raise SharingError(
            f"{one_line(repo_id, 100)!r} is no name of a repository: {one_line(str(error), 120)}"
        ) from None
    except (HTTPError, OSError, ValueError) as error:
        raise SharingError(f"{repo_id}: {one_line(str(error) or type(error).__name__, 200)}") from None


async def _reach(endpoint: str) -> None:
    import httpx

    try:
        async with httpx.AsyncClient(timeout=REACH_SECONDS) as client:
            await asyncio.wait_for(client.head(endpoint), REACH_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        why = one_line(str(error) or "no answer", 120)
        raise SharingError(f"The Hub at {endpoint} can't be reached ({why}). Is there a network?") from None


def _refused(error: Any, repo_id: str) -> str:
    status = error.response.status_code if error.response is not None else None
    if status in (401, 403):
        return f"{repo_id}: the Hub refused (status {status}). Log in with `hf auth login`, or give token=..."
    if status == 404:
        return (
            f"There is no {repo_id} of that revision and kind on the Hub, or it is private: log in, or give token=..."
        )
    return f"{repo_id}: the Hub answered with status {status}: {one_line(error.server_message or str(error), 160)}"


def _in_thread(work: Callable[[], T]) -> Coroutine[Any, Any, T]:
    """As `asyncio.to_thread`, but in a thread that does not keep the program from ending when it is given up."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(set_it: Callable[[Any], None], value: Any) -> None:
        if not done.done():
            set_it(value)

    def run() -> None:
        try:
            outcome: tuple[Callable[[Any], None], Any] = (done.set_result, work())
        except Exception as error:  # noqa: BLE001 - raised again where it is awaited
            outcome = (done.set_exception, error)
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, *outcome)

    async def wait() -> T:
        threading.Thread(target=run, name="hub", daemon=True).start()
        return await done

    return wait()
