"""Where PyTorch has what loads data: `from tinygrad_cnn.utils.data import DataLoader`."""
