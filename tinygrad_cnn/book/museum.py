"""The museum: ten mistakes of published networks, each with a switch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import functional as F
from .. import ops
from ..autograd import no_grad
from ..tensor import Tensor
from .exhibits import defined, kept_from, line, outcome, told
from .writing import Chapter, prose, question, still, touchable

FIXED = "The numbers of this figure cannot be changed: they were computed in Python, by the code of the exhibit."


@dataclass(frozen=True)
class Exhibit:
    """What is to be seen of one mistake.

    Attributes:
        arrays: what goes in, by name.
        published: computes with what the exhibit defines and these arrays, with the mistake.
        mended: computes what was meant, from the arrays.
        seed: what arrives at the result.
        look: what to look at.
    """

    arrays: Mapping[str, Any]
    published: Callable[..., Any]
    mended: Callable[..., Any]
    seed: Any
    look: str


def windows_of(x: Any, stride: int) -> Any:
    """All windows of 2×2, (N, OH, OW, C, K, K), with the engine's rules."""
    seen = ops.im2col(
        ops.permute(x, axes=(2, 1, 3, 0)), kernel=(2, 2), stride=(stride, stride), dilation=(1, 1)
    )  # (OH, KH, C, KW, OW, N)
    return ops.permute(seen, axes=(5, 0, 4, 2, 1, 3))


TIED = np.array([[3, 3, 1, 5], [2, 3, 5, 4]])[None, None]
IMAGE = np.arange(1, 17).reshape(1, 1, 4, 4)
WEIGHTS = np.array([[1.0], [-2.0], [3.0], [1.0]])

VERSIONS = {"published": "as published", "mended": "as meant"}
EXHIBITS = {
    "overlap_overwritten": Exhibit(
        {"image": IMAGE},
        lambda own, x: own["windows"](x, kernel=2, stride=1),
        lambda x: windows_of(x, 1),
        1,
        "Point at a pixel inside the image: of its four wires, three have vanished.",
    ),
    "every_tie_wins": Exhibit(
        {"image": TIED},
        lambda own, x: own["max_of_blocks"](x),
        lambda x: F.max_pool2d(x, 2),
        [[[[1, 2]]]],
        "One number arrives at each block, and three times as much is handed on where three are equal. At a tie no "
        "rule agrees with differences: upwards the maximum follows each of the three, downwards the others hold it, on "
        "average one half. What counts is that what is handed on adds up to what arrived.",
    ),
    "relu_as_abs": Exhibit(
        {"x": [-3, -1, 2, 4]},
        lambda own, x: own["relu"](x),
        lambda x: x.relu(),
        [1, 2, 1, -1],
        "The negative numbers come through with their sign turned, and no wire says so.",
    ),
    "stride_ignored": Exhibit(
        {"image": IMAGE},
        lambda own, x: own["windows"](x, kernel=2, stride=2),
        lambda x: windows_of(x, 2),
        np.arange(1, 5).reshape(1, 2, 2, 1, 1, 1) * np.ones((1, 2, 2, 1, 2, 2)),
        "The wires all end in the top left corner, where windows one step apart would have been.",
    ),
    "bias_averaged": Exhibit(
        {"pixels": np.arange(8).reshape(1, 2, 2, 2) - 3, "bias": [1, -2]},
        lambda own, x, b: own["add_bias"](x, b),
        lambda x, b: x + b.reshape(2, 1, 1),
        np.array([1, 2, 3, 2, -1, 4, 2, 3]).reshape(1, 2, 2, 2),
        "Every wire of the bias is there, each with a quarter of its weight.",
    ),
    "mean_for_max": Exhibit(
        {"image": np.array([[1, 8, 3, 2], [5, 4, 0, 9]])[None, None]},
        lambda own, x: own["max_of_blocks"](x),
        lambda x: F.max_pool2d(x, 2),
        [[[[4, 8]]]],
        "Wires lead to numbers that did not decide anything.",
    ),
    "tanh_for_its_derivative": Exhibit(
        {"x": [-2.0, -0.5, 0.5, 2.0]},
        lambda own, x: own["tanh"](x),
        lambda x: x.tanh(),
        1,
        "The gradient has the sign of x, so that half of the weights move the wrong way.",
    ),
    "cut_by_data": Exhibit(
        {"image": np.array([[1, 2], [3, -1]])[None, None], "weights": WEIGHTS},
        lambda own, x, w: Tensor(x.numpy().reshape(1, 4), dtype=float, requires_grad=True) @ w,
        lambda x, w: x.reshape(1, 4) @ w,
        1,
        "Nothing leads from the image to the product: between them stands a tensor of the same numbers, a new leaf.",
    ),
    "softmax_of_sigmoid": Exhibit(
        {"scores": [[4.0, -2.0, -4.0]]},
        lambda own, x: F.cross_entropy(F.sigmoid(x), np.array([0])),
        lambda x: F.cross_entropy(x, np.array([0])),
        1,
        "Gradient and differences agree: the derivative of what is computed is right. But the first class is ahead by "
        "six, and the loss should be nearly 0. With numbers between 0 and 1 the softmax can never be sure.",
    ),
    "weight_decay_sign": Exhibit(
        {"weights": [3.0, 4.0]},
        lambda own, w: w + w * 0.1,
        lambda w: w + w * -0.1,
        1,
        "One step with a gradient of zero and a decay of 0.1. The gradients are right, and what is done with them is "
        "not their subject. The weights have to shrink, and they grow.",
    ),
}


def one(name: str, version: str) -> dict[str, Any]:
    """An exhibit as published or mended, its gradients beside finite differences."""
    exhibit = EXHIBITS[name]
    arrays = {key: np.array(array, float) for key, array in exhibit.arrays.items()}
    leaves = {key: Tensor(array, requires_grad=True) for key, array in arrays.items()}
    own = defined(name)

    def compute(*inputs: Any) -> Any:
        return exhibit.published(own, *inputs) if version == "published" else exhibit.mended(*inputs)

    out = compute(*leaves.values())
    seed = np.broadcast_to(np.asarray(exhibit.seed, float), out.shape)
    made = still(out, seed, {**leaves, "result": out}, version=version)
    panels = made["figure"]["panels"]
    for key, array in arrays.items():
        panel = next((panel for panel in panels if panel["name"] == key), None)
        if panel is None:  # no wire leads from it
            shape = [n for n in array.shape if n != 1]
            panel = {"name": key, "op": "", "shape": array.shape, "forms": [{"shape": shape, "order": None}]}
            panel |= {"value": array.reshape(-1).tolist(), "gradient": [0] * array.size}
            panels.append(panel)
        panel["difference"] = _differences(compute, arrays, key, seed)
    return {**made, "point": _disagreement(panels) or {"panel": next(iter(arrays)), "element": 0, "kind": "gradient"}}


def _disagreement(panels: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The place where gradient and difference differ most."""
    gaps = [
        (abs(a - b), panel["name"], i)
        for panel in panels
        for i, (a, b) in enumerate(zip(panel.get("gradient") or [], panel.get("difference", []), strict=False))
    ]
    gap, name, element = max(gaps, key=lambda one: one[0])
    return {"panel": name, "element": element, "kind": "gradient"} if gap > 1e-3 else None


def _differences(compute: Any, arrays: Mapping[str, np.ndarray], key: str, seed: np.ndarray) -> list[float]:
    """Of Σ seed · result, when each element of one array is moved to both sides."""
    slopes = []
    for i in range(arrays[key].size):
        sides = []
        for h in (1e-5, -1e-5):
            moved = {name: array.copy() for name, array in arrays.items()}
            moved[key].flat[i] += h
            with no_grad():
                out = compute(*(Tensor(array) for array in moved.values()))
            sides.append(float((np.asarray(out.numpy(), float) * seed).sum()))
        slopes.append(round((sides[0] - sides[1]) / 2e-5, 9) + 0.0)
    return slopes


def story(name: str) -> str:
    """What was published, how it looked in training, and which check sees it."""
    parts, kept = told(name), outcome(name)
    right, wrong = kept["accuracies"]
    failures, nodes = kept["check_graph"]
    seen = [
        f"`check_graph` finds {failures} of {nodes} operations wrong" if failures else "`check_graph` finds nothing",
        {True: "`gradcheck` fails", False: "`gradcheck` finds nothing", None: "`gradcheck` has nothing to check"}[
            kept["gradcheck"]
        ],
    ]
    return prose(f"""
## {parts["title"].rstrip(".")}

    {line(name)}

**Published:** {parts["Published"]}

**The bug.** {_sentence(parts["The bug"])} **Where it comes from.** {_sentence(parts["Where it comes from"])}

**In training** a small network reached {wrong} % of the test digits with it, and {right} % without.
**What sees it:** {", and ".join(seen)}.

{EXHIBITS[name].look}
""")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def chapter() -> Chapter:
    """The chapter."""
    harmless = sum(abs(a - b) < 1 for a, b in (outcome(name)["accuracies"] for name in EXHIBITS))
    parts = [
        prose("""
Eight of these mistakes were published in code that people learned from, and two are common slips. Each stands here in
a few lines, with a switch to what was meant. Under each gradient is another one, by finite differences: every number
moved a little to both sides. Where the two disagree, a wavy line is drawn under the difference.
"""),
        question(
            "Each mistake was planted in a small network, which was then trained. In how many of the ten did the "
            "accuracy on test digits change by less than one percent?",
            harmless,
            prose(
                "A network learns around a wrong gradient, as long as it points roughly downhill. So a learning curve "
                "is no test of a gradient; finite differences are."
            ),
        ),
    ]
    for name in EXHIBITS:
        label = [("version", "the rule", [*VERSIONS.items()])]
        parts += [
            story(name),
            touchable([one(name, way) for way in VERSIONS], told(name)["title"], label, player=False, caption=FIXED),
        ]
    parts.append(
        prose(f"""
`python -m tinygrad_cnn museum` trains them all, and shows what each check says. The accuracies above, and what the
checks said, are kept from such a run of {kept_from()}. Two of the ten are invisible to every check of gradients,
since their gradients are right: what was computed was not what was meant. To find them one needs a number that is
known beforehand: the loss of an untrained network, the loss of a network that is certain and right, or what a step
with a gradient of zero does.
""")
    )
    return Chapter("museum", "A museum of mistakes", parts)
