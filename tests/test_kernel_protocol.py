"""jupyter_kernel_test, the standard suite for kernels, on the kernelspec that `cellwright install` writes.

Skipped: history by range. IPython calls the running session 0 there (IPython/core/history.py, `get_range`), and the
suite wants the number that `tail` gave; stock ipykernel differs in the same way. No sample is `invalid` in is_complete:
any text is a task. A provider on loopback answers the tasks among the samples.
"""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any, ClassVar

import jupyter_kernel_test
from jupyter_client.manager import start_new_kernel
from jupyter_kernel_test.msgspec_v5 import schema_fragments

from cellwright_kernel.install import install
from fake_provider import FakeProvider, echo
from notebook import MODEL

# The suite knows no comms, and any widget sends them (Jupyter messaging, "Custom Messages").
_COMM = {"comm_id": {"type": "string"}, "data": {"type": "object"}}
schema_fragments["comm_open"] = {"properties": {**_COMM, "target_name": {"type": "string"}}}
schema_fragments["comm_msg"] = schema_fragments["comm_close"] = {"properties": _COMM}

TASK = "py: final_answer(6 * 7)"


class ProviderThread:
    """A provider for code that blocks, as the suite's does."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self._provider = FakeProvider(reply=echo)
        asyncio.run_coroutine_threadsafe(self._provider.__aenter__(), self.loop).result(10)

    @property
    def base_url(self) -> str:
        return self._provider.base_url

    def end(self) -> None:
        asyncio.run_coroutine_threadsafe(self._provider.__aexit__(None, None, None), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class TestE9StandardSuite(jupyter_kernel_test.KernelTests):  # type: ignore[misc]
    kernel_name = "cellwright"
    language_name = "markdown"
    file_extension = ".md"
    code_hello_world = "%%py\nprint('hello, world')"
    code_stderr = "%%py\nimport sys; print('test', file=sys.stderr)"
    completion_samples: ClassVar = [
        {"text": "zi", "matches": {"zip"}},
        {"text": "%agent re", "matches": {"recall", "reset", "resume"}},
        {"text": "%agent runs s", "matches": {"search", "stats"}},
        {"text": "%%agent --approve ask-", "matches": {"ask-risky"}},
    ]
    complete_code_samples: ClassVar = ["plot the data", "%agent steps", "%%py\nx = 1\n"]
    incomplete_code_samples: ClassVar = ["plot the data \\", "%%py"]
    code_page_something = "len?"
    code_generate_error = "%%py\n1 / 0"
    code_execute_result: ClassVar = [
        {"code": TASK, "result": "42"},
        {"code": "%%py\n[1, 4, 9]", "result": "[1, 4, 9]"},
        {"code": "%%agent --max-steps 2\npy: final_answer([1])", "result": "[1]"},
        {"code": "%agent tools", "result": "There are no tools yet; %%tool defines one."},
    ]
    code_display_data: ClassVar = [
        {"code": "%%py\nfrom IPython.display import HTML, display; display(HTML('<b>t</b>'))", "mime": "text/html"},
        {"code": TASK, "mime": "application/vnd.jupyter.widget-view+json"},
    ]
    code_history_pattern = "py: final?answer(6 ? 7)"  # TASK alone: other tests share the history
    supported_history_operations = ("tail", "search")
    code_inspect_sample = "zip"
    code_clear_output = "%%py\nfrom IPython.display import clear_output; clear_output()"
    provider: ClassVar[ProviderThread]

    @classmethod
    def setUpClass(cls) -> None:
        """Install the kernelspec in this run's own data folder; start the kernel, and its sandbox."""
        assert str(Path.home()) not in os.environ["JUPYTER_DATA_DIR"], "the tests have a data folder of their own"
        install(user=True)
        cls.provider = ProviderThread()
        base = {"OPENAI_API_BASE": cls.provider.base_url, "OPENAI_BASE_URL": cls.provider.base_url}
        started: tuple[Any, Any] = start_new_kernel(kernel_name=cls.kernel_name, env={**os.environ, **MODEL, **base})
        cls.km, cls.kc = started
        # The suite waits 15 s for a reply; litellm and the sandbox may take longer than that on a busy machine.
        for first in ("%%py\n1", TASK):
            cls.kc.execute_interactive(first, output_hook=lambda _: None, timeout=60)

    @classmethod
    def tearDownClass(cls) -> None:
        super().tearDownClass()
        cls.provider.end()


class TestE9Welcome(jupyter_kernel_test.IopubWelcomeTests):  # type: ignore[misc]
    kernel_name = "cellwright"
    support_iopub_welcome = True

    @classmethod
    def setUpClass(cls) -> None:
        """As above."""
        install(user=True)
        super().setUpClass()
