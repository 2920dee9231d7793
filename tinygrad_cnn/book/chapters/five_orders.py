"""Five orders of one sum: a convolution computed in five ways, with one gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import functional as F
from ... import ops
from ...engine.graph import primitive
from ...tensor import Tensor
from ..writing import gradient, prose, question, still, touchable, variant
from .convolution import convolved

TITLE = "Five orders of one sum"

IMAGE = np.array([[2, -1, 1, 3], [1, 2, -2, 1], [-1, 1, 3, 2], [2, -2, 1, -1]], float)
FILTER = np.array([[1, -2], [3, 1]], float)
SEED = np.array([1, -2, 3, 2, -1, 1, -3, 2, 1], float)


@primitive
def loops(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The definition, (H, W) and (K, K), as a primitive of this chapter's own."""
    out = np.zeros((x.shape[0] - w.shape[0] + 1, x.shape[1] - w.shape[1] + 1))
    for i, j, p, q in np.ndindex(*out.shape, *w.shape):
        out[i, j] += w[p, q] * x[i + p, j + q]
    return out


def _of_image(g: np.ndarray, out: np.ndarray, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    dx = np.zeros(x.shape)
    for i, j, p, q in np.ndindex(*g.shape, *w.shape):
        dx[i + p, j + q] += g[i, j] * w[p, q]
    return dx


def _of_filter(g: np.ndarray, out: np.ndarray, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    dw = np.zeros(w.shape)
    for i, j, p, q in np.ndindex(*g.shape, *w.shape):
        dw[p, q] += g[i, j] * x[i + p, j + q]
    return dw


loops.defvjp(_of_image, _of_filter)


@primitive
def einsum(x: Any, w: Any) -> Any:
    """Windows (OH, KH, KW, OW) times a filter (KH, KW), with letters: ipqj, pq -> ij."""
    return np.einsum("ipqj,pq->ij", x, w)


einsum.defvjp(
    lambda g, out, x, w: np.einsum("ij,pq->ipqj", g, w),
    lambda g, out, x, w: np.einsum("ij,ipqj->pq", g, x),
)


def by_places(x: Any, w: Any) -> tuple[Any, dict[str, Any]]:
    """One place of the filter after another: a shifted image times one number."""
    total: Any = None
    names: dict[str, Any] = {}
    for p, q in np.ndindex(2, 2):
        shifted = ops.index(x, key=(slice(p, p + 3), slice(q, q + 3)))
        part = shifted * w[p, q]
        total = part if total is None else total + part
        names |= {f"image[{p}:{p + 3}, {q}:{q + 3}]": shifted, f"times W[{p}, {q}]": part, f"sum to ({p}, {q})": total}
    return total, names


def one(order: str) -> dict[str, Any]:
    """The same convolution in one of the orders."""
    x, w = Tensor(IMAGE, requires_grad=True), Tensor(FILTER, requires_grad=True)
    names: dict[str, Any] = {"image": x, "filter": w}
    windows = {"kernel": (2, 2), "stride": (1, 1), "dilation": (1, 1)}
    if order == "product":
        bias = Tensor(np.zeros(1))
        columns, product, _ = convolved(x.reshape(1, 1, 4, 4), w.reshape(1, 1, 2, 2), bias)
        y = product.reshape(3, 3)
        names |= {"columns": columns}
    elif order == "places":
        y, parts = by_places(x, w)
        names |= parts
    elif order == "engine":
        y = F.conv2d(x.reshape(1, 1, 4, 4), w.reshape(1, 1, 2, 2))
    elif order == "einsum":
        seen = ops.im2col(x.reshape(4, 1, 4, 1), **windows)
        seen = ops.reshape(seen, shape=(3, 2, 2, 3))
        y = einsum(seen, w)
        names |= {"windows": seen}
    else:
        y = loops(x, w)
    point = {"panel": "filter", "element": 0, "kind": "gradient"}
    made = still if order in ("loops", "einsum") else variant
    return {**made(y, SEED.reshape(y.shape), {**names, "Y": y}, order=order), "point": point}


def blocks() -> list[str]:
    """The chapter."""
    x, w = Tensor(IMAGE, requires_grad=True), Tensor(FILTER, requires_grad=True)
    loops(x, w).backward(SEED.reshape(3, 3))
    return [
        prose("""
A convolution is a sum of products, and a sum can be taken in any order. Here is one convolution, a 4×4 image and a
2×2 filter, in five ways:

- **nested loops**: the definition, as a single operation with a rule that was written by hand;
- **one product**: all windows as columns, as in the last chapter;
- **einsum**: the windows left as they are, and a formula with letters in the place of a matrix product;
- **place by place**: for each number of the filter a shifted image, times that number, and the four results added;
- **the engine's**: windows over the width first, then over the height, so that less is copied.
"""),
        question(
            "The forward passes differ in every step. How many different values will dfilter[0, 0] have in the five?",
            1,
            "All hold the same products of the same numbers; the rules of sums and products only ever add them up.",
        ),
        touchable(
            [one(order) for order in ("loops", "product", "einsum", "places", "engine")],
            "One convolution in five orders",
            [
                (
                    "order",
                    "order",
                    [
                        ("loops", "nested loops"),
                        ("product", "one product"),
                        ("einsum", "einsum"),
                        ("places", "place by place"),
                        ("engine", "the engine's"),
                    ],
                )
            ],
        ),
        prose(f"""
The first number of dfilter is {int(gradient(w)[0, 0])} in each of them. In the nested loops one link leads from it
to every output, and the weight of each is the pixel that it was multiplied with. In *one product* the same nine
pixels stand in a row of the columns. In *place by place* they are a shifted image, and `image[0:3, 0:3]` is that
very row, drawn as a square.

The rule of a slice puts what arrives back into an image of zeros. In *place by place* the image is used four times,
so four such images are added up, and that is col2im again, which nobody has called.

What differs is cost. A copy of all windows of 3×3 takes nine times the memory of the image; the formula with
letters copies nothing until it is computed; place by place adds up nine times. Which is fastest depends on the
sizes, and since nothing has to be derived anew, a library can choose.
"""),
    ]
