"""Datasets of small images, batches of them, and random changes to them; all in NumPy.

>>> from tinygrad_cnn import data
>>> digits = data.load("sample")
>>> pair = (digits.train_images, digits.train_labels)
>>> loader = data.DataLoader(pair, batch_size=64, shuffle=True, transform=data.augment)
>>> images, labels = next(iter(loader))
>>> images.shape, labels.shape
((64, 1, 28, 28), (64,))
"""

from .affine import augment
from .datasets import Dataset, load
from .errors import DataError
from .images import ImageFolder, read_digit, read_image
from .loader import DataLoader
from .samples import ConcatDataset, Subset, TensorDataset, random_split

__all__ = [
    "ConcatDataset",
    "DataError",
    "DataLoader",
    "Dataset",
    "ImageFolder",
    "Subset",
    "TensorDataset",
    "augment",
    "load",
    "random_split",
    "read_digit",
    "read_image",
]
