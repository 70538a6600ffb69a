"""Images to models that see: whatever a person has at hand, plots of the sandbox, small enough, and sent once."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from matplotlib.figure import Figure

from cellwright import CodeAgent
from cellwright.errors import UsageError
from cellwright.images import LONGEST_SIDE, MOST_BYTES, Image, as_image, as_images, images_of
from cellwright.journal import Journal
from cellwright.models.base import Message, Sampling, Text, as_hashed, sha256
from cellwright.models.chat_form import as_dicts
from cellwright.models.providers import LiteLLMModel, sees_images
from cellwright.outputs import Display, Stream
from cellwright.run import Step
from fake_provider import FakeProvider


def picture(width: int = 40, height: int = 30, form: str = "PNG", mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    PIL.Image.new(mode, (width, height), 0).save(file, form)
    return file.getvalue()


def noise(width: int, height: int, channels: int = 3) -> Any:
    return np.random.default_rng(7).integers(0, 256, (height, width, channels), dtype=np.uint8)


def opened(image: Image) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(base64.b64decode(image.data)))


@pytest.mark.parametrize(
    ("form", "mime"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("GIF", "image/gif"), ("WEBP", "image/webp")]
)
def test_c5_small_files_go_as_they_are(tmp_path: Path, form: str, mime: str) -> None:
    content = picture(form=form)
    path = tmp_path / "a picture"
    path.write_bytes(content)
    expected = Image(mime, base64.b64encode(content).decode())
    assert as_image(path) == as_image(str(path)) == as_image(content) == as_image(bytearray(content)) == expected
    assert as_image(expected) is expected
    assert expected.url.startswith(f"data:{mime};base64,")


def test_c5_other_forms_become_png() -> None:
    for form in ("BMP", "TIFF"):
        image = as_image(picture(form=form))
        assert (image.mime, opened(image).size) == ("image/png", (40, 30))


def test_c5_large_images_are_made_small_and_keep_their_shape() -> None:
    image = as_image(picture(4000, 1000))
    assert opened(image).size == (LONGEST_SIDE, LONGEST_SIDE // 4)


@pytest.mark.parametrize("channels", [3, 4])
def test_c5_what_is_still_too_many_bytes_becomes_jpeg(channels: int) -> None:
    image = as_image(noise(2000, 2000, channels))
    assert image.mime == "image/jpeg"
    assert len(base64.b64decode(image.data)) <= MOST_BYTES
    assert max(opened(image).size) == LONGEST_SIDE


def test_c5_figures_pil_images_and_arrays_are_images() -> None:
    figure = Figure()
    figure.subplots().plot([1, 2])
    assert opened(as_image(figure)).size[0] > 100
    for mode in ("RGB", "RGBA", "L", "P", "1", "CMYK", "I;16"):
        assert opened(as_image(PIL.Image.new(mode, (40, 30)))).size == (40, 30)
    assert opened(as_image(noise(40, 30))).size == (40, 30)
    grey = as_image(np.full((30, 40), 200, np.uint8))
    assert opened(grey).getpixel((0, 0)) == (200, 200, 200)


def _bomb() -> bytes:
    """A PNG of a few bytes that says it has 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


WRONG: dict[str, object] = {
    "nothing": b"",
    "text": b"hello",
    "half a file": picture(400, 300)[:60],
    "a bomb": _bomb(),
    "a missing file": Path("/nowhere/a.png"),
    "a folder": Path("/"),
    "a zero in a path": "a\0b.png",
    "a number": 7,
    "a list": [1, 2],
    "floats": np.zeros((3, 3)),
    "two channels": np.zeros((3, 3, 2), np.uint8),
    "no pixels": np.zeros((0, 3), np.uint8),
}


@pytest.mark.parametrize("what", WRONG)
def test_c5_what_is_no_image_is_refused_in_one_line(what: str) -> None:
    with pytest.raises(UsageError) as caught:
        as_image(WRONG[what])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 320


async def test_c5_several_are_made_small_beside_the_loop() -> None:
    first, second = await as_images([picture(), noise(40, 30)])
    assert (first.mime, opened(second).size) == ("image/png", (40, 30))
    with pytest.raises(UsageError):
        await as_images([picture(), b"no"])


def test_c5_without_pillow_small_files_go_and_large_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / "small.png").write_bytes(picture())
    (tmp_path / "large.png").write_bytes(picture() + b"\0" * MOST_BYTES)
    (tmp_path / "other.bmp").write_bytes(picture(form="BMP"))
    program = (
        "import sys; sys.modules['PIL'] = None\n"  # what an import finds where nothing is installed
        "from cellwright.errors import UsageError\n"
        "from cellwright.images import as_image\n"
        "print(as_image('small.png').mime)\n"
        "for name in ('large.png', 'other.bmp'):\n"
        "    try: as_image(name)\n"
        "    except UsageError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    mime, large, other = done.stdout.splitlines()
    assert mime == "image/png"
    assert large == "large.png is too large to be sent as it is, and converting it needs Pillow: `pip install pillow`."
    assert other.startswith("other.bmp is no PNG, JPEG, GIF or WebP file")


def test_c5_pillow_is_not_imported_until_an_image_comes() -> None:
    program = "import sys, cellwright.images, cellwright.models.providers\nassert 'PIL' not in sys.modules\n"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# ---- plots of the sandbox --------------------------------------------------------------------------------------------


def shown(*contents: bytes, mime: str = "image/png") -> Step:
    # As Jupyter sends it: base64 with line breaks, beside plain text.
    bundles = [{mime: base64.encodebytes(content).decode(), "text/plain": "<Figure>"} for content in contents]
    return Step(1, outputs=[Stream("stdout", "hi\n"), *map(Display, bundles)])


def test_c5_the_last_plots_of_an_action_are_shown() -> None:
    contents = [picture(width) for width in (10, 20, 30)]
    assert [opened(image).size[0] for image in images_of(shown(*contents))] == [20, 30]
    assert [opened(image).size[0] for image in images_of(shown(*contents), limit=5)] == [10, 20, 30]
    assert images_of(shown(picture(form="JPEG"), mime="image/jpeg"))[0].mime == "image/jpeg"
    assert opened(images_of(shown(picture(3000, 300)))[0]).size[0] == LONGEST_SIDE
    assert images_of(Step(1)) == ()


def test_c5_what_the_sandbox_forges_is_left_out() -> None:
    assert images_of(shown(_bomb(), b"no picture", b"", picture(form="GIF"), picture(form="TIFF"))) == ()
    forged: Any = [{"image/png": 7}, {"image/png": "%%%"}, {"image/png": "ä"}, {"image/svg+xml": "<svg/>"}]
    assert images_of(Step(1, outputs=[Display(data) for data in forged])) == ()


# ---- messages --------------------------------------------------------------------------------------------------------

SEEN = Message("user", "What is this?", images=(as_image(picture()),))
ASK = [Message("system", "You see."), SEEN]


def test_c5_images_are_part_of_what_is_hashed_and_old_records_stay_valid() -> None:
    plain = Message("user", "What is this?")
    assert json.loads(as_hashed(plain)) == {"role": "user", "content": plain.content, "calls": [], "call_id": ""}
    assert sha256([plain]) != sha256([SEEN])
    assert sha256([SEEN]) != sha256([Message("user", "What is this?", images=(as_image(picture(41)),))])


def test_c5_images_are_parts_of_the_content_as_openai_writes_it() -> None:
    system, user = as_dicts(ASK)
    assert system["content"] == "You see."
    assert user["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": SEEN.images[0].url}},
    ]


async def ask(model: LiteLLMModel) -> str:
    return "".join([part.text async for part in model.stream(ASK, Sampling()) if isinstance(part, Text)])


@pytest.mark.parametrize(("name", "sees"), [("openai/gpt-4o", None), ("openai/x", True)])
async def test_c5_a_model_that_sees_is_sent_the_image(name: str, sees: bool | None) -> None:
    async with FakeProvider() as provider:
        model = LiteLLMModel(name, api_base=provider.base_url, api_key="k", sees=sees)
        assert await ask(model)
    url = provider.requests[0]["messages"][1]["content"][1]["image_url"]["url"]
    assert base64.b64decode(url.partition(",")[2]) == picture()
    usage, _ = model.count(ASK, "")
    assert usage.prompt > 50


@pytest.mark.parametrize(("name", "sees"), [("openai/x", None), ("openai/gpt-4o", False)])
async def test_c5_a_model_that_cannot_see_is_told_so(name: str, sees: bool | None) -> None:
    async with FakeProvider() as provider:
        assert await ask(LiteLLMModel(name, api_base=provider.base_url, api_key="k", sees=sees))
    said = provider.requests[0]["messages"][1]["content"]
    assert said == f"What is this?\n(1 image was left out: {name} can't see)"
    twice = Message("user", "Look.", images=SEEN.images * 2)
    assert as_dicts([twice], "embedded")[0]["content"] == "Look.\n(2 images were left out: embedded can't see)"


async def test_c5_which_models_see_is_known() -> None:
    assert await sees_images("anthropic/claude-sonnet-4-5")
    assert not await sees_images("mistral/devstral-latest")
    assert not await asyncio.wait_for(sees_images("nobody/nothing"), 5)


def plotting(request: dict[str, Any]) -> str:
    """A plot first, then the answer."""
    if sum(message["role"] == "assistant" for message in request["messages"]):
        return "Done.\n```python\nfinal_answer(1)\n```"
    code = "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"
    return f"Plot.\n```python\n{code}\n```"


async def test_c5_a_tasks_image_and_a_plot_reach_the_model_and_are_sent_where_they_first_stood(tmp_path: Path) -> None:
    async with FakeProvider(reply=plotting) as provider:
        model = LiteLLMModel("openai/gpt-4o", api_base=provider.base_url, api_key="k")
        journal = Journal(tmp_path / "journal.sqlite")
        async with CodeAgent(model, journal=journal) as agent:
            run = await agent.run("Look.", images=[picture()])
            kept = await journal.run(run.id)
            after = await agent.run("And now?")
    assert run.answer == 1
    assert run.started and kept.started and after.started
    assert kept.started.images == run.started.images
    assert after.started.images == ()
    one, two, three = provider.requests
    sent = one["messages"][1]["content"][1]["image_url"]["url"]
    assert base64.b64decode(sent.partition(",")[2]) == picture()
    assert two["messages"][:2] == one["messages"]
    assert [part["type"] for part in two["messages"][-1]["content"]] == ["text", "image_url"]
    assert three["messages"][: len(two["messages"])] == two["messages"]
