# %% [markdown]
# # 5. Windows: a matrix of zeros and ones, and its transpose
#
# A convolution looks at an image through small windows. This lesson is about the windows alone: *im2col* lists all
# windows of an image. It is a linear function; its matrix, printed below, has a single one in each row; and the
# transpose of that matrix, *col2im*, puts windows back into an image and adds up where they overlap. That is the VJP.
#
# Next, in lesson 6: windows, times filters, are the convolution.

# %%
import numpy as np

from tinygrad_cnn import Tensor, ops

random = np.random.default_rng(0)

# %% [markdown]
# ## The windows of an image
#
# A 4×4 image has 3×3 places (OH × OW) where a window of 2×2 (K × K) fits. Each window becomes a row of four numbers.


# %%
def im2col(image, kernel, stride=1, dilation=1):
    """Every window as a row: (H, W) -> (OH·OW, K·K).

    `kernel` is K, `stride` the step from a window to the next, `dilation` that from an element of a window to the next.
    """
    reach = dilation * (kernel - 1) + 1  # how many rows of the image a window spans
    rows = range(0, image.shape[0] - reach + 1, stride)
    columns = range(0, image.shape[1] - reach + 1, stride)
    return np.array(
        [
            [image[i + p * dilation, j + q * dilation] for p in range(kernel) for q in range(kernel)]
            for i in rows
            for j in columns
        ]
    )


image = np.arange(16.0).reshape(4, 4)  # (H, W)
print("image:")
print(image.astype(int))
print("its windows of 2x2, one per row:")
print(im2col(image, 2).astype(int))

# %% [markdown]
# ## The matrix
#
# im2col only copies, so it is linear, and its matrix M is found as in lesson 3, with images of a single 1. It has a row
# for each element of each window, 9·4, and a column for each pixel, 16. Below, a 0 is printed as a point; a gap
# separates the rows of the image, and an empty line the windows.


# %%
def matrix_of(function, shape):
    """The matrix of a linear function of arrays of this shape; arrays are read row by row as vectors."""
    size = np.prod(shape, dtype=int)
    return np.stack([function(unit.reshape(shape)).ravel() for unit in np.eye(size)], axis=1)


M = matrix_of(lambda image: im2col(image, 2), (4, 4))  # (OH·OW·K·K, H·W)
print(f"M is {M.shape[0]} x {M.shape[1]}:")
for number, row in enumerate(M.astype(int)):
    cells = "".join(".1"[one] for one in row)
    print("  " + "  ".join(cells[start : start + 4] for start in range(0, 16, 4)))
    if number % 4 == 3:
        print()
print(f"M x equals im2col(x): {np.array_equal(M @ image.ravel(), im2col(image, 2).ravel())}")

# %% [markdown]
# Each element of a window is one pixel. A column has as many ones as there are windows that see the pixel: one for a
# corner, four in the middle.

# %%
print(f"ones in a row: {M.sum(axis=1).min():.0f} to {M.sum(axis=1).max():.0f}")
print("ones in each column, as an image:")
print(M.sum(axis=0).reshape(4, 4).astype(int))

# %% [markdown]
# ## The transpose
#
# The VJP is Mᵀg. Row r of Mᵀ has a one for each window element that is pixel r, so Mᵀ adds up what these elements
# receive. As a program it is the loop of im2col with the assignment turned round: the element of the window is added to
# the pixel. Its name is col2im.


# %%
def col2im(windows, shape, kernel, stride=1, dilation=1):
    """Every window put back in its place; where windows overlap, they add up: (OH·OW, K·K) -> (H, W)."""
    image = np.zeros(shape)
    reach = dilation * (kernel - 1) + 1
    rows = range(0, shape[0] - reach + 1, stride)
    columns = range(0, shape[1] - reach + 1, stride)
    window = iter(windows)
    for i in rows:
        for j in columns:
            elements = next(window).reshape(kernel, kernel)
            for p in range(kernel):
                for q in range(kernel):
                    image[i + p * dilation, j + q * dilation] += elements[p, q]
    return image


g = random.integers(-9, 10, (9, 4)).astype(float)  # (OH·OW, K·K), a cotangent of the windows
print(f"transpose of M times g equals col2im(g): {np.array_equal(M.T @ g.ravel(), col2im(g, (4, 4), 2).ravel())}")
print("col2im(im2col(x)) is not x, but x times the number of windows that see each pixel:")
print(col2im(im2col(image, 2), (4, 4), 2).astype(int))

# %% [markdown]
# ## Strides, dilations, and an identity
#
# For larger images the matrix is not built, and there is another way to see that two functions are each other's
# transpose. Write <u, v> for Σ u·v. Then <M x, c> = <x, Mᵀc> for all x and c, since both are Σ c[r] M[r, s] x[s]. The
# transpose in this sense, for functions that are not written as a matrix, is called the *adjoint*.
#
# Below both checks are made for several strides and dilations: the matrices with integers, where equal means equal to
# the last bit, and the identity with random numbers, where the sides are rounded differently.

# %%
print(f"{'kernel':>6}{'stride':>8}{'dilation':>10}{'M':>10}   M^T g equals col2im(g)   <im2col(x), c> - <x, col2im(c)>")
for kernel, stride, dilation in ((2, 1, 1), (3, 1, 1), (2, 2, 1), (3, 2, 1), (2, 1, 2), (3, 2, 2), (2, 3, 1)):
    shape, settings = (7, 8), (kernel, stride, dilation)
    M = matrix_of(lambda image, settings=settings: im2col(image, *settings), shape)
    x = random.standard_normal(shape)
    c = random.standard_normal(im2col(x, *settings).shape)
    g = random.integers(-9, 10, c.shape).astype(float)
    equal = np.array_equal(M.T @ g.ravel(), col2im(g, shape, *settings).ravel())
    gap = (im2col(x, *settings) * c).sum() - (x * col2im(c, shape, *settings)).sum()
    size = f"{M.shape[0]}x{M.shape[1]}"
    print(f"{kernel:>6}{stride:>8}{dilation:>10}{size:>10}   {equal!s:<25}{abs(gap):.0e}")

# %% [markdown]
# ## The library
#
# `ops.im2col` does the same for a batch of N images with C *channels* (numbers per pixel, such as red, green and blue)
# and windows of KH × KW: (H, C, W, N) -> (OH, KH, C, KW, OW, N). It gives a *view*: no number is copied, the window
# elements point into the image. Its rule is `ops.col2im`, and the rule of `ops.col2im` is `ops.im2col`, as the
# transpose of the transpose is the matrix itself. Both are in `tinygrad_cnn/ops/windows.py`.

# %%
settings = {"kernel": (2, 2), "stride": (1, 1), "dilation": (1, 1)}
x = Tensor(image.reshape(4, 1, 4, 1), requires_grad=True)  # (H, C, W, N) with C = N = 1
windows = ops.im2col(x, **settings)  # (OH, KH, C, KW, OW, N)
same_order = windows.numpy().transpose(0, 4, 1, 3, 2, 5).reshape(9, 4)  # (OH·OW, KH·KW)
print(f"the library's windows are ours: {np.array_equal(same_order, im2col(image, 2))}")
print(f"a view into the image:          {np.shares_memory(windows.numpy(), x.numpy())}")

g = random.integers(-9, 10, (9, 4)).astype(float)
windows.backward(g.reshape(3, 3, 2, 2, 1, 1).transpose(0, 2, 4, 3, 1, 5))  # (OH, KH, C, KW, OW, N)
print(f"the library's VJP is col2im:    {np.array_equal(x.grad.numpy().reshape(4, 4), col2im(g, (4, 4), 2))}")
