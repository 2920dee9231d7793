"""The chapters, in the order in which they are read. Each has a TITLE, and `blocks()` gives its HTML."""

from . import (
    broadcasting,
    chain,
    convolution,
    draw,
    five_orders,
    jacobians,
    matmul,
    max_pooling,
    museum,
    second_derivatives,
    softmax,
    training,
    windows,
)

CHAPTERS = (
    *(chain, jacobians, broadcasting, matmul, windows, convolution, five_orders),
    *(max_pooling, softmax, training, second_derivatives, museum, draw),
)
