"""Row C2: a model on a server of one's own does a task for an agent, under each name that such servers go by."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cellwright import CodeAgent
from cellwright.errors import ModelUnavailable
from cellwright.models.base import Message, Sampling
from cellwright.models.providers import LiteLLMModel
from cellwright.sandbox.child import ChildKernel
from fake_provider import THOUGHT_AND_CODE, FakeProvider


@pytest.mark.parametrize("name", ["openai/qwen", "hosted_vllm/qwen", "lm_studio/qwen", "llamafile/qwen"])
async def test_c2_a_server_that_speaks_openais_protocol_does_a_task(name: str, tmp_path: Path) -> None:
    async with FakeProvider() as provider:
        model = LiteLLMModel(name, api_base=provider.base_url)
        async with CodeAgent(model, sandbox=ChildKernel(workspace=tmp_path), journal=None) as agent:
            run = await agent.run("What is 6 * 7?")
    assert (run.status, run.answer) == ("success", 42)
    assert [request["model"] for request in provider.requests] == ["qwen"]
    assert run.totals.usage.total > 0
    assert not run.totals.cost_known, "nobody knows what one's own server costs"


class Ollama(BaseHTTPRequestHandler):
    """Ollama's own protocol: one JSON object a line."""

    heard: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        """Chat, or say what the model is: litellm asks that, too."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        lines: list[dict[str, Any]] = [{"model_info": {}, "capabilities": ["completion"]}]
        if self.path == "/api/chat":
            self.heard.append(asked)
            texts = [*THOUGHT_AND_CODE.splitlines(True), ""]
            lines = [{"message": {"role": "assistant", "content": text}, "done": not text} for text in texts]
            lines[-1] |= {"done_reason": "stop", "prompt_eval_count": 30, "eval_count": 12}
        body = b"".join(
            json.dumps({"model": "qwen", "created_at": "2026-01-01T00:00:00Z", **line}).encode() + b"\n"
            for line in lines
        )
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def ollama() -> Iterator[str]:
    """The address of such a server; in a thread, because a part of litellm blocks the loop while it asks."""
    Ollama.heard.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Ollama) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


async def test_c2_ollama_in_its_own_protocol_does_a_task(ollama: str, tmp_path: Path) -> None:
    model = LiteLLMModel("ollama_chat/qwen", api_base=ollama)
    async with CodeAgent(model, sandbox=ChildKernel(workspace=tmp_path), journal=None) as agent:
        run = await agent.run("What is 6 * 7?")
    assert (run.status, run.answer) == ("success", 42)
    assert [(request["model"], request["stream"]) for request in Ollama.heard] == [("qwen", True)]
    assert "What is 6 * 7?" in Ollama.heard[0]["messages"][-1]["content"]


async def test_c2_a_server_that_is_not_running_is_one_line() -> None:
    model = LiteLLMModel("hosted_vllm/qwen", api_base="http://127.0.0.1:9/v1", retries=0)
    with pytest.raises(ModelUnavailable, match="hosted_vllm/qwen did not answer") as error:
        async for _ in model.stream([Message("user", "Hello?")], Sampling()):
            pass
    assert "\n" not in str(error.value)
