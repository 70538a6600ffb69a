"""What code in the sandbox shows, in a real JupyterLab: bars that move, displays that change, widgets that work."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, Locator, expect

from browser.agent_kernel import told_of
from browser.lab import Lab, Notebook, OpenNotebook, running_lab
from fake_provider import FakeProvider, echo

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


INTERACT = """%%py
import matplotlib.pyplot as plt
@w.interact(size=(1, 9))
def plotted(size=2):
    print("size", size)
    plt.plot(range(size)); plt.show()"""
OWN = """%%py
import anywidget, traitlets
class Counter(anywidget.AnyWidget):
    _esm = '''export default { render({ model, el }) {
      const button = document.createElement("button");
      const show = () => { button.textContent = "count " + model.get("count"); };
      button.className = "counter";
      button.onclick = () => { model.set("count", model.get("count") + 1); model.save_changes(); };
      model.on("change:count", show); show(); el.appendChild(button);
    } }'''
    count = traitlets.Int(0).tag(sync=True)
counter = Counter()
counter"""
TASK = """py: import ipywidgets as w
from IPython.display import display, clear_output
from tqdm import tqdm
import time
slider = w.IntSlider(value=2, description="Share")
out = w.Output()
display(slider, out)
for _ in tqdm(range(8), desc="reading"): time.sleep(0.2)
with out: print("caught")
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
    await expect(page.output(0)).to_contain_text("now 7 squared 49")
    await _thumb(page, 0).focus()
    await page.page.keyboard.press("ArrowLeft")
    await expect(page.output(0).locator(".widget-readout")).to_have_text("6")
    await page.run(1)
    await expect(page.output(1)).to_contain_text("it is 6")
    assert page.errors == []
    await page.page.close()
    await page.shut_down()


async def test_e7_interact_and_a_widget_with_its_own_script_work(chrome: Browser, free_lab: Lab) -> None:
    cells = ["%%py\nimport ipywidgets as w", INTERACT, OWN, "%%py\ncounter.count"]
    page = await _opened(chrome, free_lab, "interact", cells)
    for index in range(3):
        await page.run(index)
    plotted = page.output(1)
    await expect(plotted).to_contain_text("size 2")
    await expect(plotted.locator("img")).to_have_count(1)
    first = await plotted.locator("img").get_attribute("src")
    await _thumb(page, 1).focus()
    await page.page.keyboard.press("ArrowRight")
    await expect(plotted).to_contain_text("size 3")
    await expect(plotted).not_to_contain_text("size 2")
    await expect(plotted.locator("img")).to_have_count(1)
    await expect(plotted.locator("img")).not_to_have_attribute("src", str(first))
    button = page.output(2).locator("button.counter")
    await button.click()
    await button.click()
    await expect(button).to_have_text("count 2")
    await page.screenshot("widget-interact")
    await page.run(3)
    await expect(page.output(3)).to_contain_text("2")
    assert page.errors == []
    await page.page.close()
    await page.shut_down()


async def test_e7_a_steps_bar_moves_in_the_view_and_its_widgets_stand_below(chrome: Browser, free_lab: Lab) -> None:
    async with FakeProvider(reply=echo) as provider:
        page = await _opened(chrome, free_lab, "step", [told_of(provider.base_url), TASK, "%%py\nslider.value"])
        await page.run(0)
        await page.start(1)
        bar = page.output(1).locator(".cw .cw-text").first
        await expect(bar).to_contain_text(re.compile(r"reading: +[2-7]\d%"), timeout=30_000)
        await expect(bar).not_to_contain_text("reading:   0%")
        await page.screenshot("widget-below-view")
        await page.done()
        output = page.output(1)
        await expect(output.locator(".cw")).to_have_count(0)
        await expect(output).to_contain_text("IntSlider(value=2, description='Share')")
        caught = output.locator(".jupyter-widgets-output-area, .jupyter-widgets.widget-output").first
        await expect(caught).to_have_text("caught")
        await _thumb(page, 1).focus()
        await page.page.keyboard.press("ArrowRight")
        await expect(output.locator(".widget-readout")).to_have_text("3")
        await page.screenshot("widget-below-twin")
        await page.run(2)
        await expect(page.output(2)).to_contain_text("3")
        saved = await page.save()
        assert set(saved.cells[1].outputs[0].data) == {"text/html", "text/plain"}
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
