"""The page through which a graph is read, in a real browser: Chromium, driven over the WebDriver protocol."""

import base64
import fnmatch
import json
import math
import shutil
import subprocess
import time
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import requests

import tinygrad_cnn

PACKAGE = Path(tinygrad_cnn.__file__).parent
TEMPLATE = PACKAGE / "showing" / "page.html"
PLACEHOLDER = "/*DATA*/null/*DATA*/"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
LEFT, UP, RIGHT, DOWN = "\ue012", "\ue013", "\ue014", "\ue015"
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    "--window-size=1280,800",
]


class Browser:
    """A headless Chromium with one page."""

    def __init__(self, folder):
        self.folder = folder
        self.session = ""
        self.http = requests.Session()
        self.http.trust_env = False  # no proxy on the way to this machine's own port
        self.driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True)

    def start(self):
        port = next(line.split()[-1].rstrip(".") for line in self.driver.stdout if "started successfully on" in line)
        self.url = f"http://127.0.0.1:{port}/session"
        chrome = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={self.folder / 'profile'}"]}
        wanted = {"goog:chromeOptions": chrome, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        wanted["timeouts"] = {"script": 150_000}  # on a busy machine a page may stand still for long
        self.session = "/" + self.call("POST", "", capabilities={"alwaysMatch": wanted})["sessionId"]

    def close(self):
        if self.session:
            self.call("DELETE", "")
        self.http.close()
        self.driver.terminate()
        self.driver.communicate()

    def call(self, method, path, **body):
        sent = body if method == "POST" else None
        answer = self.http.request(method, self.url + self.session + path, json=sent, timeout=180)
        value = answer.json()["value"]
        assert answer.ok, value
        return value

    def open(self, page, fragment=""):
        path = self.folder / "page.html"
        path.write_text(page, encoding="utf-8")
        self.call("POST", "/url", url="about:blank")
        self.call("POST", "/url", url=path.as_uri() + fragment)

    def run(self, script, *args):
        return self.call("POST", "/execute/sync", script=script, args=args)

    def element(self, css):
        (reference,) = self.call("POST", "/element", using="css selector", value=css).values()
        return f"/element/{reference}"

    def click(self, css):
        self.call("POST", self.element(css) + "/click")

    def press(self, css, keys):
        self.call("POST", self.element(css) + "/value", text=keys)

    def text(self, css):
        """What is to be read there."""
        return self.run("return document.querySelector(arguments[0]).innerText", css)

    def lines(self, css):
        return [line for line in self.text(css).replace("\u2060", "").split("\n") if line]

    def is_disabled(self, css):
        return self.run("return document.querySelector(arguments[0]).disabled", css)

    def texts(self, css):
        return self.run("return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)", css)

    def hash(self):
        return self.run("return location.hash")

    def log(self, kind):
        return self.call("POST", "/se/log", type=kind)

    def emulate(self, command, **settings):
        self.call("POST", "/goog/cdp/execute", cmd=f"Emulation.{command}", params=settings)


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it did not happen within {seconds} seconds"
        time.sleep(0.02)


def images(signed):
    ramp = bytes(range(0, 240, 10))
    return {
        "caption": "first image of the batch, 2 channels",
        **{"count": 2, "height": 4, "width": 3, "low": -0.5 if signed else 0, "high": 1.0, "signed": signed},
        "pixels": base64.b64encode(ramp).decode(),
    }


def leaf(op, name, group):
    return {"kind": "leaf", "op": op, "name": name, "group": group, "forward": None, "args": [], "rules": []}


def operation(op, forward, group, args, *rules):
    """`args` by name: the id they came from, or the text of a constant; `rules`: the arguments' numbers and texts."""
    origins = [(name, *((arg, None) if isinstance(arg, int) else (None, arg))) for name, arg in args.items()]
    return {
        "kind": "operation",
        **{"op": op, "name": None, "group": group, "forward": forward},
        "args": [{"name": name, "from": origin, "text": text} for name, origin, text in origins],
        "rules": [{"arg": arg, "to": origins[arg][1], "text": text} for arg, text in rules],
    }


def graph():
    """relu(x · w + b), of which both h and 3 h are read, then squared and summed."""
    nodes = [
        leaf("input", "images", 0),
        leaf("parameter", "0.weight", 0),
        operation("matmul", "Y = A · B", 0, {"A": 0, "B": 1}, (1, "dB = Aᵀ · dY")),
        leaf("parameter", "0.bias", 0),
        operation("add", "Y = A + B", 0, {"A": 2, "B": 3}, (0, "dA = dY"), (1, "dB = Σ dY")),
        operation("relu", "Y = max(X, 0)", 1, {"X": 4}, (0, "dX = dY where X > 0")),
        operation("mul", "Y = A * B", 2, {"A": 5, "B": "constant ()"}, (0, "dA = dY * B")),
        operation(
            "add", "Y = A + B", 2, {"A": 5, "B": 6}, (0, "dA = dY (to the skip)"), (1, "dB = dY (to the branch)")
        ),
        operation("mul", "Y = A * B", 0, {"A": 7, "B": 7}, (0, "dA = dY * B"), (1, "dB = A * dY")),
        operation("sum", "Y = Σ X", 3, {"X": 8}, (0, "dX = dY, repeated")),
    ]
    for at, node in enumerate(nodes):
        stats = {"low": -0.5, "high": 999.7, "zeros": 0.61}
        node["id"] = at
        node["line"] = None if node["kind"] == "leaf" else f"net.py:{at}: y = <b>{node['op']}</b>(x)"
        node |= {
            "settings": f"axes={(1, 0) * 20}" if at == 2 else "",
            "shape": f"N {at}",
        }
        node["value"] = None if at == 3 else stats | {"norm": at + 0.25}
        node["gradient"] = None if at == 0 else stats | {"norm": at + 0.5}
        node["images"] = {"value": images(False) if at == 0 else None, "gradient": images(True) if at == 5 else None}
    names = ["0 Linear", "1 <i>ReLU</i>", "2 Skip", "sum"]
    groups = [{"name": name, "line": "net.py:1: net(x)", "nodes": [], "formulas": []} for name in names]
    for node in nodes:
        groups[node["group"]]["nodes"].append(node["id"])
    groups[0]["formulas"] = ["dW = Xᵀ · dY"]
    return {"title": "lenet </script>, loss 2.31", "groups": groups, "nodes": nodes}


DATA = graph()
NODES = DATA["nodes"]
#: where the backward pass comes, in its order: 0 needs no gradient
BACKWARDS = [9, 8, 7, 6, 5, 4, 3, 2, 1]
#: who hands a cotangent to whom
HANDED = [(node["id"], rule["to"]) for node in NODES for rule in node["rules"]]


def page(data=DATA):
    text = json.dumps(data, ensure_ascii=False).replace("</", "<\\/")
    return TEMPLATE.read_text(encoding="utf-8").replace(PLACEHOLDER, text)


def test_the_template_has_one_place_for_data_and_needs_nothing_from_elsewhere():
    template = TEMPLATE.read_text(encoding="utf-8")
    assert template.count(PLACEHOLDER) == 1
    for word in ("http", "//cdn", "import(", "@import", "url(", "src=", "fetch(", "XMLHttpRequest"):
        assert word not in template
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert way not in template  # data goes in as text
    assert "<noscript>" in template


def test_the_template_is_part_of_the_package():
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["tinygrad_cnn"]
    assert any(fnmatch.fnmatch(TEMPLATE.relative_to(PACKAGE).as_posix(), pattern) for pattern in patterns)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if not (CHROMIUM and DRIVER):
        pytest.skip("chromium and chromedriver (Debian: chromium-driver) are not both installed")
    browser = Browser(tmp_path_factory.mktemp("browser"))
    try:
        browser.start()
        yield browser
    finally:
        browser.close()


@pytest.fixture
def browser(chromium):
    """The page is open, and at the end nothing has been complained of or fetched."""
    chromium.log("performance")
    chromium.open(page())
    yield chromium
    assert chromium.log("browser") == []
    assert chromium.run("return performance.getEntriesByType('resource').map((entry) => entry.name)") == []
    events = [json.loads(entry["message"])["message"] for entry in chromium.log("performance")]
    asked = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"} and asked


def marks(browser):
    """What is marked beside the nodes, those without a mark left out."""
    texts = browser.texts(".row:not(.head) .mark")
    return {at: text for at, text in enumerate(texts) if text}


def test_errors_would_be_seen(chromium):
    chromium.open(page().replace("makeRows();", "makeRows(); nothing();", 1))
    entries = []
    wait_for(lambda: entries.extend(chromium.log("browser")) or entries)  # they arrive when the page is open already
    (entry,) = entries
    assert entry["level"] == "SEVERE"
    assert "nothing is not defined" in entry["message"]


def test_the_template_alone_says_that_it_is_one(chromium):
    chromium.open(TEMPLATE.read_text(encoding="utf-8"))
    assert "template" in chromium.text("#status")
    assert chromium.log("browser") == []


def test_forward(browser):
    assert browser.text("h1") == DATA["title"] == browser.run("return document.title")
    assert browser.is_disabled("#back") and browser.is_disabled("#first")
    for node in NODES:
        at = node["id"]
        label = f"#{at} {node['name'] or node['op']}"
        assert browser.text("h2") == label
        assert browser.text("#count") == f"{at + 1} of 10"
        assert label in browser.text("#status")
        assert browser.texts(".row[aria-current=step] .id") == [str(at)]
        assert browser.texts(".row.later .id") == [str(later) for later in range(at + 1, 10)]
        text = browser.text("#forward")
        assert (f"{at}.25" in text) == (node["value"] is not None)
        assert f"N {at}" in text
        if node["forward"]:
            assert node["forward"] in text and node["line"] in browser.text("#detail")
        assert browser.texts("#backward") == []
        assert marks(browser) == {}
        if at < 9:
            browser.click("#step")
    assert browser.is_disabled("#step") and browser.is_disabled("#last")
    browser.click("#back")
    assert browser.text("h2") == "#8 mul"
    browser.click("#first")
    assert browser.text("h2") == "#0 images"
    browser.click("#last")
    assert browser.text("h2") == "#9 sum"


def test_what_is_told_of_a_value(browser):
    browser.click(".row:not(.head):nth-child(4)")  # after the head of the group
    assert browser.lines("#forward") == [
        *("Forward", "Y = A · B", "A is the value of #0 images: N 0", "B is the value of #1 0.weight: N 1"),
        *("Read by #4 add.", "The value", "shape", "N 2", "settings", NODES[2]["settings"]),
        *("norm", "2.25", "range", "−0.500 … 1000", "zeros", "61.0 %"),
    ]
    browser.click(".row:not(.head)[aria-label^='#5 ']")
    assert "Read by #6 mul and #7 add." in browser.text("#forward")
    browser.click(".row:not(.head)[aria-label^='#6 ']")
    assert "B is constant ()" in browser.text("#forward")


def test_what_is_missing_is_not_told(browser):
    data = graph()
    data["nodes"][8] |= {"value": {"norm": None, "low": -1, "high": None, "zeros": 0}, "shape": ""}
    data["nodes"][9] |= {"value": {"norm": 0, "low": None, "high": None, "zeros": None}, "line": None}
    browser.open(page(data), "#forward-8")
    told = ["norm", "not finite", "range", "−1.00 … not finite", "zeros", "0 %"]
    assert browser.lines("#forward")[5:] == ["The value", *told]
    browser.click("#step")
    assert browser.lines("#forward") == [
        *("Forward", "Y = Σ X", "X is the value of #8 mul", "The value", "shape", "N 9"),
    ]
    assert "net.py:1: net(x)" in browser.text("#detail")  # the line of the group


def test_backward_through_all_nodes(browser):
    browser.click("#backward-walk")
    for step, at in enumerate(BACKWARDS):
        node = NODES[at]
        assert browser.text("h2") == f"#{at} {node['name'] or node['op']}"
        assert browser.text("#count") == f"{step + 1} of 9"
        assert browser.run("return document.getElementById('position').value") == str(step)
        text = browser.text("#backward")
        assert f"norm\n{at}.50\n" in text
        for rule in node["rules"]:
            target = NODES[rule["to"]]
            assert f"{rule['text']}\nto #{rule['to']} {target['name'] or target['op']}: " in text
        assert text.count("\nto #") == len(node["rules"])
        visited = BACKWARDS[: step + 1]
        received = Counter(to for giver, to in HANDED if giver in visited and to not in visited)
        expected = Counter(to for _, to in HANDED)
        told = {to: f"{count}/{expected[to]}" for to, count in received.items()}
        assert marks(browser) == told | dict.fromkeys(visited, "✓")
        passed = {(giver, to) for giver, to in HANDED if giver in visited}
        assert len(browser.texts("#wires path.passed, #wires path.now")) == len(passed)
        assert len(browser.texts("#wires path.now")) == len({to for giver, to in passed if giver == at})
        if step + 1 < len(BACKWARDS):
            browser.click("#step")
    assert browser.is_disabled("#step") and browser.is_disabled("#last")
    browser.click("#first")
    assert browser.text("h2") == "#9 sum"


def test_what_is_told_of_a_gradient(browser):
    browser.click("#backward-walk")
    assert "The loss has gradient 1" in browser.text("#status")
    assert "∂loss/∂loss = 1" in browser.text("#backward")
    browser.click("#step")
    browser.click("#step")  # 7, the sum of the skip and of the branch; it is 8, the square, that read it twice
    assert browser.text("#status") == "The gradient is complete: #7 add hands it on to #5 relu and #6 mul."
    assert browser.lines("#backward") == [
        *("Backward", "2 cotangents arrive; they add up to the gradient dY\xa0=\xa0∂loss/∂Y:"),
        *("from #8 mul, for its argument A", "from #8 mul, for its argument B", "Handed on"),
        *("dA = dY (to the skip)", "to #5 relu: one of 2 parts, which add up; still to come: from #6 mul"),
        *("dB = dY (to the branch)", "to #6 mul: its whole gradient"),
        *("The gradient", "norm", "7.50", "range", "−0.500 … 1000", "zeros", "61.0 %"),
    ]
    browser.click("#step")
    assert "to #5 relu: one of 2 parts, which add up; all have arrived" in browser.text("#backward")
    assert "No gradient is needed for B." in browser.text("#backward")
    browser.click("#step")
    assert "2 cotangents arrive; they add up" in browser.text("#backward")
    assert "from #7 add, for its argument A\nfrom #6 mul, for its argument A" in browser.text("#backward")
    browser.click("#step")
    assert "One cotangent arrives" in browser.text("#backward")
    assert browser.lines("#backward")[-2:] == ["All rules of 0 Linear together", "dW = Xᵀ · dY"]
    browser.click("#step")
    assert "Nothing: the gradient stays here, for the optimizer." in browser.text("#backward")


def test_arguments_and_users_lead_to_their_nodes(browser):
    browser.click("#last")
    browser.click("#forward .to")
    assert browser.text("h2") == "#8 mul"
    assert browser.hash() == "#forward-8"
    browser.click("#forward p .to")  # who reads it
    assert browser.text("h2") == "#9 sum"
    browser.run("history.back()")
    wait_for(lambda: browser.text("h2") == "#8 mul")
    browser.press("#forward p .to", "\n")
    assert browser.run("return document.activeElement.innerText") == "#9 sum"  # the focus goes along
    browser.click("#back")
    browser.click("#turn")
    assert browser.hash() == "#backward-8"
    browser.click("#backward ul:last-of-type .to")
    assert browser.text("h2") == "#7 add"
    assert "✓" in marks(browser)[7]
    browser.click("#forward-walk")
    assert browser.text("h2") == "#8 mul"  # each walk goes on where it was left


def test_where_no_gradient_is_needed(browser):
    browser.open(page(), "#backward-0")
    assert "does not come here" in browser.text("#backward")
    assert marks(browser) == dict.fromkeys(BACKWARDS, "✓")
    assert browser.is_disabled("#step")
    browser.click("#back")
    assert browser.text("h2") == "#1 0.weight"


def test_slider_keys_and_play(browser):
    browser.press("body", RIGHT + RIGHT + LEFT)
    assert browser.text("h2") == "#1 0.weight"
    browser.press("#position", RIGHT)
    assert browser.text("h2") == "#2 matmul"
    browser.click("#backward-walk")
    browser.press("body", RIGHT)
    assert browser.text("h2") == "#8 mul"
    browser.run("const p = document.getElementById('position'); p.value = 6; p.dispatchEvent(new Event('input'))")
    assert browser.text("h2") == "#3 0.bias"
    assert browser.run("return document.getElementById('position').ariaValueText") == "7, #3 0.bias"
    browser.press(".row[aria-current=step]", UP + UP + DOWN + "\n")
    assert browser.text("h2") == "#2 matmul"
    browser.click("#play")
    assert browser.text("#play") == "Pause"
    wait_for(lambda: browser.text("h2") == "#1 0.weight")
    wait_for(lambda: browser.text("#play") == "Play")  # at the end it stops


def test_the_address_keeps_the_position(browser):
    browser.open(page(), "#backward-5")
    assert browser.text("h2") == "#5 relu"
    assert browser.texts("[aria-pressed=true]") == ["Backward"]
    browser.click("#step")
    wait_for(lambda: browser.hash() == "#backward-4")
    browser.call("POST", "/refresh")
    assert browser.text("h2") == "#4 add"
    browser.run("location.hash = '#forward-7'")
    wait_for(lambda: browser.text("h2") == "#7 add")
    assert browser.texts("#backward") == []
    browser.run("location.hash = '#forward-70'")  # there is none
    wait_for(lambda: browser.hash() == "#forward-7")
    assert browser.text("h2") == "#7 add"


def test_images_are_painted(browser):
    pixels = (
        "return [...document.querySelectorAll(arguments[0] + ' canvas')].map((canvas) => "
        "[...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data])"
    )
    tiles = browser.run(pixels, "#forward")
    assert [len(tile) for tile in tiles] == [4 * 3 * 4] * 2
    greys = [value for value in range(0, 240, 10) for _ in range(3)]
    assert [value for tile in tiles for at, value in enumerate(tile) if at % 4 < 3] == greys
    assert browser.lines("#forward .scale") == ["0", "1.00"]
    browser.open(page(), "#backward-5")
    assert browser.run(pixels, "#forward") == []
    first, second = browser.run(pixels, "#backward")
    assert first[:4] == [25, 95, 185, 255]  # the lowest is blue,
    assert all(channel > 240 for channel in second[:4])  # 120, nearly zero, is nearly white,
    assert second[-4] > 220 and second[-2] < 60  # and 230 is orange
    assert browser.lines("#backward .scale") == ["−1.00", "1.00"]
    box = "const box = document.querySelector('canvas').getBoundingClientRect(); return [box.width, box.height]"
    assert browser.run(box) == [36, 48]


def test_the_graph_is_drawn(browser):
    middle = """return [...document.querySelectorAll(arguments[0])].map((element) => {
        const box = element.getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2];
    })"""
    dots = browser.run(middle, "#wires .dot")
    assert len(browser.texts("#wires circle")) == 3  # the leaves
    rows = browser.run(middle, ".row:not(.head)")
    assert [y for _, y in dots] == pytest.approx([y for _, y in rows], abs=0.6)
    points = """return [...document.querySelectorAll("#wires path")].map((wire) => Array.from({length: 101}, (_, i) => {
        const {x, y} = wire.ownerSVGElement.getBoundingClientRect();
        const point = wire.getPointAtLength(i / 100 * wire.getTotalLength());
        return [point.x + x, point.y + y];
    }))"""
    near = [
        [[at for at, dot in enumerate(dots) if math.dist(dot, point) < 3] for point in wire]
        for wire in browser.run(points)
    ]
    ends = {(wire[-1][0], wire[0][0]) for wire in near}
    assert ends == {(node["id"], arg["from"]) for node in NODES for arg in node["args"] if arg["from"] is not None}
    for wire in near:  # it goes through no other node
        assert {at for point in wire for at in point} == {wire[0][0], wire[-1][0]}


def test_folding(browser):
    rows = ".row:not(.head):not([hidden])"
    heads = ["0 Linear", "1 <i>ReLU</i>", "2 Skip", "0 Linear (continued)", "sum"]
    assert [text.split("\n")[-1] for text in browser.texts(".row.head")] == heads
    assert len(browser.texts(rows)) == 10
    assert len(browser.texts("#wires path")) == len({(n["id"], a["from"]) for n in NODES for a in n["args"]}) - 1
    browser.click(".row.head")
    assert len(browser.texts(rows)) == 5
    assert browser.texts(".row[aria-current=step]") == browser.texts(".row.head[aria-expanded=false]")
    browser.click("#fold")
    assert browser.texts(rows) == []
    assert len(browser.texts("#wires path")) == 4 and len(browser.texts("#wires rect")) == 5
    browser.click("#backward-walk")
    browser.click("#step")
    browser.click("#step")
    assert [text.split("\n")[2:] for text in browser.texts(".row.head")] == [[], [], ["1 of 2"], ["✓"], ["✓"]]
    browser.click("#fold")
    assert len(browser.texts(rows)) == 10


def test_narrow_and_dark(browser):
    light = browser.run("return getComputedStyle(document.body).backgroundColor")
    try:
        browser.emulate("setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=False)
        browser.emulate("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        for at in BACKWARDS:
            browser.open(page(), f"#backward-{at}")
            widths = "return ['html', '#detail'].map((css) => document.querySelector(css).scrollWidth)"
            assert max(browser.run(widths)) <= 390
        tops = "return ['backward', 'forward'].map((id) => document.getElementById(id).getBoundingClientRect().top)"
        backward, forward = browser.run(tops)
        assert backward < forward
        dark = browser.run("return getComputedStyle(document.body).backgroundColor")
    finally:
        browser.emulate("clearDeviceMetricsOverride")
        browser.emulate("setEmulatedMedia", features=[])
    assert [sum(map(int, colour[4:-1].split(","))) > 384 for colour in (light, dark)] == [True, False]
