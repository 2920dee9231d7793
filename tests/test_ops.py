"""One table of cases drives all checks of the primitives."""

import doctest
import inspect
import itertools
import math

import numpy as np
import pytest
from references import (
    ALL_CHECKS,
    apart,
    case,
    check_adjoint,
    fixed,
)

from tinygrad_cnn import Tensor, grad, ops
from tinygrad_cnn.engine.graph import Primitive, ShapeDtype

normal = np.random.default_rng(0).standard_normal


def positive(*shape: int) -> np.ndarray:
    return np.asarray(np.exp(0.5 * normal(shape)))


class ThreeAlike:
    """In place of three processes that all give the same: the real ones are in test_distributed.py."""

    def sum(self, x):
        return 3 * x


KEPT = np.array([[True, False, True], [False, True, True]])

BROADCASTING = [  # the shapes of two operands
    ((2, 3), (2, 3)),
    ((2, 3), (3,)),
    ((3,), (2, 3)),
    ((2, 3), (2, 1)),
    ((2, 1, 3), (4, 1)),
    ((2, 3), ()),
    ((), ()),
    ((1, 1), (2, 3)),
    ((0, 3), (3,)),
]

CASES = [
    *(case(op, normal(a), normal(b)) for op in (ops.add, ops.sub, ops.mul) for a, b in BROADCASTING),
    *(case(op, normal((2, 3)), 1.5) for op in (ops.add, ops.sub, ops.mul)),
    *(case(op, 1.5, normal((2, 3))) for op in (ops.add, ops.sub, ops.mul)),
    *(case(ops.div, normal(a), positive(*b)) for a, b in BROADCASTING),
    case(ops.div, normal((2, 3)), -positive(2, 3)),
    case(ops.div, normal((2, 3)), 4.0),
    case(ops.div, 4.0, positive(2, 3)),
    *(case(ops.pow, positive(*a), normal(b)) for a, b in BROADCASTING),
    *(case(ops.pow, apart(2, 3), exponent) for exponent in (0, 1, 2, 3, -1, -2, 0.0, 2.0)),
    *(case(ops.pow, positive(2, 3), exponent) for exponent in (0.5, -0.5, 2.5)),
    case(ops.pow, 2.0, normal((2, 3))),
    *(case(op, normal(shape)) for op in (ops.exp, ops.tanh, ops.sigmoid) for shape in ((2, 3), (), (0,))),
    *(case(op, normal(shape)) for op in (ops.expm1, ops.sin, ops.cos, ops.erf) for shape in ((2, 3), (), (0,))),
    *(case(op, normal(shape)) for op in (ops.normal_cdf, ops.normal_pdf) for shape in ((2, 3), (), (0,))),
    case(ops.erf, np.array([-7.0, -4.5, -2.0, -0.3, 0.0, 0.4, 1.0, 3.9, 4.1, 6.5])),
    case(ops.sigmoid, np.array([-40.0, -10.0, 10.0, 40.0])),
    *(case(op, positive(*shape)) for op in (ops.log, ops.log1p, ops.sqrt) for shape in ((2, 3), (), (0,))),
    *(case(ops.relu, apart(*shape)) for shape in ((2, 3), (), (0,))),
    *(case(ops.maximum, apart(*a, seed=1), apart(*b, seed=2, offset=0.05)) for a, b in BROADCASTING),
    case(ops.maximum, apart(2, 3), 0.05),
    case(ops.maximum, 0.05, apart(2, 3)),
    case(ops.maximum, apart(2, 3), apart(3, offset=0.05), ties="first"),
    *(case(ops.minimum, apart(*a, seed=1), apart(*b, seed=2, offset=0.05)) for a, b in BROADCASTING),
    case(ops.minimum, apart(2, 3), 0.05, ties="first"),
    *(
        case(ops.rounded, np.array([0.2, 1.3, -0.7, 2.1, -1.2]), how=how)
        for how in ("floor", "ceil", "trunc", "rint", "sign")
    ),
    *(
        case(op, np.array([1.3, -2.6, 7.1]), np.array(divisors))
        for op in (ops.floor_divide, ops.remainder)
        for divisors in ([0.5, 1.1, -2.2], [[0.45], [-1.7]])
    ),
    case(ops.remainder, np.array([1.3, -2.6]), 0.7),
    *(case(ops.where, KEPT, normal(a), normal(b)) for a, b in (((2, 3), (2, 3)), ((3,), (2, 1)), ((), (2, 3)))),
    case(ops.where, KEPT[0], normal((2, 3)), normal((2, 3))),
    case(ops.where, KEPT, normal((2, 3)), 0.5),
    case(ops.where, KEPT, 0.5, normal(3)),
    case(ops.astype, normal((2, 3)), dtype=np.dtype(np.float64)),
    *(
        case(ops.sum, normal((2, 3, 4)), axis=axis, keepdims=keepdims)
        for axis in ((), (0,), (1,), (0, 2), (0, 1, 2))
        for keepdims in (True, False)
    ),
    case(ops.sum, normal(()), axis=(), keepdims=False),
    case(ops.sum, normal((0, 3)), axis=(0,), keepdims=False),
    *(
        case(ops.sum_of_squares, normal((2, 3, 4)), axis=axis, keepdims=keepdims)
        for axis in ((), (1,), (0, 2))
        for keepdims in (True, False)
    ),
    *(
        case(op, normal((2, 3, 4)), axis=axis, eps=eps)
        for op in (ops.standardise, ops.deviation)
        for axis, eps in (((1,), 0.0), ((0, 2), 1e-2), ((0, 1, 2), 1e-5))
    ),
    case(ops.broadcast_to, normal((3,)), shape=(2, 3)),
    case(ops.broadcast_to, normal((2, 1, 3)), shape=(4, 2, 5, 3)),
    case(ops.broadcast_to, normal(()), shape=(2, 2)),
    case(ops.broadcast_to, normal((2, 1)), shape=(2, 1)),
    case(ops.broadcast_to, normal((1, 3)), shape=(0, 3)),
    case(ops.reshape, normal((2, 6)), shape=(3, 4)),
    case(ops.reshape, normal((1,)), shape=()),
    case(ops.reshape, normal((0, 2)), shape=(2, 0, 5)),
    case(ops.permute, normal((2, 3, 4)), axes=(2, 0, 1)),
    case(ops.permute, normal((2, 3, 4, 2)), axes=(3, 1, 0, 2)),
    case(ops.permute, normal(()), axes=()),
    case(ops.index, normal((4, 3)), key=2),
    case(ops.index, normal((4, 3)), key=(slice(1, None, 2), -1)),
    case(ops.index, normal((4, 3)), key=(slice(None, None, -1), None, ...)),
    # an element three times
    case(ops.index, normal((4, 3)), np.array([0, 2, 2, 2]), np.array([1, 0, 0, 1]), key=(ops.ARRAY, ops.ARRAY)),
    case(ops.index, normal((4, 3)), np.array([[0, 0], [2, 0]]), key=(slice(None), ops.ARRAY)),
    case(ops.index, normal((2, 3)), KEPT, key=ops.ARRAY),
    case(ops.index, normal((2, 3)), np.array([True, False]), key=(ops.ARRAY, slice(1, None))),
    case(ops.index, normal((3, 4, 2)), np.array([0, 0]), np.array([1, 1]), key=(ops.ARRAY, slice(None), ops.ARRAY)),
    case(ops.index, normal((4,)), np.zeros((0,), int), key=ops.ARRAY),
    case(ops.scatter, normal((3,)), key=(slice(1, None, 2),), shape=(6,)),
    case(ops.scatter, normal((5,)), np.array([0, 2, 2, 2, 0]), key=ops.ARRAY, shape=(4,)),
    case(ops.scatter, normal((4, 2)), np.array([1, 1]), key=(slice(None), ops.ARRAY), shape=(4, 3)),
    case(ops.scatter, normal((4,)), KEPT, key=ops.ARRAY, shape=(2, 3)),
    case(ops.pad, normal((2, 3)), widths=((1, 2), (0, 3)), value=0),
    case(ops.pad, normal((2, 3)), widths=((0, 0), (2, 0)), value=-1.5),
    case(ops.pad, normal((0, 3)), widths=((1, 1), (0, 0)), value=-np.inf),
    case(ops.concatenate, normal((2, 3)), normal((1, 3)), normal((4, 3)), axis=0),
    case(ops.concatenate, normal((2, 3)), normal((2, 1)), axis=1),
    case(ops.concatenate, normal((2, 0)), normal((2, 2)), np.ones((2, 1), np.float32), axis=1),
    *(case(ops.all_reduce, normal(shape), group=ThreeAlike()) for shape in ((2, 3), (), (0,))),
    case(ops.matmul, normal((2, 3)), normal((3, 4))),
    case(ops.matmul, normal((3, 3)), normal((3, 3))),
    case(ops.matmul, normal((5, 2, 3)), normal((5, 3, 4))),
    case(ops.matmul, normal((2, 3)), normal((5, 3, 1))),
    case(ops.matmul, normal((5, 1, 2, 3)), normal((4, 3, 2))),
    case(ops.matmul, normal((8, 8)), normal((3, 8, 1))),  # the products that are added up are larger than their factors
    case(ops.matmul, normal((2, 0)), normal((0, 3))),
    *(
        case(ops.max, apart(*shape), axis=axis, keepdims=keepdims, ties=ties)
        for shape, axis in (((2, 3, 4), (0,)), ((2, 3, 4), (0, 2)), ((2, 3, 4), (0, 1, 2)), ((3,), ()), ((2, 70), (1,)))
        for keepdims in (True, False)
        for ties in ("first", "share")
    ),
    case(ops.max, apart(), axis=(), keepdims=False, ties="first"),
    *(case(ops.cumsum, normal((2, 3, 4)), axis=axis) for axis in (0, 1, 2)),
    case(ops.cumsum, normal((0, 3)), axis=0),
    *(case(ops.log_softmax, 2 * normal((3, 4)), axis=axis) for axis in (0, 1)),
    case(ops.log_softmax, np.array([900.0, 901.0, -900.0]), axis=0),
    *(
        case(ops.im2col, normal(shape), kernel=kernel, stride=stride, dilation=dilation)
        for shape, kernel, stride, dilation in (
            ((4, 2, 4, 2), (2, 2), (2, 2), (1, 1)),
            ((4, 2, 5, 2), (3, 2), (1, 1), (1, 1)),  # windows overlap
            ((6, 1, 7, 1), (2, 3), (3, 2), (1, 1)),  # the last row and column are in no window
            ((6, 2, 6, 1), (2, 2), (1, 2), (3, 2)),
            ((5, 1, 5, 1), (1, 1), (2, 3), (1, 1)),  # gaps
            ((3, 2, 3, 1), (3, 3), (1, 1), (1, 1)),
            ((3, 2, 3, 0), (2, 2), (1, 1), (1, 1)),
        )
    ),
    *(
        case(ops.col2im, normal(shape), image=image, stride=stride, dilation=dilation)
        for shape, image, stride, dilation in (
            ((2, 2, 2, 2, 2, 2), (4, 4), (2, 2), (1, 1)),
            ((3, 2, 2, 3, 2, 1), (4, 4), (1, 1), (1, 1)),
            ((2, 2, 1, 2, 2, 1), (7, 5), (3, 2), (2, 1)),
            ((2, 2, 1, 2, 2, 0), (3, 3), (1, 1), (1, 1)),
        )
    ),
    *(
        case(op, normal(shape), normal(other), **kernel, stride=stride, padding=padding, dilation=dilation)
        for shape, (groups, each, channels, *size), stride, padding, dilation, out in (
            ((4, 2, 4, 2), (2, 1, 1, 2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), (3, 3)),
            ((5, 2, 4, 1), (2, 3, 1, 3, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), (3, 3)),
            ((3, 4, 4, 2), (2, 3, 2, 2, 3), (1, 2), ((0, 1), (1, 1)), (1, 1), (3, 2)),
            ((6, 1, 7, 2), (1, 2, 1, 2, 3), (3, 2), ((0, 0), (0, 0)), (2, 1), (2, 3)),  # no window has the last ones
            ((3, 2, 3, 1), (2, 1, 1, 1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1), (2, 2)),
            ((3, 2, 3, 0), (2, 1, 1, 2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), (2, 2)),
            ((3, 2, 4, 2), (2, 1, 1, 3, 3), (2, 2), ((1, 1), (1, 2)), (1, 1), (2, 3)),
            ((2, 3, 3, 1), (1, 2, 3, 2, 2), (1, 1), ((3, 0), (1, 3)), (1, 2), (4, 5)),  # windows of nothing but zeros
            ((4, 1, 3, 1), (1, 2, 1, 2, 2), (1, 1), ((-1, 1), (2, -1)), (1, 1), (3, 3)),  # fewer than no zeros
            ((2, 1, 3, 1), (1, 1, 1, 1, 2), (1, 1), ((0, 0), (5, -4)), (1, 1), (2, 3)),  # none of the images is left
        )
        for op, other, kernel in (
            (ops.correlate, (groups, each, channels, *size), {}),
            (ops.correlations, (out[0], groups * each, out[1], shape[-1]), {"groups": groups, "kernel": tuple(size)}),
        )
    ),
]

# linear in all arguments together (mul, matmul and correlate are linear in each argument by itself)
LINEAR = {
    ops.add,
    ops.all_reduce,
    ops.astype,
    ops.broadcast_to,
    ops.col2im,
    ops.concatenate,
    ops.cumsum,
    ops.im2col,
    ops.index,
    ops.pad,
    ops.permute,
    ops.reshape,
    ops.scatter,
    ops.sub,
    ops.sum,
    ops.where,
}
BILINEAR = {ops.mul, ops.matmul, ops.correlate, ops.correlations}

PRIMITIVES = {name: value for name, value in vars(ops).items() if isinstance(value, Primitive)}
WITHOUT_VJP = {"argmax", "argsort", "compare", "winners"}


def names(cases):
    return [f"{case.primitive.name}-{i}" for i, case in enumerate(cases)]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
@pytest.mark.parametrize("check", ALL_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_primitive(check, case):
    check(case)


def is_linear(case):
    constants = [arg for i, arg in enumerate(case.args) if i not in case.differentiable]
    no_offset = all(np.asarray(c).dtype == bool or not np.any(c) for c in constants)
    return case.primitive in LINEAR and no_offset and case.settings.get("value", 0) == 0


LINEAR_CASES = [case for case in CASES if is_linear(case)]
BILINEAR_CASES = [case for case in CASES if case.primitive in BILINEAR and len(case.differentiable) == 2]


@pytest.mark.parametrize("case", LINEAR_CASES, ids=names(LINEAR_CASES))
def test_vjp_of_a_linear_primitive_is_its_adjoint(case):
    check_adjoint(case)


@pytest.mark.parametrize("case", BILINEAR_CASES, ids=names(BILINEAR_CASES))
def test_vjps_of_a_bilinear_primitive_are_adjoints_one_by_one(case):
    out = case()
    c = fixed(out.shape)
    for i, x in enumerate(case.args):
        gradient = case.primitive.rule(i)(c, out, *case.args, **case.settings)
        np.testing.assert_allclose(np.sum(x * gradient), np.sum(out * c), rtol=1e-11, atol=1e-13)


def test_every_primitive_has_a_case_for_each_of_its_arguments():
    tested = {(case.primitive.name, i) for case in CASES for i in case.differentiable}
    wanted = {(name, i) for name, p in PRIMITIVES.items() for i, rule in enumerate(p.rules) if rule is not None}
    wanted |= {(name, i) for name, p in PRIMITIVES.items() for i in range(2) if p.joint_rule is not None}
    assert wanted <= tested, f"no case for {sorted(wanted - tested)}"


def test_every_primitive_has_a_rule_for_each_of_its_arguments():
    for name, p in PRIMITIVES.items():
        if name not in WITHOUT_VJP and p.joint_rule is None:
            arguments = [a for a in inspect.signature(p).parameters.values() if a.kind is a.POSITIONAL_OR_KEYWORD]
            assert len(p.rules) == len(arguments), name
    assert ops.argmax.rules == () and ops.argmax.joint_rule is None


@pytest.mark.parametrize("name", [name for name, p in PRIMITIVES.items() if p.rules])
def test_whatever_is_kept_is_read_by_some_rule(name):
    """Else memory would be held for nothing."""
    p = PRIMITIVES[name]
    arguments = [a.name for a in inspect.signature(p).parameters.values() if a.kind is a.POSITIONAL_OR_KEYWORD]
    for read in ["out"] * bool(p.reads_out) + [a for i, a in enumerate(arguments) if p.reads(i)]:
        assert any(needs(case, read, arguments) for case in CASES if case.primitive is p), read


def needs(case, read, arguments):
    """Whether a rule fails when the numbers of one argument, or of out, are kept from it."""
    out = case()
    args = [
        ShapeDtype(np.asarray(arg)) if name == read else arg for name, arg in zip(arguments, case.args, strict=True)
    ]
    for argnum in case.differentiable:
        try:
            case.primitive.rule(argnum)(out, ShapeDtype(out) if read == "out" else out, *args, **case.settings)
        except (RuntimeError, AttributeError, TypeError):
            return True
    return False


def test_every_linear_primitive_has_a_linear_case():
    assert {case.primitive for case in LINEAR_CASES} == LINEAR
    assert {case.primitive for case in BILINEAR_CASES} == BILINEAR


def test_everything_in_the_package_that_is_a_primitive_is_listed():
    assert set(PRIMITIVES) <= set(ops.__all__)
    inside = [m for m in vars(ops).values() if inspect.ismodule(m) and m.__name__.startswith(ops.__name__)]
    every = [value for module in inside for value in vars(module).values() if isinstance(value, Primitive)]
    assert {one.name for one in every} == {*PRIMITIVES, "compiled"}  # which is whatever the user's function is
    assert len(inside) >= 6


@pytest.mark.parametrize("name", PRIMITIVES)
def test_docstring_says_why_it_is_a_primitive_and_shows_it(name):
    text = PRIMITIVES[name].__doc__
    reason = "primitive without a vjp" if name in WITHOUT_VJP else "primitive because"
    assert reason in " ".join(text.lower().split())
    example = doctest.DocTestParser().get_doctest(text, {**vars(ops), "np": np}, name, None, 0)
    assert example.examples
    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example).failed == 0


# ---- what differences cannot see: kinks, ties, limits, special values


def gradients(function, *arrays):
    leaves = [Tensor(array, dtype=np.float64, requires_grad=True) for array in arrays]
    out = function(*leaves)
    return [g.tolist() for g in grad(out, leaves, np.ones(out.shape))]


@pytest.mark.parametrize(
    ("function", "arrays", "expected"),
    [
        (ops.relu, [[-1.0, 0.0, -0.0, 1.0]], [[0.0, 0.0, 0.0, 1.0]]),
        (ops.maximum, [[1.0, 2.0, 2.0], [2.0, 2.0, 1.0]], [[0.0, 0.5, 1.0], [1.0, 0.5, 0.0]]),
        (ops.pow, [[0.0, 0.0, -2.0], [0.0, 2.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, np.nan]]),
        (ops.pow, [[0.0], [1.0]], [[1.0], [0.0]]),
        (ops.sigmoid, [[-800.0, 800.0]], [[0.0, 0.0]]),
        (ops.tanh, [[-800.0, 800.0]], [[0.0, 0.0]]),
    ],
    ids=["relu", "maximum", "pow", "pow of zero", "sigmoid", "tanh"],
)
def test_gradient_at_kinks_and_limits(function, arrays, expected):
    with np.errstate(invalid="ignore"):  # the derivative of (-2)ᵇ by b does not exist: NaN
        assert np.array_equal(gradients(function, *arrays), expected, equal_nan=True)


@pytest.mark.parametrize("length", [2, 5, 64, 65, 100])  # few elements are compared in another way than many
@pytest.mark.parametrize("ties", ["first", "share"])
def test_max_gives_equal_winners_the_whole_cotangent_once(length, ties):
    row = np.zeros(length)
    row[[length // 2 - 1, length - 1]] = 3.0
    (gradient,) = gradients(lambda x: ops.max(x, axis=(0,), keepdims=False, ties=ties), row)
    first, last = gradient[length // 2 - 1], gradient[-1]
    assert (first, last) == ((1.0, 0.0) if ties == "first" else (0.5, 0.5))
    assert sum(gradient) == 1.0


@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize("ties", ["first", "share"])
@pytest.mark.parametrize("axis", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("size", [3, 9])
def test_max_with_many_ties_against_a_loop(size, axis, ties, keepdims):
    x = np.random.default_rng(0).integers(0, 3, (size, 4, size)).astype(float)
    out = ops.max(x, axis=axis, keepdims=keepdims, ties=ties)
    np.testing.assert_array_equal(out, x.max(axis=axis, keepdims=keepdims))
    g = fixed(out.shape)
    expected = np.zeros(x.shape)
    kept = g if keepdims else np.expand_dims(g, axis)
    for at in np.ndindex(kept.shape):
        places = list(itertools.product(*(range(n) if i in axis else [at[i]] for i, n in enumerate(x.shape))))
        largest = max(x[place] for place in places)
        winners = [place for place in places if x[place] == largest]
        for place in winners[:1] if ties == "first" else winners:
            expected[place] += kept[at] / (1 if ties == "first" else len(winners))
    gradient = ops.max.rule(0)(g, out, x, axis=axis, keepdims=keepdims, ties=ties)
    np.testing.assert_allclose(gradient, expected, rtol=1e-14)


@pytest.mark.parametrize("length", [3, 70])
def test_max_hands_nan_on_and_its_gradient_to_the_nan(length):
    row = np.arange(length, dtype=float)
    row[1] = np.nan
    assert np.isnan(ops.max(row, axis=(0,), keepdims=False, ties="first"))
    for ties in ("share", "first"):
        (gradient,) = gradients(lambda x, ties=ties: ops.max(x, axis=(0,), keepdims=False, ties=ties), row)
        np.testing.assert_array_equal(gradient, np.isnan(row))


@pytest.mark.parametrize("value", [1e200, 1e-200, np.inf, np.nan])
def test_the_gradient_of_max_meets_no_floating_point_error(value):
    with np.errstate(all="raise"):
        (gradient,) = gradients(lambda x: ops.max(x, axis=(0,), keepdims=False, ties="first"), np.full((3, 40), value))
    assert np.sum(gradient) == 40


def test_special_values_are_computed_as_numpy_does():
    with np.errstate(all="ignore"):
        x = np.array([-np.inf, -1.0, -0.0, 0.0, 1.0, np.inf, np.nan])
        np.testing.assert_array_equal(ops.relu(x), np.maximum(x, 0))
        np.testing.assert_array_equal(ops.log(x), np.log(x))
        np.testing.assert_allclose(ops.sigmoid(x), 1 / (1 + np.exp(-x)), rtol=1e-15)
        np.testing.assert_array_equal(ops.pow(x, 2), np.power(x, 2))
        np.testing.assert_array_equal(ops.where(x > 0, x, 0.0), np.where(x > 0, x, 0.0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("how", ["value", "out"])
def test_where_picks_the_very_bits(dtype, how):
    random = np.random.default_rng(0)
    bits = {4: np.uint32, 8: np.uint64}[np.dtype(dtype).itemsize]
    a, b = (random.integers(0, np.iinfo(bits).max, (60, 700), bits).view(dtype) for _ in range(2))  # NaNs among them
    condition = random.random((60, 700)) < 0.5
    cases = [
        (condition, a, b),
        (condition[0], a, b),
        (condition, a[:1], b[:, :1]),
        (condition, a[0], b),
        (condition.T, a.T, b.T),
    ]
    cases += [(condition, a, number) for number in (0.0, -0.0, 1.5, np.inf, 2)] + [
        (condition, 0.0, b),
        (condition, 1, 2.5),
    ]
    for given in cases:
        wanted = np.where(*given)
        found = ops.where(*given)
        if how == "out":
            found = np.empty_like(wanted)
            for call in ops.where.out_calls(np.empty, found, *given):
                call()
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found.view(f"u{found.itemsize}"), wanted.view(f"u{found.itemsize}"))


def test_erf_to_the_last_digits():
    x = np.concatenate([np.linspace(-8, 8, 4001), [np.inf, -np.inf, np.nan, -0.0]])
    exact = np.array([math.erf(one) for one in x])
    np.testing.assert_allclose(ops.erf(x), exact, rtol=1e-15, atol=1e-16)
    np.testing.assert_allclose(ops.erf(x.astype(np.float32)), exact, rtol=4e-7)
    assert ops.erf(np.array(1e-300)) > 0
    assert np.abs(ops.normal_cdf(np.float32(x)) - ops.normal_cdf(x)).max(where=~np.isnan(x), initial=0) < 1.5e-7
    np.testing.assert_allclose(ops.normal_cdf(x), [math.erfc(-one / math.sqrt(2)) / 2 for one in x], atol=2e-16)
    np.testing.assert_allclose(ops.normal_pdf(x), np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi), rtol=1e-14)


@pytest.mark.parametrize("descending", [False, True])
def test_argsort_keeps_the_order_of_equal_elements(descending):
    x = np.random.default_rng(0).integers(0, 4, (3, 20))
    expected = [sorted(range(20), key=lambda i: -row[i] if descending else row[i]) for row in x]
    assert ops.argsort(x, axis=1, descending=descending).tolist() == expected


def test_sigmoid_keeps_the_digits_of_both_tails():
    assert ops.sigmoid(np.array(-40.0)) == pytest.approx(np.exp(-40.0), rel=1e-15, abs=0)
    assert ops.sigmoid(np.array(-800.0)) == 0.0
    assert ops.sigmoid(np.array(800.0)) == 1.0


def test_log_softmax_of_impossible_scores_is_minus_infinity():
    out = ops.log_softmax(np.array([[0.0, -np.inf]]), axis=1)
    np.testing.assert_array_equal(out, [[0.0, -np.inf]])


def test_where_keeps_infinity_out():
    x = Tensor([1.0, 2.0], dtype=np.float64, requires_grad=True)
    out = ops.where(np.array([True, False]), x, np.array([np.inf, 0.0]))
    assert out.tolist() == [1.0, 0.0]
    assert grad(out, x, [np.array([1.0, 1.0])])[0].tolist() == [1.0, 0.0]


def test_im2col_is_a_view_that_cannot_be_written_to():
    x = np.zeros((4, 1, 4, 1))
    windows = ops.im2col(x, kernel=(2, 2), stride=(1, 1), dilation=(1, 1))
    assert np.shares_memory(windows, x)
    assert not windows.flags.writeable


@pytest.mark.parametrize("order", ["C", "F"])
def test_im2col_of_any_memory_layout(order):
    x = np.array(fixed((5, 3, 6, 2)), order=order)[::-1, :, 1:]
    windows = ops.im2col(x, kernel=(2, 3), stride=(2, 1), dilation=(1, 2))
    for i, p, c, q, j, n in np.ndindex(windows.shape):
        assert windows[i, p, c, q, j, n] == x[2 * i + p, c, j + 2 * q, n]


def test_im2col_over_the_width_and_then_over_the_height_is_that_over_both():
    """What conv2d relies on: the windows of rows that were widened first."""
    x = fixed((6, 2, 7, 3))
    both = ops.im2col(x, kernel=(3, 2), stride=(2, 3), dilation=(1, 2))
    wide = ops.im2col(x, kernel=(1, 2), stride=(1, 3), dilation=(1, 2))[:, 0]
    tall = ops.im2col(wide.reshape(6, 4, -1, 3), kernel=(3, 1), stride=(2, 1), dilation=(1, 1))
    np.testing.assert_array_equal(tall.reshape(both.shape), both)


def test_astype_brings_the_gradient_back_in_the_precision_of_its_argument():
    x = Tensor(np.ones(3, np.float32), requires_grad=True)
    y = ops.astype(x, dtype=np.dtype(np.float64))
    assert y.dtype == np.float64
    assert grad(y, x, np.ones(3))[0].dtype == np.float32


@pytest.mark.parametrize("keepdims", [True, False])
def test_a_maximum_over_one_element_is_not_the_argument_itself(keepdims):
    x = np.ones((2, 1), np.float32)
    assert not np.shares_memory(ops.max(x, axis=(1,), keepdims=keepdims, ties="first"), x)
