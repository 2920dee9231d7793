"""The book: what it says is what the engine computes, and the file needs nothing but itself."""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import tinygrad_cnn
from tinygrad_cnn import Tensor, data
from tinygrad_cnn.__main__ import main
from tinygrad_cnn.book import draw, live, picture, writing
from tinygrad_cnn.book.book import book
from tinygrad_cnn.book.figures import FIGURES
from tinygrad_cnn.book.lenet import trained
from tinygrad_cnn.lessons import cells, titles

PACKAGE = Path(tinygrad_cnn.__file__).parent
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


@pytest.fixture(scope="module")
def written():
    """The page; all figures as the engine has them; and the programs that the page runs, each with its figure."""
    pairs, figures, made = [], [], []
    program, woven = writing.program, writing.woven

    def watched_program(*args):
        made.append(program(*args))
        return made[-1]

    def watched_woven(found):
        figures.append(woven(found))
        if made:  # a figure that the page computes is woven right after its program was made
            pairs.append((made.pop(), figures[-1]))
        return figures[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "program", watched_program)
        patch.setattr(writing, "woven", watched_woven)
        page = book()
    assert pairs and not made
    return page, pairs, figures


class Page(HTMLParser):
    """All elements with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)


def test_it_is_one_file_that_fetches_nothing(written):
    page, _, _ = written
    assert len(page.encode()) < 1_500_000
    parsed = Page(page)
    for tag, attributes in parsed.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            address = attributes.get(name, "#")
            assert address.startswith(("#", "data:")), (tag, name, address)
    assert not re.search(r"@import|url\(|\bfetch\(|XMLHttpRequest|WebSocket|importScripts|sendBeacon", page)
    assert "http" not in re.sub(r"http-equiv", "", page)


def sections(page):
    """The HTML of each chapter, by what links call it."""
    whole = r'<section class="chapter" id="([\w-]+)".*?</section>\n?(?=<section class="chapter"|</main>)'
    return {found[1]: found[0] for found in re.finditer(whole, page, re.S)}


def test_every_chapter_has_prose_a_figure_a_question_and_tables_without_javascript(written):
    page, _, _ = written
    chapters = sections(page)
    assert len(chapters) == len(titles()) + 2
    for name, section in chapters.items():
        prose = re.sub(r"<script.*?</script>|<noscript.*?</noscript>|<[^>]+>", "", section, flags=re.S)
        assert len(prose.split()) > 120, name
        assert 'class="question"' in section, name
        assert re.search("<noscript>.*<table", section, re.S) or name == "five-convolutions", name
    anchors = set(re.findall(r'href="#([\w-]+)"', page))
    assert anchors <= set(re.findall(r'id="([\w-]+)"', page))


def test_the_lessons_are_the_chapters(written):
    page, _, _ = written

    def words(text):  # without what marks links, stress and code
        return " ".join(re.findall(r"\w+", text))

    for section, number in zip(sections(page).values(), titles(), strict=False):
        plain = re.sub(r"<script.*?</script>|<noscript.*?</noscript>", "", section, flags=re.S)
        there = words(html.unescape(re.sub(r"<[^>]*>", "", plain)))
        for cell in cells(number):
            for paragraph in re.sub(r"\A# .*\n", "", cell.text).split("\n\n"):
                assert words(paragraph) in there, (number, paragraph)


def test_every_figure_is_in_a_lesson():
    named = [cell.name for number in titles() for cell in cells(number) if cell.kind == "figure"]
    assert sorted(named) == sorted(FIGURES)


def test_a_figure_that_the_page_cannot_compute_says_so(written):
    page, _, _ = written
    x = Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(live.NotInThePage, match="the page does not have the operation cumsum"):
        live.program(x.cumsum(0))
    made = writing.variant(x.cumsum(0), 1, {"x": x})
    assert "program" not in made and "cannot be changed: the page does not have the operation cumsum." in made["note"]
    for found in re.findall(r'<figure class="loom" [^>]*><script[^>]*>(.*?)</script>', page, re.S):
        figure = json.loads(found)
        for one in figure["variants"]:
            assert "program" in one or "cannot be changed" in one.get("note", figure.get("caption", ""))


def test_the_numbers_in_the_tables_are_the_engines(written):
    page, _, figures = written
    tables = re.findall(r"<table><caption>(.*?)</caption>(.*?)</table>", page, re.S)
    assert len(tables) > 60
    known = set()
    for figure in figures:
        for panel in figure["panels"]:
            order = panel["forms"][0]["order"]
            for kind in ("value", "gradient"):
                if panel[kind] is not None:
                    numbers = np.asarray(panel[kind])[order if order is not None else slice(None)]
                    known.add((panel["name"], tuple(np.round(numbers, 2))))
    for name, rows in tables:
        for kind in ("value", "gradient"):
            if f">{kind}</th>" in rows:
                part = rows[rows.index(f">{kind}</th>") :].split("<th")[0]
                numbers = [float(x.replace("−", "-")) for x in re.findall(r"<td>(.*?)</td>", part)]
                assert any(
                    name == other and len(numbers) == len(row) and np.allclose(numbers, row, rtol=6e-3, atol=6e-3)
                    for other, row in known
                ), (name, kind, numbers)


def test_differences_disagree_with_published_gradients_only(written):
    page, _, _ = written
    seen = 0
    for found in re.findall(r'<figure class="loom" [^>]*><script[^>]*>(.*?)</script>', sections(page)["museum"], re.S):
        for one in json.loads(found)["variants"]:
            for panel in one["figure"]["panels"]:
                for a, b in zip(panel.get("difference", []), panel["gradient"] or [], strict=False):
                    agree = abs(a - b) <= 1e-5 * (1e-3 + abs(a) + abs(b))  # as the page's `close`
                    seen += not agree
                    at_a_tie = a in (0.5, 1)
                    assert agree or one["settings"]["version"] == "published" or at_a_tie, (panel["name"], a, b)
    assert seen > 30


# ---- what the page computes by itself, run by node


def run_in_page(script, data):
    """The value of a function of the data, in JavaScript that has the page's own scripts."""
    live, loom = PACKAGE / "book" / "page" / "live.js", PACKAGE / "showing" / "weave.js"
    code = (
        f"const live = require({json.dumps(str(live))}), loom = require({json.dumps(str(loom))});"
        f"const data = JSON.parse(require('fs').readFileSync(0));"
        f"process.stdout.write(JSON.stringify(({script})(data)));"
    )
    done = subprocess.run([NODE, "-e", code], input=json.dumps(data, default=float), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


COMPUTE = """(pairs) => pairs.map(([program, seed]) => {
  live.prepared(program); live.forward(program); live.backward(program, seed);
  const panels = program.panels.map((p) => ({ name: p.name, value: [...p.value], gradient: [...p.gradient] }));
  return { panels, wires: live.linked(program) };
})"""


def as_set(panels, wires):
    """The links, between panels that are counted without the constants, which Python's figures need not have."""
    place = {}
    for i, panel in enumerate(panels):
        if not panel.get("constant"):
            place[i] = len(place)
    found = set()
    for one in wires:
        if one["source"] in place:
            for s, t, w in zip(one["s"], one["t"], one["w"], strict=True):
                found.add((place[one["source"]], s, place[one["target"]], t, float(f"{round(w, 6):.6g}") + 0.0))
    return found


def factors(wires):
    return sorted(
        (one["source"], s, t, one["factorPanel"], f)
        for one in wires
        for s, t, f in zip(one["s"], one["t"], one["f"], strict=True)
        if f >= 0
    )


@needs_node
def test_the_page_computes_and_links_as_the_engine_does(written):
    _, pairs, _ = written
    seeds = [figure["panels"][figure["output"]]["gradient"] for _, figure in pairs]
    computed = run_in_page(COMPUTE, [[program, seed] for (program, _), seed in zip(pairs, seeds, strict=True)])
    for (program, figure), result in zip(pairs, computed, strict=True):
        ours = [
            panel for panel, made in zip(result["panels"], program["panels"], strict=True) if not made.get("constant")
        ]
        theirs = [panel for panel in figure["panels"] if panel["gradient"] is not None]
        assert [panel["name"] for panel in ours] == [panel["name"] for panel in theirs]
        for panel, expected in zip(ours, theirs, strict=True):
            for kind in ("value", "gradient"):
                np.testing.assert_allclose(panel[kind], expected[kind], rtol=1e-6, atol=1e-7, err_msg=panel["name"])
        marked = [{**panel, "constant": panel["gradient"] is None} for panel in figure["panels"]]
        assert as_set(program["panels"], result["wires"]) == as_set(marked, figure["wires"])
        if len(ours) == len(program["panels"]) == len(figure["panels"]):
            assert factors(result["wires"]) == factors(figure["wires"])


SENTENCES = """(figures) => figures.map((figure) => {
  const weave = new loom.Weave(figure);
  const said = (i, e) => [weave.valueSentence(i, e), weave.gradientSentence(i, e)];
  return figure.panels.map((panel, i) => panel.value.map((_, e) => said(i, e)));
})"""


def arithmetic(text):
    """The value of a printed sum."""
    plain = text.replace("−", "-").replace("·", "*")
    assert re.fullmatch(r"[\d.e+\-*() ]+", plain), text
    return eval(plain)


@needs_node
def test_every_printed_sum_is_the_engines_number(written):
    _, _, figures = written
    checked = 0
    for figure, said in zip(figures, run_in_page(SENTENCES, figures), strict=True):
        for panel, sentences in zip(figure["panels"], said, strict=True):
            for element, both in enumerate(sentences):
                for kind, (_, text, *rest) in zip(("value", "gradient"), both, strict=True):
                    assert "which is wrong" not in "".join(rest), (panel["name"], text, rest)
                    parts = text.split(" = ")[1:]
                    if panel[kind] is None or not parts or "…" in text:
                        continue
                    truth = panel[kind][element]
                    for part in parts:
                        if re.fullmatch(r"[\d.e+−·() ]+", part):
                            assert arithmetic(part) == pytest.approx(truth, rel=5e-3, abs=2e-2), (panel["name"], text)
                            checked += 1
    assert checked > 1000


NETWORK = """([program, image]) => {
  live.prepared(program);
  program.panels.find((panel) => panel.name === "image").value = Float64Array.from(image);
  const scores = [...live.forward(program)], guess = scores.indexOf(Math.max(...scores));
  live.backward(program, scores.map((_, i) => Number(i === guess)));
  const gradients = Object.fromEntries(program.panels.map((panel) => [panel.name, [...panel.gradient]]));
  return { scores, guess, gradients };
}"""


@needs_node
def test_the_trained_network_runs_in_the_page_as_in_numpy():
    digits, model = data.load("sample"), trained()
    for number in (0, 7):
        image = Tensor(digits.test_images[number : number + 1], requires_grad=True)
        scores = model(image)
        there = run_in_page(NETWORK, [draw.network(), image.numpy().reshape(-1).tolist()])
        np.testing.assert_allclose(there["scores"], scores.numpy()[0], rtol=1e-4, atol=1e-5)
        assert there["guess"] == digits.test_labels[number]
        scores[0, there["guess"]].backward()
        for name, tensor in {"image": image, **dict(model.named_parameters())}.items():
            expected = tensor.grad.numpy().reshape(-1)
            largest = np.abs(expected).max()
            np.testing.assert_allclose(there["gradients"][name], expected, rtol=1e-3, atol=1e-5 * largest, err_msg=name)
        model.zero_grad()


def test_the_command_writes_it(written, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tinygrad_cnn.commands.book.book", lambda: written[0])  # it takes some seconds
    assert main(["book", "--file", str(tmp_path / "book.html"), "--no-open"]) == 0
    assert "book.html" in capsys.readouterr().out
    assert (tmp_path / "book.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    assert main(["book", "--file", str(tmp_path / "missing" / "book.html"), "--no-open"]) == 1


def test_the_picture_that_moves_is_up_to_date_and_small(tmp_path):
    assert main(["book", "--svg", str(tmp_path / "loom.svg")]) == 0
    text = (tmp_path / "loom.svg").read_text("utf-8")
    assert text == (PACKAGE.parent / "examples" / "loom.svg").read_text("utf-8")
    assert len(text.encode()) < 60_000
    assert "<script" not in text and "href" not in text


def test_the_numbers_of_the_picture_end_as_the_engines():
    figure = picture.convolution()
    text = picture.picture()
    steady = re.findall(r'<g class="(?:s\d+)?">(?:<rect[^>]*>)?<text[^>]*>([^<]*)</text>', text)
    expected = [number for panel in figure["panels"] for kind in ("value", "gradient") for number in panel[kind]]
    assert sorted(float(x.replace("−", "-")) for x in steady) == sorted(expected)


def test_the_reference_has_every_public_name_and_is_one_file(tmp_path):
    assert main(["book", "--api", "--file", str(tmp_path / "api.html"), "--no-open"]) == 0
    text = (tmp_path / "api.html").read_text("utf-8")
    found = set(re.findall(r'<article id="([\w.]+)"', text))
    assert {"Tensor", "Tensor.backward", "nn.Conv2d", "functional.conv2d", "optim.SGD", "ops.im2col"} <= found
    missing = [name for name in tinygrad_cnn.nn.__all__ if f"nn.{name}" not in found and name[0].isupper()]
    assert missing == []
    for tag, attributes in Page(text).elements:
        assert attributes.get("href", "#").startswith(("#", "data:")), tag
    assert "<pre>&gt;&gt;&gt; " in text
    assert "object at 0x" not in text and str(PACKAGE.parent) not in text
