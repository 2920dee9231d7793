# %% [markdown]
# # 5. Windows: a matrix of zeros and ones, and its transpose
#
# A convolution looks at an image through small windows. This lesson is
# about the windows alone. *im2col* lists them all. It is linear, and its
# matrix has a single 1 in each row; the transpose of that matrix, *col2im*,
# puts windows back into an image and adds up where they overlap. That is
# the rule of im2col, and the last thing your engine needs for a
# convolution.
#
# Next, in lesson 6: windows, times filters, are the convolution.

# %%
import numpy as np

from tinygrad_cnn import Tensor
from tinygrad_cnn import ops as library
from tinygrad_cnn.lessons import answer, ask, show
from tinygrad_cnn.lessons.engine import Node, backward

# %% [markdown]
# ## The windows of an image
#
# A 3×3 image (H × W) has 2×2 places (OH × OW) where a window of 2×2 (KH ×
# KW) fits. Each window becomes a column: element (p, q) of the window at
# (i, j) is the pixel (i + p, j + q).


# %%
def columns_of(image, k, stride=1, dilation=1):
    """(H, W) -> (K·K, OH·OW): every window as a column."""
    reach = dilation * (k - 1) + 1  # how many rows a window spans
    rows = range(0, image.shape[0] - reach + 1, stride)
    columns = range(0, image.shape[1] - reach + 1, stride)
    windows = [
        [
            image[i + p * dilation, j + q * dilation]
            for i in rows
            for j in columns
        ]
        for p in range(k)
        for q in range(k)
    ]
    return np.array(windows)


image = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])  # (H, W)
show(image=image, columns=columns_of(image, 2))

# %% question
ask(
    "The pixel in the middle, the 5: how many windows see it, and so how "
    "often is it in the columns?"
)

# %% answer
answer((columns_of(image, 2) == 5).sum())

# %% [markdown]
# It is the last element of the first window, and the first element of the
# last one: its copies lie on a diagonal of the columns.
#
# ## The matrix
#
# im2col only copies, so it is linear, and its matrix M is found as in
# lesson 3, with images of a single 1. It has a row for each number of the
# columns, 16, and an entry in it for each pixel, 9. Below, a 0 is printed
# as a point.


# %%
def matrix_of(function, shape):
    """The matrix of a linear function of arrays of this shape."""
    units = np.eye(np.prod(shape), dtype=int)
    columns = [function(unit.reshape(shape)).ravel() for unit in units]
    return np.stack(columns, axis=1)


M = matrix_of(lambda image: columns_of(image, 2), (3, 3))
print("element  window   its pixel")
for row, (p, q, i, j) in zip(M, np.ndindex(2, 2, 2, 2), strict=True):
    line = "".join(".1"[one] for one in row)
    pixels = "  ".join(line[start : start + 3] for start in (0, 3, 6))
    print(f" ({p},{q})    ({i},{j})   {pixels}")

# %% [markdown]
# One 1 in each row: a number of the columns is one pixel. As many in each
# column of M as there are windows that see that pixel.

# %%
show({"ones in each column of M, as an image": M.sum(axis=0).reshape(3, 3)})

# %% [markdown]
# ## The transpose
#
# The rule of a linear function is its transpose: Mᵀg. For each pixel, Mᵀ
# has a row with a 1 for each of its copies, so it adds up what the copies
# receive. As a program it is the loop of im2col with the assignment turned
# round: the element of the window is added to the pixel. Its name is
# col2im.


# %%
def image_of(columns, shape, k, stride=1, dilation=1):
    """(K·K, OH·OW) -> (H, W): every window back in its place."""
    image = np.zeros(shape, int)
    reach = dilation * (k - 1) + 1
    numbers = iter(columns.ravel())
    for p in range(k):
        for q in range(k):
            for i in range(0, shape[0] - reach + 1, stride):
                for j in range(0, shape[1] - reach + 1, stride):
                    image[i + p * dilation, j + q * dilation] += next(
                        numbers
                    )
    return image


g = np.array([[1, 0, 2, -1], [3, 1, 0, 0], [0, -2, 1, 4], [5, 0, 1, 2]])
show({"g": g, "col2im(g)": image_of(g, (3, 3), 2)})

# %% question
ask(
    "The middle pixel again. Its copies receive the diagonal of g from "
    "the 5 up to the -1. What does it receive?"
)

# %% answer
answer((M.T @ g.ravel())[4])
print(f"5 + (-2) + 0 + (-1) = {5 - 2 + 0 - 1}")
show({"Mᵀg, as an image": (M.T @ g.ravel()).reshape(3, 3)})

# %% [markdown]
# ## Strides and dilations
#
# The *stride* is the step from a window to the next, the *dilation* that
# from an element of a window to the next. Each picture counts the windows
# that see a pixel, which is col2im(im2col(1)). Where no window was, nothing
# comes back.

# %%
ones = np.ones((5, 5), int)
pictures = {}
for k, stride, dilation in ((2, 1, 1), (2, 2, 1), (3, 2, 1), (2, 1, 2)):
    columns = columns_of(ones, k, stride, dilation)
    seen = image_of(columns, (5, 5), k, stride, dilation)
    pictures[f"{k}×{k}, stride {stride}, dilation {dilation}"] = seen
show(dict([*pictures.items()][:2]))
print()
show(dict([*pictures.items()][2:]))

# %% figure windows
# Here the image is 4×4. Open the matrices below the figure and point at a
# pixel: its column of M is its row of Mᵀ. The ones in it say which
# numbers of the columns are this pixel, and Mᵀ adds up what these
# receive. With `=` in the place of `+=` the last window to be put back
# would erase what the others brought.
#
# Let ones arrive: the gradient of each pixel then counts the windows that
# see it. So col2im does not undo im2col. Together they multiply each
# pixel by its count.
#
# With windows of 2×2 and a stride of 2 each pixel is in one window. With
# windows of 3×3 and a stride of 2 only one window fits. The last row and
# column of the image are in none: their rows of Mᵀ are empty, and their
# gradient is 0.

# %% [markdown]
# For larger images the matrix is not built. That two functions are each
# other's transpose is then seen from the sums <u, v> = Σ u·v: if <M x, c> =
# <x, Mᵀc> for all x and c. Both are Σ c[r] · M[r, s] · x[s].

# %%
random = np.random.default_rng(0)
x = random.integers(-9, 10, (7, 8))
c = random.integers(-9, 10, columns_of(x, 3, 2).shape)
print(f"<im2col(x), c> = {(columns_of(x, 3, 2) * c).sum()}")
print(f"<x, col2im(c)> = {(x * image_of(c, (7, 8), 3, 2)).sum()}")

# %% [markdown]
# ## Your engine
#
# The same for N images of C *channels* (numbers per pixel, such as red,
# green and blue), in the order of axes of the library: (H, C, W, N) -> (OH,
# KH, C, KW, OW, N). For each element (p, q) of the windows, all windows are
# copied at once: the pixels under it are every `stride`-th row and column.
# The rule adds to the same pixels.


# %% engine
def im2col(x, kernel, stride=(1, 1), dilation=(1, 1)):
    """Every window: (H, C, W, N) -> (OH, KH, C, KW, OW, N)."""
    axes = zip(x.shape[::2], kernel, stride, dilation, strict=True)
    rows, columns = (  # the pixels on which element (p, q) of windows lies
        [slice(p * d, n - d * (k - 1 - p), s) for p in range(k)]
        for n, k, s, d in axes
    )
    windows = [[x.value[r, :, c] for c in columns] for r in rows]

    def col2im(g):
        image = np.zeros(x.shape, g.dtype)
        for p, q in np.ndindex(kernel):
            image[rows[p], :, columns[q]] += g[:, p, :, q]
        return image

    value = np.array(windows).transpose(2, 0, 3, 1, 4, 5)
    return Node(value, [x], [col2im])


def reshape(x, shape):
    rules = [lambda g: g.reshape(x.shape)]
    return Node(x.value.reshape(shape), [x], rules)


# %%
x = Node(image.reshape(3, 1, 3, 1))  # (H, C, W, N), with C = N = 1
windows = im2col(x, kernel=(2, 2))  # (OH, KH, C, KW, OW, N)
given = g.reshape(2, 2, 2, 2).transpose(2, 0, 3, 1)  # (OH, KH, OW, KW)
given = given.swapaxes(2, 3).reshape(windows.shape)  # (.., KW, OW, ..)
received = backward(windows, given)[x].reshape(3, 3)

tensor = Tensor(x.value.astype(np.float32), requires_grad=True)
settings = {"kernel": (2, 2), "stride": (1, 1), "dilation": (1, 1)}
library.im2col(tensor, **settings).backward(given)
show(
    {
        "your engine": received,
        "the library": tensor.grad.numpy().reshape(3, 3),
    }
)
