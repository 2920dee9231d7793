"""The commands of `python -m tinygrad_cnn`."""
