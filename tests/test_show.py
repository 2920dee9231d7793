"""The graph as a tree, as DOT and Mermaid text, and the data of the page."""

import base64
import json
import os
import re
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
import pytest

from tinygrad_cnn import Tensor, nn
from tinygrad_cnn import functional as F
from tinygrad_cnn.microscope.reading.graph_view import GraphView
from tinygrad_cnn.showing.page import PLACEHOLDER, page, page_data
from tinygrad_cnn.showing.show import show


class Residual(nn.Module):
    def __init__(self):
        self.conv = nn.Conv2d(2, 2, 3, padding="same")

    def forward(self, x):
        return F.relu(self.conv(x)) + x


class Network(nn.Module):
    def __init__(self):
        self.first = nn.Conv2d(1, 2, 3, padding="same")
        self.block = Residual()
        self.classify = nn.Linear(2 * 36, 3)

    def forward(self, x):
        return self.classify(self.block(self.first(x)).flatten(1))


@pytest.fixture(scope="module")
def model():
    return Network()


@pytest.fixture(scope="module")
def loss(model):
    images = np.random.default_rng(0).random((4, 1, 6, 6), np.float32)
    return F.cross_entropy(model(images), np.array([0, 1, 2, 0]))


def test_the_tree_is_that_of_the_layers(loss, capsys):
    show(loss)
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith(f"the graph of {loss.item():.6g}, in the order of the forward pass ├── Network │ ├── first")
    for part in (
        "first Conv2d (N 4, F 2, OH 6, OW 6) with input (N 4, C 1, H 6, W 6), first.weight (F 2, C 1, KH 3, KW 3)",
        "Residual │ │ ├── block.conv Conv2d",
        "├── block relu (N 4, F 2, OH 6, OW 6) from block.conv Conv2d 1 operation",
        "└── block add (N 4, F 2, OH 6, OW 6) from block relu, first Conv2d 1 operation",
        "block.conv.weight (F 2, C 2, KH 3, KW 3)",  # though the sum makes both the same axis
        "classify Linear (N 4, out 3)",
        "└── cross_entropy () from classify Linear 5 operations",
    ):
        assert part in text, text
    assert "matmul" not in text


@pytest.mark.parametrize("unfold", ["first", ["first Conv2d"], ("first", "cross_entropy")])
def test_layers_are_unfolded_on_request(loss, unfold, capsys):
    show(loss, unfold=unfold)
    text = capsys.readouterr().out
    assert text.count(" matmul  (") == 1
    assert text.count("needs no gradient") == 4  # what is computed of the image alone
    assert ("log_softmax" in text) == (len(unfold) == 2)
    show(loss, unfold=True)
    assert capsys.readouterr().out.count(" matmul  (") == 3


def test_dot_and_mermaid(loss, capsys):
    show(loss, format="dot", unfold="first")
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == ("digraph {", "}")
    boxes = {m[1]: m[2] for line in lines if (m := re.match(r' +(\w+) \[label="([^"]*)"', line))}
    assert boxes["leaf1"] == "input (N 4, C 1, H 6, W 6)"
    arrows = [tuple(line.split(" -> ")) for line in map(str.strip, lines) if " -> " in line]
    assert {end for arrow in arrows for end in arrow} == boxes.keys()
    assert len(arrows) == len(set(arrows))
    (add,) = [name for name, label in boxes.items() if label.startswith("block add")]
    assert len([a for a, b in arrows if b == add]) == 2  # the skip connection
    assert '    label="first Conv2d"' in lines
    show(loss, format="mermaid")
    text = capsys.readouterr().out
    assert text.startswith("flowchart TB\n")
    assert text.count(" --> ") == 1 + 6 + 7  # the image, the parameters, and layer to layer
    show((Tensor([1.0], requires_grad=True) * 2).sum(), format="mermaid")
    assert 'leaf1(["leaf 1 (1,)"])' in capsys.readouterr().out


def test_files_are_written_in_the_format_of_their_name(loss, tmp_path, capsys):
    for name, begin in (("a.dot", "digraph"), ("a.mmd", "flowchart"), ("a.txt", "the graph of"), ("a.html", "<!")):
        show(loss, file=tmp_path / name)
        assert (tmp_path / name).read_text("utf-8").lstrip().startswith(begin)
    show(loss, format="dot", file=tmp_path / "b.txt")
    assert (tmp_path / "b.txt").read_text("utf-8").startswith("digraph")
    assert capsys.readouterr().out == ""
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".dot", ".html", ".mmd", ".txt", ".txt"]


def test_a_file_that_cannot_be_written_leaves_what_was_there(loss, tmp_path, monkeypatch):
    path = tmp_path / "graph.dot"
    path.write_text("before")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        show(loss, file=path)
    assert caught.value.filename == str(path)
    assert [one.name for one in tmp_path.iterdir()] == ["graph.dot"] and path.read_text() == "before"


def test_what_cannot_be_shown(loss):
    with pytest.raises(ValueError, match="one of the formats tree, dot, mermaid, html, got 'png'"):
        show(loss, format="png")
    with pytest.raises(ValueError, match=r"no layer 'second' to unfold: there are first Conv2d, block.conv Conv2d"):
        show(loss, unfold="second")
    with pytest.raises(ValueError, match=r"names end in \.txt, \.dot, \.mmd, \.html, got graph\.png"):
        show(loss, file="graph.png")
    with pytest.raises(ValueError, match="no graph to read"):
        show(Tensor([1.0]))
    with pytest.raises(FileNotFoundError, match=r"no folder no.folder: make it, or name another one: 'no.folder.a"):
        show(loss, file=Path("no/folder/a.html"))


def test_in_a_pipe_no_label_is_broken_and_no_line_ends_in_blanks(loss, capsys):
    show(loss, unfold=True)
    lines = capsys.readouterr().out.splitlines()
    assert all(line == line.rstrip() for line in lines) and max(map(len, lines)) > 120
    (line,) = [line for line in lines if "block.conv Conv2d" in line and "with" in line]
    assert re.search(r"  from first Conv2d  \d+ operations$", line), line


def test_where_there_is_a_browser_the_page_opens_in_it(loss, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("webbrowser.open", opened.append)
    show(loss)
    assert opened == []  # in a test
    monkeypatch.setitem(os.environ, "PYTEST_CURRENT_TEST", "")
    monkeypatch.delitem(os.environ, "PYTEST_CURRENT_TEST")
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    assert show(loss) is None
    (address,) = opened
    assert Path(url2pathname(urlparse(address).path)).read_text("utf-8").startswith("<!DOCTYPE html>")
    assert "in the browser" in capsys.readouterr().out
    show(loss, format="mermaid")
    assert len(opened) == 1


def test_a_notebook_draws_the_page(loss, capsys, monkeypatch):
    monkeypatch.setattr("builtins.__IPYTHON__", True, raising=False)
    drawn = show(loss)._repr_html_()
    assert drawn.startswith('<iframe srcdoc="&lt;!DOCTYPE html&gt;') and '"' not in drawn.split('"')[1]
    assert capsys.readouterr().out == ""


# ---- what the page is given


def test_the_data_of_the_page(loss, model):
    reading = GraphView(loss)
    data = json.loads(json.dumps(page_data(reading), allow_nan=False))
    nodes = data["nodes"]
    assert [node["id"] for node in nodes] == list(range(len(nodes)))
    for node in nodes:
        for arg in node["args"]:
            assert arg["from"] is None or arg["from"] < node["id"]  # forward order
        for rule in node["rules"]:
            assert nodes[rule["to"]]["gradient"] is not None
        assert node["id"] in data["groups"][node["group"]]["nodes"] or node["kind"] == "leaf"
    last = nodes[-1]
    assert last["op"] == "div" and last["rules"][0]["text"] == "dA = dY / 4" and last["gradient"]["norm"] == 1
    (weight,) = [node for node in nodes if node["name"] == "first.weight"]
    loss.backward(retain_graph=True)
    assert weight["gradient"]["norm"] == pytest.approx(np.linalg.norm(model.first.weight.grad.numpy()), rel=1e-5)
    assert weight["shape"] == "F 2, C 1, KH 3, KW 3"
    assert data["groups"][0]["formulas"][0].startswith("dW = ")
    (image,) = [node for node in nodes if node["op"] == "input"]
    assert image["gradient"] is None
    assert re.search(r"; the first of the batch is a 0, the guess [012]$", data["title"])


def test_the_excerpts_of_a_page_may_hold_infinities_and_no_elements():
    x = Tensor(np.ones((1, 1, 5, 5)), requires_grad=True)
    padded, masked = F.max_pool2d(x, 3, 2, 1), F.softmax(F.where(np.eye(5) > 0, x, -np.inf), -1)
    data = page_data(GraphView(padded.sum() + masked.sum()))
    looms = {group["name"]: json.loads(group["loom"]) for group in data["groups"] if group["loom"]}
    assert -np.inf in [n for panel in looms["max_pool2d"]["panels"] for n in panel["value"]]
    assert {group["loom"] for group in page_data(GraphView((x[:0] * 2).sum()))["groups"]} == {None}


def test_images_are_those_of_the_first_in_the_batch(loss):
    reading = GraphView(loss)
    (image,) = [node for node in page_data(reading)["nodes"] if node["op"] == "input"]
    shown = image["images"]["value"]
    pixels = np.frombuffer(base64.b64decode(shown["pixels"]), np.uint8).reshape(shown["count"], shown["height"], -1)
    first = reading.values[reading.inputs[0]][0]
    assert pixels.shape == first.shape == (1, 6, 6)
    restored = shown["low"] + pixels / 255 * (shown["high"] - shown["low"])
    np.testing.assert_allclose(restored, first, atol=1 / 255)
    assert [node["op"] for node in page_data(reading)["nodes"] if node["images"]["gradient"]] == [
        *["parameter", "permute", "parameter", "permute", "relu", "add"],  # a picture of the value of each layer
    ]


def test_the_page_holds_its_data_and_nothing_else_to_load(loss):
    text = page(GraphView(loss))
    assert PLACEHOLDER not in text
    assert '"title":' in text
    assert not re.search(r"https?://|src=|@import|url\(", text)
    strange = Tensor([1.0], requires_grad=True)
    assert "</script" not in page(GraphView(F.relu(strange))).split("DATA =")[1].split("\n")[0]
