"""A model of your own, and its training loop written out: no helper."""

import numpy as np

from tinygrad_cnn import Tensor, data, manual_seed, nn, no_grad
from tinygrad_cnn import functional as F


class TwoPaths(nn.Module):
    """Small and large filters side by side; what both saw is joined and classified."""

    def __init__(self):
        self.fine = nn.Conv2d(1, 6, kernel_size=3, padding="same")
        self.coarse = nn.Conv2d(1, 6, kernel_size=7, padding="same")
        self.classify = nn.Linear(12 * 7 * 7, 10)

    def forward(self, images):
        both = F.cat([self.fine(images), self.coarse(images)], dim=1)
        return self.classify(F.max_pool2d(both.relu(), 4).flatten(1))


manual_seed(0)
digits = data.load("sample")
model = TwoPaths()
order = np.random.default_rng(0)

for epoch in range(3):
    shuffled = order.permutation(len(digits.train_images))
    for start in range(0, len(shuffled), 32):
        batch = shuffled[start : start + 32]
        scores = model(Tensor(digits.train_images[batch]))
        loss = F.cross_entropy(scores, digits.train_labels[batch])

        loss.backward()
        for parameter in model.parameters():
            parameter.data -= 0.1 * parameter.grad  # plain gradient descent, by hand
            parameter.grad = None

    with no_grad():
        guesses = model(digits.test_images).argmax(dim=1)
    accuracy = (guesses == digits.test_labels).mean()
    print(f"epoch {epoch + 1}: loss {loss.item():.3f} on the last batch, test accuracy {accuracy:.1%}")
