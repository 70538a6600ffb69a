"""What code in the sandbox shows, in a real JupyterLab: bars that move, displays that change, widgets that work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, Locator, expect

from browser.lab import Lab, Notebook, OpenNotebook, running_lab

WIDGETS = """%%py
import ipywidgets as w
from IPython.display import display
slider = w.IntSlider(value=3, description="Size")
out = w.Output(layout={"border": "1px solid"})

def grown(change):
    with out:
        print("now", change.new, "squared", change.new ** 2)

slider.observe(grown, "value")
display(slider, out)
with out:
    print("caught")
print("not caught")"""


@pytest.fixture(scope="module")
def free_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab whose Cellwright kernels run their sandbox without isolation."""
    more = {"CELLWRIGHT_ISOLATION": "process"}
    with running_lab(tmp_path_factory.mktemp("free"), tmp_path_factory.mktemp("own"), more) as server:
        yield server


async def _opened(chrome: Browser, lab: Lab, name: str, cells: list[str]) -> Notebook:
    page = await chrome.new_page(viewport={"width": 1180, "height": 1000})
    opened = Notebook(page, lab, lab.write(f"{name}.ipynb", cells, "cellwright"))
    await opened.open()
    return opened


def _thumb(page: Notebook, cell: int) -> Locator:
    return page.output(cell).locator(".noUi-handle")


async def test_e7_a_sandboxs_slider_works_by_keyboard_and_its_output_widget_catches(
    chrome: Browser, free_lab: Lab
) -> None:
    page = await _opened(chrome, free_lab, "slider", [WIDGETS, "%%py\nprint('it is', slider.value, out.outputs)"])
    await page.run(0)
    output = page.output(0)
    caught = output.locator(".jupyter-widgets-output-area, .jupyter-widgets.widget-output").first
    await expect(caught).to_contain_text("caught")
    await expect(caught).not_to_contain_text("not caught")
    await expect(output).to_contain_text("not caught")
    await _thumb(page, 0).focus()
    for _ in range(4):
        await page.page.keyboard.press("ArrowRight")
    await expect(output.locator(".widget-readout")).to_have_text("7")
    await expect(caught).to_contain_text("now 7 squared 49")
    await page.screenshot("widget-in-py-cell")
    await page.run(1)
    await expect(page.output(1)).to_contain_text("it is 7")
    await expect(page.output(1)).to_contain_text("now 7 squared 49")
    # A page that is loaded anew finds the widget as it was left.
    await page.save()
    await page.open()
    await expect(page.output(0).locator(".widget-readout")).to_have_text("7", timeout=30_000)
    await _thumb(page, 0).focus()
    await page.page.keyboard.press("ArrowLeft")
    await expect(page.output(0).locator(".widget-readout")).to_have_text("6")
    await page.run(1)
    await expect(page.output(1)).to_contain_text("it is 6")
    assert page.errors == []
    await page.page.close()
    await page.shut_down()


async def test_e7_with_isolation_a_widget_is_its_text(notebook: OpenNotebook) -> None:
    page = await notebook([WIDGETS], kernel="cellwright")
    await page.run(0)
    output = page.output(0)
    await expect(output).to_contain_text("IntSlider(value=3, description='Size')")
    await expect(output).to_contain_text("not caught")
    await expect(output.locator(".jupyter-widgets")).to_have_count(0)
    await expect(output).not_to_contain_text("Error displaying widget")
    assert page.errors == []
