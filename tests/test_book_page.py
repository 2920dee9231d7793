"""The book in a real browser: Chromium, driven over the WebDriver protocol, as in test_page.py."""

import json

import numpy as np
import pytest
from test_page import CHROMIUM, DRIVER, RIGHT, Browser, wait_for

from tinygrad_cnn import Tensor, data
from tinygrad_cnn import functional as F
from tinygrad_cnn.book.book import book
from tinygrad_cnn.book.lenet import trained
from tinygrad_cnn.microscope.reading.graph_view import GraphView
from tinygrad_cnn.showing.page import page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    one = Browser(tmp_path_factory.mktemp("book"))
    try:
        one.start()
        one.emulate("setFocusEmulationEnabled", enabled=True)
        still = [{"name": "prefers-reduced-motion", "value": "reduce"}]  # else a scroll goes on while a test looks
        one.emulate("setEmulatedMedia", features=still)
        one.open(book())
        wait_until_ready(one)
        yield one
    finally:
        one.close()


def wait_until_ready(browser):
    """Wait until the page says that all its figures are made."""
    wait_for(lambda: browser.run("return document.documentElement.dataset.ready === 'yes'"), seconds=60)


FOCUS = """
const [chapter, panel, kind, element] = arguments, loom = document.querySelector(`#${chapter} figure.loom`).loom;
const number = loom.weave.panels.findIndex((one) => one.name === panel);
loom.cells[number][kind].get(element)[0].focus();
return loom.read.innerText;
"""
LIT = """
const [chapter, panel, kind, name] = arguments, loom = document.querySelector(`#${chapter} figure.loom`).loom;
const number = loom.weave.panels.findIndex((one) => one.name === panel);
return [...loom.cells[number][kind]].filter(([, cells]) => cells[0].classList.contains(name))
  .map(([element]) => loom.weave.panels[number].forms.at(-1).order?.indexOf(element) ?? element);
"""
GRADIENTS = """
const [chapter, panel] = arguments, loom = document.querySelector(`#${chapter} figure.loom`).loom;
return [...loom.weave.panels.find((one) => one.name === panel).gradient];
"""


def test_nothing_is_fetched_and_nothing_goes_wrong(browser):
    messages = [json.loads(entry["message"])["message"] for entry in browser.log("performance")]
    asked = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    sent = [one["request"]["url"] for one in asked if one["documentURL"].startswith("file:")]
    assert sent
    assert all(url.startswith(("file:", "data:", "about:")) for url in sent), sent
    assert [entry for entry in browser.log("browser") if entry["level"] == "SEVERE"] == []


def test_every_figure_is_drawn(browser):
    empty = "return [...document.querySelectorAll('figure.loom')].filter((f) => !(f.loom || f.drawing || f.training))"
    assert browser.run(empty) == []
    assert browser.run("return document.querySelectorAll('.cell').length") > 1000
    assert browser.run("return document.querySelectorAll('.cell:not([aria-label])').length") == 0


def test_pointing_at_a_pixel_says_the_sum(browser):
    said = browser.run(FOCUS, "conv2d", "image", "value", 12)
    assert "dimage[2, 2] = 5 + 4 + 4 + 0 + 3 + 3 + 2 + 5 + 9 = 35, added up over 9 uses" in said
    copies = browser.run(LIT, "conv2d", "columns", "value", "use")
    assert sorted(copies) == [8 * i for i in range(1, 10)]  # the anti-diagonal of 9×9
    assert len(browser.run(LIT, "conv2d", "Y", "value", "far")) == 18


def test_pointing_at_a_filters_gradient_lights_two_rows(browser):
    browser.run(FOCUS, "conv2d", "filters", "gradient", 13)  # filter 1, place 4
    assert sorted(browser.run(LIT, "conv2d", "product", "gradient", "use")) == list(range(9, 18))
    assert sorted(browser.run(LIT, "conv2d", "columns", "value", "factor")) == list(range(36, 45))


def test_the_keyboard_moves_changes_and_steps(browser):
    browser.run(FOCUS, "max-pooling", "image", "value", 1)
    cell = "#max-pooling .cell:focus"
    browser.press(cell, "---")
    assert browser.text(cell) == "5"  # a tie with the 5 below
    assert browser.run(GRADIENTS, "max-pooling", "image")[:6] == [0, 10, 0, 0, 0, 0]
    assert "changes at the rate 5" in browser.text("#max-pooling .extra")
    browser.press(cell, "-")
    assert browser.run(GRADIENTS, "max-pooling", "image")[:6] == [0, 0, 0, 0, 10, 0]
    browser.press(cell, RIGHT)
    assert browser.run("return document.activeElement.getAttribute('aria-label')") == "image[0, 2] 3"
    for name in ("Back one step", "On one step"):
        button = f"#max-pooling [aria-label='{name}']"
        assert browser.run("return document.querySelector(arguments[0]).tabIndex", button) == 0
    browser.press("#max-pooling [aria-label='Back one step']", "\ue007")
    assert browser.text("#max-pooling .position").startswith("backward")


@pytest.mark.parametrize("pointer", ["mouse", "touch"])
def test_a_pixel_is_dragged(browser, pointer):
    browser.run("document.querySelectorAll('#max-pooling .controls button')[0].click()")
    x, y = browser.run("""
        const loom = document.querySelector('#max-pooling figure.loom').loom, cell = loom.cells[0].value.get(1)[0];
        cell.scrollIntoView({ block: 'center' });
        if (getComputedStyle(cell).touchAction !== 'pan-x pinch-zoom') throw Error('a finger would scroll the page');
        const box = cell.getBoundingClientRect();
        return [Math.round(box.x + box.width / 2), Math.round(box.y + box.height / 2)]""")

    def move(x, y):
        return {"type": "pointerMove", "duration": 50, "x": x, "y": y}

    acts = [move(x, y), {"type": "pointerDown", "button": 0}, move(x, y + 60), {"type": "pointerUp", "button": 0}]
    finger = {"type": "pointer", "id": pointer, "parameters": {"pointerType": pointer}, "actions": acts}
    browser.call("POST", "/actions", actions=[finger])
    assert browser.run(GRADIENTS, "max-pooling", "image")[:6] == [0, 0, 0, 0, 10, 0]  # from 8 down to 4
    assert browser.run("return document.querySelector('#max-pooling figure.loom').loom.pinned.element") == 1


def test_every_control_is_reached_and_pressed_by_keyboard(browser):
    for chapter in ("conv2d", "im2col", "five-convolutions", "broadcasting", "softmax", "museum", "chain"):
        controls = f"#{chapter} figure.loom .controls button"
        count = browser.run("return document.querySelectorAll(arguments[0]).length", controls)
        for i in range(count):
            browser.run("document.querySelectorAll(arguments[0])[arguments[1]].focus()", controls, i)
            browser.press(f"#{chapter} figure.loom .controls button:focus", " ")
            pressed = "return document.activeElement.getAttribute('aria-pressed')"
            assert browser.run(pressed) == "true", (chapter, i)
    assert [entry for entry in browser.log("browser") if entry["level"] == "SEVERE"] == []
    browser.run("document.querySelectorAll('#conv2d .controls button[data-value=textbook]')[0].click()")


def test_playing_ends_with_the_gradients_of_the_engine(browser):
    slider = "const s = document.querySelector('#matmul .player input'); s.value = arguments[0]; "
    browser.run(slider + "s.dispatchEvent(new Event('input'))", 3)
    assert browser.run("return document.querySelectorAll('#matmul .cell:empty').length") > 10
    loom = "const l = document.querySelector('#matmul figure.loom').loom; "
    before = browser.run(loom + "l.go(l.steps.length - 1); return l.shown()[0].gradient")
    full = browser.run(GRADIENTS, "matmul", "A")
    assert before != full and len(before) == len(full)  # one column has not reported yet
    browser.run(loom + "l.go(1e9)")
    assert browser.run("return document.querySelectorAll('#matmul .cell:empty').length") == 0


def test_a_question_is_checked(browser):
    for chapter, wrong, right in (
        ("chain", "3", "36"),
        ("jacobians", "1, 2, 3", "[10 −40 50]"),
        ("training", "5", "2,3"),
    ):
        form = f"#{chapter} .question form"
        for typed, said in (("?", "number"), (wrong, "Not that"), (right, "Yes.")):
            browser.run("document.querySelector(arguments[0]).value = ''", f"{form} input")
            browser.press(f"{form} input", f"{typed}\ue007")
            assert said in browser.text(f"{form} [role=status]")
        assert browser.run("return document.querySelector(arguments[0]).open", f"#{chapter} .question details")


def test_a_digit_is_drawn_by_keyboard_and_an_example_is_read(browser):
    result = "return document.querySelector('figure.draw').drawing.result"
    buttons = "#draw [aria-label='an example'] button"
    digits, model = data.load("sample"), trained()
    for digit in (2, 8):
        browser.run("document.querySelectorAll(arguments[0])[arguments[1]].click()", buttons, digit)
        image = digits.test_images[np.flatnonzero(digits.test_labels == digit)[3]][None]
        image = Tensor((np.rint(255 * image) / 255).astype(np.float32), requires_grad=True)
        scores = model(image)
        there = browser.run(result)
        np.testing.assert_allclose(there["scores"], scores.numpy()[0], rtol=1e-4, atol=1e-4)
        scores[0, there["guess"]].backward()
        np.testing.assert_allclose(there["gradient"], image.grad.numpy().reshape(-1), rtol=1e-3, atol=1e-5)
    browser.press("#draw canvas.sheet", "\ue017")
    wait_for(lambda: browser.run("return document.querySelector('figure.draw').drawing.pixels.every((x) => x === 0)"))
    browser.press("#draw canvas.sheet", "\ue008" + "\ue015" * 6)  # shift and down
    wait_for(lambda: browser.run("return document.querySelector('figure.draw').drawing.pixels.some((x) => x > 0.9)"))


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(browser, width):
    browser.emulate("setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
    wait_for(lambda: browser.run("return innerWidth") == width)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    wide = """
        return [...document.querySelectorAll('.panel, .prose, p, h2, button')].filter((one) => {
          const box = one.getBoundingClientRect();
          return box.width && box.right > innerWidth + 1 && !one.closest('.pair, pre');
        }).map((one) => one.innerText.slice(0, 40))"""
    assert browser.run(wide) == []
    browser.emulate("clearDeviceMetricsOverride")


def test_without_javascript_it_is_prose_with_tables(browser):
    browser.emulate("setScriptExecutionDisabled", value=True)
    try:
        browser.call("POST", "/refresh")
        assert browser.run("return document.querySelectorAll('noscript table').length") > 40
        assert browser.run("return document.querySelector('.question .answer').offsetHeight") == 0
        assert "dW = dY · colsᵀ" in browser.text("#conv2d")
    finally:
        browser.emulate("setScriptExecutionDisabled", value=False)
        browser.call("POST", "/refresh")
        wait_until_ready(browser)


def test_a_layer_of_ones_own_network_is_looked_at_element_by_element(browser, tmp_path):
    digits = data.load("sample")
    loss = F.cross_entropy(trained()(digits.test_images[:2]), digits.test_labels[:2])
    browser.open(page(GraphView(loss)))
    where = "return DATA.groups.findIndex((group) => group.loom && group.name.includes('Conv2d'))"
    group = browser.run(where)
    assert group == 0
    browser.run("const id = DATA.groups[arguments[0]].nodes[0]; go('forward', id, true)", group)
    browser.click("details.excerpt summary")
    wait_for(lambda: browser.run("return document.querySelectorAll('.excerpt .cell').length") > 100)
    said = browser.run("""
        const { loom } = document.querySelector('.excerpt figure'), { panels } = loom.weave;
        loom.cells[panels.findIndex((panel) => panel.name === 'input')].value.get(12)[0].focus();
        return loom.read.innerText""")
    assert "input[1, 5] = " in said and "dinput[1, 5] = " in said
    assert [entry for entry in browser.log("browser") if entry["level"] == "SEVERE"] == []
