"""The chapters, in the order in which they are read. Each has a TITLE, and `blocks()` gives its HTML."""

from . import convolution

CHAPTERS = (convolution,)
