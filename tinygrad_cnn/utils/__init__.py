"""Where PyTorch has what loads data: `from tinygrad_cnn.utils.data import DataLoader`."""

from . import data

__all__ = ["data"]
