"""The Tensor, and what its methods are beside the functions of `tinygrad_cnn.functional`."""

from .tensor import Tensor as Tensor
