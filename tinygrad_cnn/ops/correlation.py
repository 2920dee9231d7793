"""The windows of each group of channels by itself, times filters of its own."""

import numpy as np

from ..engine.graph import Array
from ..kernels.correlation import correlate_calls, correlations_calls, padded
from ..kernels.memory import empty
from ..kernels.windows import Pair, Pairs, steps
from .indexing import index, scatter
from .making import written
from .shapes import permute


@written(correlate_calls)
def correlate(x: Array, filters: Array, *, stride: Pair, padding: Pairs, dilation: Pair) -> Array:
    """The windows of each group of channels times its filters: (H, G·C, W, N), (G, M, C, KH, KW) -> (OH, G·M, OW, N).

    out[i, g·M + m, j, n] =
    Σ over c, p, q of filters[g, m, c, p, q] · x[i·stride + p·dilation, g·C + c, j·stride + q·dilation, n],
    where x has as many zeros before and after its height and its width as `padding` says; less than none cut it off.

    A primitive because a composition would write every window to memory, and need several operations for each group.
    Each element of x goes where the windows that see it are, so that its cotangent is a correlation as well, of the
    padded cotangents with the filters turned round.

    >>> x, filters = np.arange(4.0).reshape(1, 1, 4, 1), np.array([[[[[1.0, 10.0]]]]])
    >>> correlate(x, filters, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1))[0, 0, :, 0]
    array([10., 21., 32.])
    """
    groups, each, _, *kernel = filters.shape
    out_h, out_w = steps(padded(x, padding), (kernel[0], kernel[1]), stride, dilation)
    return empty((out_h, groups * each, out_w, x.shape[3]), np.result_type(x, filters))


@written(correlations_calls)
def correlations(
    x: Array, g: Array, *, groups: int, kernel: Pair, stride: Pair, padding: Pairs, dilation: Pair
) -> Array:
    """The sums of g times what each place of a window sees: (H, G·C, W, N), (OH, G·M, OW, N) -> (G, M, C, KH, KW).

    A primitive because it is the VJP of `correlate` for the filters: linear in x and in g, as that is in x and filters.

    >>> x, g = np.arange(4.0).reshape(1, 1, 4, 1), np.ones((1, 1, 3, 1))
    >>> correlations(x, g, groups=1, kernel=(1, 2), stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1)).ravel()
    array([3., 6.])
    """
    out_h, out_w = steps(padded(x, padding), kernel, stride, dilation)
    if (g.shape[0], *g.shape[2:]) != (out_h, out_w, x.shape[3]):
        raise ValueError(f"correlations expects cotangents ({out_h}, G·M, {out_w}, {x.shape[3]}), got {g.shape}")
    return np.empty((groups, g.shape[1] // groups, x.shape[1] // groups, *kernel), np.result_type(x, g))


def _correlated_back(g: Array, filters: Array, like: Array, stride: Pair, padding: Pairs, dilation: Pair) -> Array:
    """The cotangent of x: that of each window, spread over the elements that it sees."""
    if stride != (1, 1):  # zeros between them
        out_h, channels, out_w, n = g.shape
        apart = ((out_h - 1) * stride[0] + 1, channels, (out_w - 1) * stride[1] + 1, n)
        g = scatter(g, key=(slice(None, None, stride[0]), slice(None), slice(None, None, stride[1])), shape=apart)
    sizes = zip(g.shape[::2], like.shape[::2], filters.shape[3:], padding, dilation, strict=True)
    # fewer zeros than none where windows see nothing but padding
    around = [(by * (size - 1) - first, length + first - own) for own, length, size, (first, _), by in sizes]
    turned = permute(index(filters, key=(..., slice(None, None, -1), slice(None, None, -1))), axes=(0, 2, 1, 3, 4))
    return correlate(g, turned, stride=(1, 1), padding=(around[0], around[1]), dilation=dilation)


correlate.defvjp(
    lambda g, out, x, filters, **how: _correlated_back(g, filters, x, **how),
    lambda g, out, x, filters, **how: correlations(x, g, groups=filters.shape[0], kernel=filters.shape[3:], **how),
    reads=(("filters",), ("x",)),
)
correlations.defvjp(
    lambda u, out, x, g, *, groups, kernel, **how: _correlated_back(g, u, x, **how),
    lambda u, out, x, g, *, groups, kernel, **how: correlate(x, u, **how),
    reads=(("g",), ("x",)),
)
