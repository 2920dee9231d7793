"""What `python -m tinygrad_cnn` offers, one module for each command or two."""
