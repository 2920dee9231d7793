"""Convolutions, poolings, dense layers and losses as they are written by hand, with slips to choose from."""

import numpy as np

from . import generator, normal

COL2IM = {"image": (5, 5), "stride": (1, 1), "dilation": (1, 1)}

IM2COL = {"kernel": (3, 3), "stride": (2, 2), "dilation": (1, 1)}


def sum_of_all_but_the_last(g, x, stride):
    """What is lost where every window overwrites what was there."""
    out_h, kernel_h, _, kernel_w, out_w, _ = g.shape
    total, last = np.zeros((2, *x.shape))
    for i, j in np.ndindex(out_h, out_w):
        at = slice(i * stride[0], i * stride[0] + kernel_h), slice(None), slice(j * stride[1], j * stride[1] + kernel_w)
        total[at] += g[i, :, :, :, j]
        last[at] = g[i, :, :, :, j]
    return total - last


def windows(x, kernel, stride):
    """(N, C, H, W) -> (N, C, OH, OW, KH, KW)."""
    return np.lib.stride_tricks.sliding_window_view(x, kernel, (2, 3))[:, :, ::stride, ::stride]


def padded(x, pad):
    return np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))


def convolve(x, w, b, *, stride, pad):
    return np.einsum("ncijpq,fcpq->nfij", windows(padded(x, pad), w.shape[2:], stride), w) + b[:, None, None]


def convolution_backward(slip):
    """All gradients of `convolve`, by loops, with one slip."""

    def backward(g, x, w, b, *, stride, pad):
        n, _, height, width = x.shape
        kernel_h, kernel_w = w.shape[2:]
        out_h, out_w = g.shape[2:]
        image = padded(x, pad)
        dx, dw, db = np.zeros(image.shape), np.zeros(w.shape), g.sum((0, 2, 3))
        kernel = {
            "kernel turned": w[:, :, ::-1, ::-1],
            "kernel turned in one axis": w[:, :, :, ::-1],
            "kernel transposed": w.swapaxes(2, 3) if kernel_h == kernel_w else w,
            "channels exchanged": w.swapaxes(0, 1) if w.shape[0] == w.shape[1] else w,
            "channels exchanged and kernel turned": w.swapaxes(0, 1)[:, :, ::-1, ::-1],
            "kernel in another order": w.transpose(0, 2, 3, 1).reshape(w.shape),
        }.get(slip, w)
        for i, j in np.ndindex(out_h, out_w):
            y, z = i * stride, j * stride
            if slip == "stride ignored":
                y, z = i, j
            if slip == "kernel for stride":
                y, z = i * kernel_h, j * kernel_w
                if y + kernel_h > image.shape[2] or z + kernel_w > image.shape[3]:
                    continue
            at = (slice(None), slice(None), slice(y, y + kernel_h), slice(z, z + kernel_w))
            if slip == "border skipped" and (
                y < pad or z < pad or y + kernel_h > pad + height or z + kernel_w > pad + width
            ):
                continue
            to_image = np.einsum("nf,fcpq->ncpq", g[:, :, i, j], kernel)
            to_kernel = np.einsum("nf,ncpq->fcpq", g[:, :, i, j], image[at])
            dx[at] = to_image if slip == "dx =" else dx[at] + to_image
            dw = to_kernel if slip == "dw =" else dw + to_kernel
            if slip == "db =":
                db = g[:, :, i, j].sum(0)
        inside = slice(pad, pad + height), slice(pad, pad + width)
        if slip == "cut off at the end only":
            inside = slice(height), slice(width)
        if slip == "cut off at the start only":
            inside = slice(2 * pad, None), slice(2 * pad, None)
        if slip == "not cut off":
            inside = slice(None), slice(None)
        dx = dx[(slice(None), slice(None), *inside)]
        if slip == "border of dx forgotten":
            edge = np.zeros(dx.shape, bool)
            edge[:, :, 1:-1, 1:-1] = True
            dx = dx * edge
        return {
            "mean over the batch in dw": (dx, dw / n, db),
            "sum over the batch, mean right": (dx, dw * n, db),
            "bias averaged": (dx, dw, g.mean((0, 2, 3))),
            "bias averaged over the pixels": (dx, dw, g.mean((2, 3)).sum(0)),
            "bias of one image": (dx, dw, g[0].sum((1, 2))),
            "dw turned": (dx, dw[:, :, ::-1, ::-1], db),
            "dw transposed": (dx, dw.swapaxes(2, 3), db),
            "dw over the kernel's area": (dx, dw / (kernel_h * kernel_w), db),
            "minus": (-dx, -dw, -db),
        }.get(slip, (dx, dw, db))

    return backward


def rows_of(x, kernel, stride):
    """im2col: (C·KH·KW, N·OH·OW)."""
    found = windows(x, kernel, stride)
    return found.transpose(1, 4, 5, 0, 2, 3).reshape(found.shape[1] * kernel[0] * kernel[1], -1)


def product_backward(slip):
    """The gradient of the filters of `convolve` as one product, with one slip."""

    def backward(g, x, w, b, *, stride, pad):
        columns = rows_of(padded(x, pad), w.shape[2:], stride)
        pixels = g.transpose(1, 0, 2, 3).reshape(g.shape[1], -1)
        if slip == "g not transposed":
            pixels = g.reshape(g.shape[1], -1)
        if slip == "pixels in another order":
            pixels = g.transpose(1, 2, 3, 0).reshape(g.shape[1], -1)
        dw = (pixels @ columns.T).reshape(w.shape)
        if slip == "columns in another order":
            dw = (pixels @ columns.T).reshape(w.shape[0], -1)
            dw = dw.reshape(w.shape).transpose(0, 2, 3, 1).reshape(w.shape)
        return None, dw, None

    return backward


def pool(x, *, kernel, stride):
    return windows(x, (kernel, kernel), stride).max((4, 5))


def average(x, *, kernel, stride):
    return windows(x, (kernel, kernel), stride).mean((4, 5))


def pool_backward(slip):
    def backward(g, x, *, kernel, stride):
        dx = np.zeros(x.shape)
        for n, c, i, j in np.ndindex(g.shape):
            y, z = i * stride, j * stride
            at = (n, c, slice(y, y + kernel), slice(z, z + kernel))
            best = x[at] == x[at].max()
            if slip == "average":
                best = np.full(best.shape, 1 / kernel**2)
            if slip == "one place for all":
                best = np.zeros(best.shape)
                best[0, 0] = 1
            if slip == "first":
                best = np.arange(best.size).reshape(best.shape) == best.argmax()
            if slip == "nothing for ties":
                best = best * (best.sum() == 1)
            if slip == "shared":
                best = best / best.sum()
            if slip in ("stride ignored", "kernel for stride"):
                y, z = (i, j) if slip == "stride ignored" else (i * kernel, j * kernel)
                if y + kernel > x.shape[2] or z + kernel > x.shape[3]:
                    continue
                at = (n, c, slice(y, y + kernel), slice(z, z + kernel))
            if slip == "=":
                dx[at][best] = g[n, c, i, j]
            else:
                dx[at] += g[n, c, i, j] * best
        return [dx]

    return backward


def average_backward(slip):
    def backward(g, x, *, kernel, stride):
        dx = np.zeros(x.shape)
        share = {"sum": 1, "side": kernel, "square of the area": kernel**4}.get(slip, kernel**2)
        for i, j in np.ndindex(g.shape[2:]):
            at = (
                slice(None),
                slice(None),
                slice(i * stride, i * stride + kernel),
                slice(j * stride, j * stride + kernel),
            )
            part = g[:, :, i, j, None, None] / share
            dx[at] = part if slip == "=" else dx[at] + part
        return [dx]

    return backward


TIED = np.round(normal((2, 2, 6, 6)))


def dense(x, w, b):
    return x @ w + b


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def cross_entropy(x, labels):
    return np.asarray(-np.log(softmax(x)[np.arange(len(labels)), labels]).mean())


def hits(x, labels):
    return np.eye(x.shape[1])[labels]


LABELS = np.array([1, 0, 2, 2])

KEY = np.array([0, 3, 3, 1, 3])

MASK = generator.random(12) < 0.6


def assigned(table, key, g):
    out = np.zeros(table.shape)
    out[key] = g
    return out


def added_once(table, key, g):
    out = np.zeros(table.shape)
    out[key] += g
    return out


def correlate1d(x, k):
    return np.correlate(x, k, "valid")


def same_by_valid(g, x, w, b):
    """The image gradient of a "same" convolution by a "valid" one, padded with zeros."""
    turned = w[:, :, ::-1, ::-1].swapaxes(0, 1)
    return padded(np.einsum("nfijpq,cfpq->ncij", windows(g, w.shape[2:], 1), turned), 1)


def same_right(g, w):
    turned = w[:, :, ::-1, ::-1].swapaxes(0, 1)
    return np.einsum("nfijpq,cfpq->ncij", windows(padded(g, 1), w.shape[2:], 1), turned)


def same_convolve(x, w, b):
    return convolve(x, w, b, stride=1, pad=1)


def strided_backward(step):
    def backward(g, x, w, b):
        dx = np.zeros(x.shape)
        for i, j in np.ndindex(g.shape[2:]):
            y, z = i * step, j * step
            if y + w.shape[2] <= x.shape[2] and z + w.shape[3] <= x.shape[3]:
                dx[:, :, y : y + w.shape[2], z : z + w.shape[3]] += np.einsum("nf,fcpq->ncpq", g[:, :, i, j], w)
        return dx

    return backward


def filters_backward(rows=slice(None), images=slice(None), shift=0):
    """The filters' gradient of `same_convolve` from some rows of outputs, other images, or images moved."""

    def backward(g, x, w, b):
        seen = windows(np.roll(padded(x, 1), shift, 3)[images], w.shape[2:], 1)
        return np.einsum("ncijpq,nfij->fcpq", seen[:, :, rows], g[:, :, rows])

    return backward


def even_same(x, w):
    """A kernel of two, padded at the end only."""
    image = np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1)))
    return np.einsum("ncijpq,fcpq->nfij", windows(image, w.shape[2:], 1), w)


def even_backward(cut):
    def backward(g, x, w):
        dx = np.zeros((*x.shape[:2], x.shape[2] + 1, x.shape[3] + 1))
        for i, j in np.ndindex(g.shape[2:]):
            dx[:, :, i : i + 2, j : j + 2] += np.einsum("nf,fcpq->ncpq", g[:, :, i, j], w)
        return dx[:, :, 1:, 1:] if cut == "start" else dx[:, :, :-1, :-1]

    return backward


def depthwise(x, w):
    return np.einsum("ncijpq,cpq->ncij", windows(x, w.shape[1:], 1), w)


def depthwise_backward(w_used):
    def backward(g, x, w):
        dx = np.zeros(x.shape)
        kernel = w_used(w)
        for i, j in np.ndindex(g.shape[2:]):
            dx[:, :, i : i + 3, j : j + 3] += g[:, :, i, j, None, None] * kernel
        return dx

    return backward


def grouped(x, w):
    """Two groups of filters: each sees its half of the channels."""
    half = x.shape[1] // 2
    parts = [np.einsum("nchw,fc->nfhw", x[:, :half], w[0]), np.einsum("nchw,fc->nfhw", x[:, half:], w[1])]
    return np.concatenate(parts, 1)


def grouped_exchanged(g, x, w):
    half = g.shape[1] // 2
    parts = [np.einsum("nfhw,fc->nchw", g[:, half:], w[0]), np.einsum("nfhw,fc->nchw", g[:, :half], w[1])]
    return np.concatenate(parts, 1)


def average_of_what_is_there(x):
    """Windows of three, padded by one; each mean over those that are in the image."""
    return windows(padded(x, 1), (3, 3), 1).sum((4, 5)) / windows(padded(np.ones(x.shape), 1), (3, 3), 1).sum((4, 5))


def average_by_nine(g, x):
    return windows(padded(g, 1), (3, 3), 1).sum((4, 5)) / 9


def normalised(x, gamma):
    centred = x - x.mean((0, 2, 3), keepdims=True)
    return gamma[:, None, None] * centred / np.sqrt((centred**2).mean((0, 2, 3), keepdims=True) + 1e-5)


def normalised_backward(slip):
    def backward(g, x, gamma):
        axes = (0, 2, 3)
        count = x.size // x.shape[1]
        hat = normalised(x, np.ones(len(gamma)))
        deviation = np.sqrt(x.var(axes, keepdims=True) + 1e-5)
        g = g * gamma[:, None, None]
        if slip == "batch for count":
            count = len(x)
        dx = (g * count - g.sum(axes, keepdims=True) - hat * (g * hat).sum(axes, keepdims=True)) / deviation
        if slip == "without the mean":
            return (g - hat * (g * hat).mean(axes, keepdims=True)) / deviation
        return dx if slip == "not divided" else dx / count

    return backward


def gamma_backward(g, x, gamma):
    return (g * normalised(x, np.ones(len(gamma)))).sum((0, 2, 3))


def unfold(x, *, size, shift):
    found = windows(x, (size, size), shift)
    return found.transpose(0, 1, 4, 5, 2, 3).reshape(len(x), -1, found.shape[2] * found.shape[3])


def fold(slip):
    def rule(g, x, *, size, shift):
        over = [(n - size) // shift + 1 for n in x.shape[2:]]
        g, dx = g.reshape(*x.shape[:2], size, size, *over), np.zeros(x.shape)
        g = {"turned": g[:, :, ::-1, ::-1], "transposed": g.swapaxes(2, 3)}.get(slip, g)
        for i, j in np.ndindex(*over):
            y, z = (i, j) if slip == "close together" else (i * shift, j * shift)
            dx[:, :, y : y + size, z : z + size] += g[..., i, j]
        return dx

    return rule


def written_windows(g, x, *, kernel, stride):
    dx = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(g.shape):
        at = (n, c, slice(i * stride, i * stride + kernel), slice(j * stride, j * stride + kernel))
        dx[at] = (x[at] == x[at].max()) * g[n, c, i, j]
    return dx


own = np.random.default_rng(5).standard_normal  # so that the numbers below stay as they are
