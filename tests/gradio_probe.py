"""A real Gradio app for the tests: `python gradio_probe.py PORT`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import gradio as gr

HERE = Path.cwd()


def greet(name: str, times: float = 1, mood: str = "glad") -> str:
    """Greet somebody."""
    return f"{mood} {name} " * int(times)


def turned(image: str) -> str:
    return image


def length(file: str | None) -> int:
    return len(Path(file).read_bytes()) if file else -1


def lengths(files: list[str]) -> list[int]:
    return [len(Path(file).read_bytes()) for file in files]


def anything(value: Any) -> tuple[Any, str]:
    return value, "/etc/hostname"


def crafted() -> dict[str, Any]:
    """A file that is none of the app's, and an address where nobody asked to look."""
    return {"path": "/etc/hostname", "url": "http://127.0.0.1:9/x", "meta": {"_type": "gradio.FileData"}}


def headers(request: gr.Request) -> dict[str, str]:
    return dict(request.headers)


def slow(seconds: float, progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008 - how Gradio finds it
    for part in range(10):
        progress((part, 10), desc="part")
        time.sleep(seconds / 10)
        if part == 9:
            (HERE / "finished").touch()
    return "done"


def fail() -> str:
    raise gr.Error("no such\nthing")


with gr.Blocks() as app:
    text, number, mood = gr.Textbox(label="Whom"), gr.Number(1, precision=0), gr.Dropdown(["glad", "sad"], value="glad")
    answer, data = gr.Textbox(), gr.JSON()
    image, file, files = gr.Image(type="filepath"), gr.File(), gr.File(file_count="multiple")
    example = gr.File(value=__file__)
    endpoints: list[tuple[Any, Any, Any]] = [
        (greet, [text, number, mood], answer),
        (turned, image, gr.Image()),
        (length, file, number),
        (lengths, files, data),
        (anything, data, [data, answer]),
        (headers, None, data),
        (crafted, None, data),
        (slow, number, answer),
        (fail, None, answer),
    ]
    for function, inputs, outputs in endpoints:
        gr.Button().click(function, inputs, outputs, api_name=function.__name__)
    gr.Button().click(length, example, number, api_name="example")

if __name__ == "__main__":
    app.launch(server_port=int(sys.argv[1]), quiet=True, show_error=True)
