"""`tinygrad_cnn.functional` under PyTorch's name: `import tinygrad_cnn.nn.functional as F`."""

from ..functional import *  # noqa: F403
from ..functional import __all__ as __all__
