"""The scores are squashed twice: a softmax of a sigmoid.

Published: in a CNN on NumPy that many have copied and learned from.
The bug: the loss takes the softmax of ten numbers between 0 and 1, not of the scores.
Where it comes from: a sigmoid after every layer, the last one included, and a loss that has a softmax of its own.
Meant was: -log softmax(scores) at the label.
In training: it learns slowly, and the loss stops far above zero.
Seen by: neither gradient check: the gradient of what is computed is right. The loss at scores whose
loss is known shows it.
"""

import numpy as np

from tinygrad_cnn import functional as F
from tinygrad_cnn.museum.exhibit import (
    digits,
    network,
    print_folded,
    show_check_graph,
    show_gradcheck,
    side_by_side,
    tell,
    train,
)

tell(__doc__)


def loss_of(scores, labels):
    return F.cross_entropy(F.sigmoid(scores), labels)  # THE BUG: F.cross_entropy(scores, labels) was meant


losses, _ = wrong = train(network(), loss_of)
side_by_side(train(network()), wrong)

# The gradient checks cannot see it: the derivative of what is computed is right. It is not what was meant.
show_check_graph(network(), loss_of)
scores = np.random.default_rng(0).standard_normal((4, 10))  # (N, 10)
show_gradcheck(lambda scores: loss_of(scores, digits.test_labels[:4]), scores)

# What shows it is the value of the loss at scores for which the answer is known.
labels = digits.test_labels  # (N,)
certain = np.where(np.arange(10) == labels[:, None], 50.0, -50.0)  # (N, 10), as sure of the label as can be
print("\nthe loss at known scores           textbook     this one")
for name, scores in (
    ("all scores equal", 0 * certain),
    ("certain, and right", certain),
    ("certain, and wrong", np.roll(certain, 1, axis=1)),
):
    print(f"  {name:<24}{F.cross_entropy(scores, labels):>17.3f}{loss_of(scores, labels):>13.3f}")
floor = np.log(1 + 9 / np.e)
print_folded(
    "To be certain and right has to cost nothing. Here the label's sigmoid is at most 1, the nine others at least 0, "
    f"and so the loss at least log(1 + 9/e) = {floor:.3f}. The lowest in training was {losses.min():.3f}."
)
