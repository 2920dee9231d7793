"""`tinygrad_cnn.tensor.initial` under PyTorch's name: `from tinygrad_cnn.nn import init`."""

from ..tensor.initial import *  # noqa: F403
from ..tensor.initial import _calculate_fan_in_and_fan_out as _calculate_fan_in_and_fan_out
