"""Products of vectors and matrices, with PyTorch's names."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..autograd.arrays import as_array
from ..autograd.composition import composed, example
from ..engine.graph import Array
from ..settings import instance
from ._arguments import factors, operands
from .arithmetic import mul


@example("matmul(np.array([1.0, 2.0]), np.array([3.0, 4.0]))", "array(11.)")
def matmul(input: Array, other: Array) -> Array:
    """The matrix product; a vector counts as a row on the left and as a column on the right.

    (K) @ (K) -> (), (M, K) @ (K) -> (M), (..., M, K) @ (..., K, N) -> (..., M, N) with broadcast batches.
    Raises ValueError where the inner lengths differ, or for a number on either side, and TypeError for integers beside
    floating-point numbers.
    """
    a, b = factors(input, other, "matmul")
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"matmul expects at least one dimension on both sides, got {a.shape} @ {b.shape}: use *")
    columns, rows = a.shape[-1], b.shape[-2:][0]  # of a vector on the right, its length
    if columns != rows:
        raise ValueError(
            f"matmul expects {columns} rows on the right, one per column on the left, got {rows}: {a.shape} @ {b.shape}"
        )
    row, column = a.ndim == 1, b.ndim == 1
    if not (row or column):
        return ops.matmul(a, b)
    product = ops.matmul(
        ops.reshape(a, shape=(1, *a.shape)) if row else a,
        ops.reshape(b, shape=(*b.shape, 1)) if column else b,
    )
    shape = product.shape[:-2] + (() if row else product.shape[-2:-1]) + (() if column else product.shape[-1:])
    return ops.reshape(product, shape=shape)


def _exactly(op: str, input: Array, other: Array, *ndims: int) -> tuple[Array, Array]:
    if (input.ndim, other.ndim) != ndims:
        got = f"{input.shape} and {other.shape}"
        raise ValueError(f"{op} expects tensors of {ndims[0]} and {ndims[1]} dimensions, got {got}: matmul takes any")
    return input, other


@example("mm(np.eye(2), np.ones((2, 1))).shape", "(2, 1)")
def mm(input: Array, mat2: Array) -> Array:
    """The matrix product (M, K) @ (K, N) -> (M, N)."""
    return matmul(*_exactly("mm", input, mat2, 2, 2))


@example("bmm(np.ones((5, 2, 3)), np.ones((5, 3, 4))).shape", "(5, 2, 4)")
def bmm(input: Array, mat2: Array) -> Array:
    """The matrix products (B, M, K) @ (B, K, N) -> (B, M, N)."""
    a, b = _exactly("bmm", input, mat2, 3, 3)
    if a.shape[0] != b.shape[0]:
        raise ValueError(f"bmm expects batches of one length, got {a.shape} and {b.shape}")
    return matmul(a, b)


@example("mv(np.ones((2, 3)), np.ones(3))", "array([3., 3.])")
def mv(input: Array, vec: Array) -> Array:
    """A matrix with a vector: (M, K) @ (K) -> (M)."""
    return matmul(*_exactly("mv", input, vec, 2, 1))


@example("float(dot(np.array([1.0, 2.0]), np.array([3.0, 4.0])))", "11.0")
def dot(input: Array, tensor: Array) -> Array:
    """Σ input · tensor of two vectors."""
    return matmul(*_exactly("dot", input, tensor, 1, 1))


@composed("outer(np.array([1.0, 2.0]), np.array([3.0, 4.0]))", "array([[3., 4.], [6., 8.]])")
def outer(input: Array, vec2: Array) -> Array:
    """All products of elements of two vectors: (M), (N) -> (M, N)."""
    a, b = _exactly("outer", input, vec2, 1, 1)
    return mul(ops.reshape(a, shape=(-1, 1)), b)


@composed("einsum('ij,jk->ik', np.ones((2, 3)), np.ones((3, 4))).shape", "(2, 4)")
def einsum(equation: str, *operands: Array) -> Array:
    """Einstein's sums: `"ij,jk->ik"` multiplies matrices, `"ii->i"` takes a diagonal, `"nchw->c"` sums three axes.

    Operands are taken two at a time from the left; each pair is one matrix product over the letters that are in no
    other operand and not in the result. `...` stands for axes that broadcast.
    """
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    arrays = [as_array(one) for one in operands]
    inputs, output, sizes = _letters(instance(equation, "equation", "einsum", str), [one.shape for one in arrays])
    pairs = [_distinct(array, letters, sizes) for array, letters in zip(arrays, inputs, strict=True)]
    array, letters = pairs[0]
    for i, (other, its_letters) in enumerate(pairs[1:], 1):
        needed = set(output).union(*(later for _, later in pairs[i + 1 :]))
        array, letters = _contract(array, letters, other, its_letters, needed)
    array, letters = _without(array, letters, set(output))
    return _rearranged(array, letters, output)


def _letters(equation: str, shapes: list[tuple[int, ...]]) -> tuple[list[str], str, dict[str, int]]:
    """A letter for each axis of each operand and of the result (those under `...` get free ones), and their lengths."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"einsum {equation!r} names {len(terms)} operands, got {len(shapes)}")
    free = [letter for letter in string.ascii_letters[::-1] if letter not in equation]
    inputs, most = [], 0
    for term, shape in zip(terms, shapes, strict=True):
        missing = len(shape) - len(term.replace("...", ""))
        if missing < 0 or (missing and "..." not in term):
            raise ValueError(f"einsum {equation!r} names the axes {term!r} of an operand of shape {shape}")
        most = max(most, missing)
        inputs.append(term.replace("...", "".join(free[:missing][::-1])))
    dots = "".join(free[:most][::-1])
    letters = "".join(inputs)
    if not arrow:
        right = "..." + "".join(sorted(one for one in set(letters) - set(dots) if letters.count(one) == 1))
    output = right.replace("...", dots)
    unknown = set(output) - set(letters)
    if unknown or len(set(output)) < len(output) or (letters and not letters.isalpha()):
        raise ValueError(f"einsum cannot make {right!r} of {left!r}: it takes letters of the operands, each once")
    sizes: dict[str, int] = {}
    for term, shape in zip(inputs, shapes, strict=True):
        for letter, n in zip(term, shape, strict=True):
            if sizes.setdefault(letter, n) not in (n, 1) and n != 1:
                raise ValueError(f"einsum {equation!r}: {letter!r} is {sizes[letter]} and {n} in operands of {shapes}")
            sizes[letter] = max(sizes[letter], n)
    return inputs, output, sizes


def _distinct(array: Array, letters: str, sizes: dict[str, int]) -> tuple[Array, str]:
    """The diagonal where a letter stands twice, and no axis of length one where another operand has a longer one."""
    distinct = "".join(dict.fromkeys(letters))
    if distinct != letters:
        along = np.ix_(*(np.arange(array.shape[letters.index(letter)]) for letter in distinct))
        places = [along[distinct.index(letter)] for letter in letters]
        array = ops.index(array, *places, key=(ops.ARRAY,) * len(letters))
    kept = {letter: n for letter, n in zip(distinct, array.shape, strict=True) if n == sizes[letter]}
    return array if len(kept) == array.ndim else ops.reshape(array, shape=tuple(kept.values())), "".join(kept)


def _without(array: Array, letters: str, kept: set[str]) -> tuple[Array, str]:
    """The sum over the axes whose letters are not kept."""
    gone = tuple(i for i, letter in enumerate(letters) if letter not in kept)
    summed = ops.sum(array, axis=gone, keepdims=False) if gone else array
    return summed, "".join(letter for letter in letters if letter in kept)


def _rearranged(array: Array, names: Sequence[Any], wanted: Sequence[Any]) -> Array:
    axes = tuple(list(names).index(name) for name in wanted)
    return array if axes == tuple(range(array.ndim)) else ops.permute(array, axes=axes)


def _contract(a: Array, of_a: str, b: Array, of_b: str, needed: set[str]) -> tuple[Array, str]:
    """The product of two operands, summed over the letters that are not needed any more: one matrix product."""
    a, b = operands(a, b)
    a, of_a = _without(a, of_a, needed | set(of_b))
    b, of_b = _without(b, of_b, needed | set(of_a))
    summed = [letter for letter in of_a if letter in of_b and letter not in needed]
    batch = [letter for letter in of_a if letter in of_b and letter in needed]
    rows, columns = ([one for one in own if one not in other] for own, other in ((of_a, of_b), (of_b, of_a)))
    a, b = _rearranged(a, of_a, [*batch, *rows, *summed]), _rearranged(b, of_b, [*batch, *summed, *columns])
    n, cut, end = len(batch), len(batch) + len(rows), len(batch) + len(summed)
    each, lengths, inner, widths = a.shape[:n], a.shape[n:cut], math.prod(a.shape[cut:]), b.shape[end:]
    a = ops.reshape(a, shape=(*each, math.prod(lengths), inner))
    b = ops.reshape(b, shape=(*each, inner, math.prod(widths)))
    return ops.reshape(ops.matmul(a, b), shape=(*each, *lengths, *widths)), "".join([*batch, *rows, *columns])
