"""Train a CNN on handwritten digits, and see what it gets right and wrong.

python examples/mnist.py                          LeNet on MNIST, or on the sample where MNIST cannot be had
python examples/mnist.py --save run.npz           keep it; Ctrl-C stops after the current batch
python examples/mnist.py --load run.npz           continue it where it stopped
python examples/mnist.py --load run.npz --predict 7 digit.npy

It is the command `python -m tinygrad_cnn train`; its code is in tinygrad_cnn/commands/train.py. A training loop
written by hand is in custom_model.py.
"""

import sys

from tinygrad_cnn.__main__ import main

sys.exit(main(["train", *sys.argv[1:]]))
