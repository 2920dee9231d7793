"""The figures of the lessons, by the names that their cells give. Each is a function of the lesson's variables."""

from . import losses, numbers, windows

FIGURES = {
    "diamond": numbers.diamond,
    "jacobians": numbers.jacobians,
    "broadcasting": numbers.broadcasting,
    "product": numbers.product,
    "descent": numbers.descent,
    "windows": windows.windows,
    "convolution": windows.convolution,
    "orders": windows.orders,
    "pooling": windows.pooling,
    "cross-entropy": losses.cross_entropy,
    "guard": losses.guard,
    "training": losses.training,
    "cube": numbers.cube,
}
