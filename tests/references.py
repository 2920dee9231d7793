"""What the tests hold the package against: finite differences, plain loops, and the checks of one primitive.

Nothing here uses `gradcheck`, so that it and these checks can contradict each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_cnn import Tensor, grad
from tinygrad_cnn.engine.graph import Primitive, ShapeDtype, Value


def fixed(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    """Normal random numbers, the same in every call."""
    return np.random.default_rng(seed).standard_normal(shape)


def apart(*shape: int, seed: int = 0, offset: float = 0.1) -> np.ndarray:
    """Numbers 0.2 from each other and `offset` from zero: no difference of 1e-6 crosses a kink."""
    count = math.prod(shape)
    places = np.random.default_rng(seed).permutation(count) - count // 2
    return np.asarray(0.2 * places.reshape(shape) + offset)


def differences(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The gradient of Σ c · function(x), by central differences."""
    eps = 1e-6
    slopes = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[index] += eps
        below[index] -= eps
        slopes[index] = np.sum(c * (np.asarray(function(above)) - np.asarray(function(below)))) / (2 * eps)
    return slopes


# ---- one primitive


@dataclass
class Case:
    """A primitive with arguments; the float64 arrays among them are those it is differentiated by."""

    primitive: Primitive
    args: list[Any]
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        self.args = [read_only(arg) for arg in self.args]

    @property
    def differentiable(self) -> list[int]:
        return [i for i, arg in enumerate(self.args) if isinstance(arg, np.ndarray) and arg.dtype == np.float64]

    def __call__(self, *args: Any) -> np.ndarray:
        return np.asarray(self.primitive(*(args or self.args), **self.settings))

    def with_arg(self, argnum: int, value: Any) -> list[Any]:
        return [*self.args[:argnum], value, *self.args[argnum + 1 :]]


def case(primitive: Primitive, *args: Any, **settings: Any) -> Case:
    return Case(primitive, list(args), settings)


def read_only(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    value = value.copy()
    value.setflags(write=False)
    return value


def check_vjps(case: Case) -> None:
    """Every rule agrees with differences, and gives the shape and dtype of its argument."""
    out = case()
    g = read_only(fixed(out.shape))
    for argnum in case.differentiable:
        x = case.args[argnum]
        gradient = case.primitive.rule(argnum)(g, out, *case.args, **case.settings)
        assert (gradient.shape, gradient.dtype) == (x.shape, x.dtype)
        expected = differences(lambda x, argnum=argnum: case(*case.with_arg(argnum, x)), x, g)
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7, err_msg=f"argument {argnum}")


def check_second_derivatives(case: Case) -> None:
    """Every rule, as a function of the cotangent and of all arguments, has itself the right derivatives."""
    g = fixed(case().shape)
    for argnum in case.differentiable:

        def rule(g: Any, args: list[Any], argnum: int = argnum) -> Any:
            out = case.primitive(*args, **case.settings)
            return case.primitive.rule(argnum)(g, out, *args, **case.settings)

        c = fixed(case.args[argnum].shape, seed=2)
        leaves = [Tensor(g, requires_grad=True)]
        leaves += [Tensor(case.args[i], requires_grad=True) for i in case.differentiable]
        args = list(case.args)
        for i, leaf in zip(case.differentiable, leaves[1:], strict=True):
            args[i] = leaf
        gradient = rule(leaves[0], args)
        assert isinstance(gradient, Tensor) and gradient.requires_grad, "the rule does not depend on its cotangent"
        found = grad(gradient, leaves, c, allow_unused=True)

        expected = [differences(lambda g: rule(g, case.args), g, c)]
        expected += [
            differences(lambda x, i=i: rule(g, case.with_arg(i, x)), case.args[i], c) for i in case.differentiable
        ]
        for of, (gradient, numeric) in enumerate(zip(found, expected, strict=True)):
            values = np.zeros(numeric.shape) if gradient is None else gradient.numpy()
            message = f"the rule of argument {argnum}, differentiated by {'the cotangent' if of == 0 else of - 1}"
            np.testing.assert_allclose(values, numeric, rtol=1e-5, atol=1e-7, err_msg=message)


def check_float32(case: Case) -> None:
    """float32 in, float32 out and float32 gradients back."""
    args = [arg.astype(np.float32) if i in case.differentiable else arg for i, arg in enumerate(case.args)]
    out = case(*args)
    assert out.dtype == case.settings.get("dtype", np.float32)
    g = fixed(out.shape).astype(out.dtype)
    for argnum in case.differentiable:
        gradient = case.primitive.rule(argnum)(g, out, *args, **case.settings)
        assert gradient.dtype == np.float32, f"argument {argnum}: {gradient.dtype}"


def check_nothing_is_written(case: Case) -> None:
    """Neither the function nor a rule writes into the arguments, the output or the cotangent."""
    args = [arg.copy() if isinstance(arg, np.ndarray) else arg for arg in case.args]  # may be written to
    out = np.array(case(*args))
    g = fixed(out.shape)
    before = out.copy()
    for argnum in case.differentiable:
        case.primitive.rule(argnum)(g, out, *args, **case.settings)
        case.primitive.rule(argnum)(read_only(g), read_only(out), *case.args, **case.settings)
    for value, copy in zip((*args, out, g), (*case.args, before, fixed(out.shape)), strict=True):
        np.testing.assert_array_equal(value, copy)


def check_adjoint(case: Case) -> None:
    """For a function linear in all its arguments together, <f(x), c> = Σ <x, vjp(c)> to rounding."""
    out = case()
    c = fixed(out.shape)
    left = np.sum(out * c)
    right = sum(
        np.sum(case.args[i] * case.primitive.rule(i)(c, out, *case.args, **case.settings)) for i in case.differentiable
    )
    assert abs(left - right) <= 1e-13 * max(np.sum(np.abs(out * c)), 1)


def check_recorded_as_computed(case: Case) -> None:
    """On Tensors a primitive computes what it computes on arrays, and records it."""
    args = [Tensor(arg, requires_grad=True) if i in case.differentiable else arg for i, arg in enumerate(case.args)]
    out = case.primitive(*args, **case.settings)
    assert isinstance(out, Value)
    np.testing.assert_array_equal(out.numpy(), case())
    assert out.node.primitive is case.primitive
    assert out.node.settings == {**case.primitive.defaults, **case.settings}


def read_by_rules(primitive: Primitive, case: Case) -> list[int]:
    """For out and for each argument the rules that read its numbers, as bits."""
    read = [primitive.reads_out, *primitive._read]
    return read + read[-1:] * (1 + len(case.args) - len(read))  # one of *arrays


def check_reads(case: Case) -> None:
    """The rules give the same with nothing kept for them but what `reads` says."""
    primitive = case.primitive
    out = case()
    g = read_only(fixed(out.shape))
    for argnum in case.differentiable:
        own, *args = (
            value if bits >> argnum & 1 or (i > 0 and i - 1 not in case.differentiable) else ShapeDtype(value)
            for i, (value, bits) in enumerate(zip((out, *case.args), read_by_rules(primitive, case), strict=False))
        )
        expected = primitive.rule(argnum)(g, out, *case.args, **case.settings)
        np.testing.assert_array_equal(primitive.rule(argnum)(g, own, *args, **case.settings), expected)


def check_out(case: Case) -> None:
    """Written into an array that is there already, the result has the same bits; for other numbers later, too."""
    primitive, settings = case.primitive, {**case.primitive.defaults, **case.settings}
    if primitive.out_calls is None:
        return
    args = [arg.copy("K") if isinstance(arg, np.ndarray) else arg for arg in case.args]
    expected = np.asarray(primitive.function(*args, **settings))
    if primitive.views and any(np.may_share_memory(expected, arg) for arg in args if isinstance(arg, np.ndarray)):
        return
    out = np.empty_like(expected)
    calls = primitive.out_calls(np.empty, out, *args, **settings)
    for _ in range(2):
        for call in calls:
            call()
        np.testing.assert_array_equal(out, np.asarray(primitive.function(*args, **settings)), strict=True)
        for i in case.differentiable:
            args[i][...] = 1.01 * np.flip(args[i])


ALL_CHECKS = [
    check_out,
    check_vjps,
    check_second_derivatives,
    check_float32,
    check_nothing_is_written,
    check_recorded_as_computed,
    check_reads,
]


# ---- windows, by loops over every number


def pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def conv2d_terms(
    images: tuple[int, ...], filters: tuple[int, ...], stride: Any, padding: Any, dilation: Any, groups: int
) -> tuple[tuple[int, ...], Iterator[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]]:
    """The output's shape, and all products: the places in output, images and filters that belong together."""
    n, _, height, width = images
    count, depth, kernel_h, kernel_w = filters
    stride, dilation = pair(stride), pair(dilation)
    reach = [dilation[0] * (kernel_h - 1), dilation[1] * (kernel_w - 1)]
    if padding == "valid":
        padding = 0
    if padding == "same":
        before, both = [r // 2 for r in reach], reach
    else:
        before, both = pair(padding), [2 * p for p in pair(padding)]
    out_h = (height + both[0] - reach[0] - 1) // stride[0] + 1
    out_w = (width + both[1] - reach[1] - 1) // stride[1] + 1

    def terms() -> Iterator[Any]:
        for image, f, i, j, d, p, q in np.ndindex(n, count, out_h, out_w, depth, kernel_h, kernel_w):
            y = i * stride[0] + p * dilation[0] - before[0]
            x = j * stride[1] + q * dilation[1] - before[1]
            if 0 <= y < height and 0 <= x < width:
                channel = f // (count // groups) * depth + d
                yield (image, f, i, j), (image, channel, y, x), (f, d, p, q)

    return (n, count, out_h, out_w), terms()


def conv2d_loops(
    images: np.ndarray,
    filters: np.ndarray,
    bias: np.ndarray | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> np.ndarray:
    shape, terms = conv2d_terms(images.shape, filters.shape, stride, padding, dilation, groups)
    out = np.zeros(shape)
    for at, in_images, in_filters in terms:
        out[at] += images[in_images] * filters[in_filters]
    return out if bias is None else out + bias[:, None, None]


def conv2d_gradients(
    g: np.ndarray,
    images: np.ndarray,
    filters: np.ndarray,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of Σ g · conv2d, by images, filters and bias: each product hands its cotangent to both factors."""
    of_images, of_filters = np.zeros(images.shape), np.zeros(filters.shape)
    _, terms = conv2d_terms(images.shape, filters.shape, stride, padding, dilation, groups)
    for at, in_images, in_filters in terms:
        of_images[in_images] += g[at] * filters[in_filters]
        of_filters[in_filters] += g[at] * images[in_images]
    return of_images, of_filters, g.sum((0, 2, 3))


def pooling_windows(
    shape: tuple[int, ...],
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> tuple[tuple[int, ...], Iterator[tuple[tuple[int, ...], list[tuple[int, ...]], int]]]:
    """The output's shape, and for each output its place, its window's places in the image, row by row, and
    how many places its window has in the image and its padding together."""
    kernel, padding, dilation = pair(kernel), pair(padding), pair(dilation)
    stride = kernel if stride is None else pair(stride)
    sizes = []
    for axis in (0, 1):
        steps = (shape[axis + 2] + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) / stride[axis]
        size = (math.ceil(steps) if ceil_mode else math.floor(steps)) + 1
        if ceil_mode and (size - 1) * stride[axis] >= shape[axis + 2] + padding[axis]:
            size -= 1  # no window begins behind the image
        sizes.append(size)

    def windows() -> Iterator[Any]:
        for at in np.ndindex(*shape[:2], *sizes):
            rows, columns = (
                [at[axis + 2] * stride[axis] + k * dilation[axis] - padding[axis] for k in range(kernel[axis])]
                for axis in (0, 1)
            )
            inside = [(*at[:2], y, x) for y in rows for x in columns if 0 <= y < shape[2] and 0 <= x < shape[3]]
            counted = sum(y < shape[2] + padding[0] for y in rows) * sum(x < shape[3] + padding[1] for x in columns)
            yield at, inside, counted

    return (*shape[:2], *sizes), windows()


def max_pool2d_loops(images: np.ndarray, g: np.ndarray | None = None, **settings: Any) -> tuple[np.ndarray, ...]:
    """The maxima, the places of their first winners (row · W + column), and the images' gradient for g."""
    shape, windows = pooling_windows(images.shape, **settings)
    out, places, gradient = np.zeros(shape), np.zeros(shape, int), np.zeros(images.shape)
    for at, window, _ in windows:
        winner = max(window, key=images.__getitem__)  # Python's max takes the first of equal ones
        out[at] = images[winner]
        places[at] = winner[2] * images.shape[3] + winner[3]
        if g is not None:
            gradient[winner] += g[at]
    return out, places, gradient


def avg_pool2d_loops(
    images: np.ndarray,
    g: np.ndarray | None = None,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    **settings: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """The means, and the images' gradient for g."""
    shape, windows = pooling_windows(images.shape, **settings)
    out, gradient = np.zeros(shape), np.zeros(images.shape)
    for at, window, counted in windows:
        divisor = divisor_override or (counted if count_include_pad else len(window))
        for place in window:
            out[at] += images[place] / divisor
            if g is not None:
                gradient[place] += g[at] / divisor
    return out, gradient


# ---- losses


def cross_entropy_loops(
    scores: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> np.ndarray:
    """Scores (N, C, ...) and classes (N, ...), one target after another."""
    classes = scores.shape[1]
    weight = np.ones(classes) if weight is None else weight
    losses, total = np.zeros(target.shape), 0.0
    for at in np.ndindex(target.shape):
        if target[at] == ignore_index:
            continue
        row = scores[(at[0], slice(None), *at[1:])]
        logarithms = row - math.log(sum(math.exp(score) for score in row))
        hit = weight[target[at]] * logarithms[target[at]]
        losses[at] = -(1 - label_smoothing) * hit - label_smoothing / classes * (weight @ logarithms)
        total += weight[target[at]]
    return {"none": losses, "sum": losses.sum(), "mean": losses.sum() / (total or np.nan)}[reduction]


def leaf(*numbers, dtype=np.float64):
    return Tensor(np.array(numbers, dtype), requires_grad=True)


def array_of(seed, *shape):
    return Tensor(fixed(shape, seed), requires_grad=True)
