"""Observers: told of all operations and VJPs, and free to give another result."""

import numpy as np
import pytest

from tinygrad_cnn import Tensor, ops
from tinygrad_cnn.engine.observers import observe


def test_an_observer_is_told_of_all_operations_and_vjps_and_may_give_another_result():
    seen = []

    def watch(event, compute):
        seen.append((event.primitive.name, event.argnum))
        return compute()

    x = Tensor([1.0, 2.0], requires_grad=True)
    with observe(watch):
        (x * x).sum().backward()
    # in the backward pass: the rule of sum with the primitives it calls, then both rules of the product
    assert [one for one in seen if one[0] not in ("reshape", "broadcast_to")] == [
        ("mul", None),
        ("sum", None),
        ("sum", 0),
        ("mul", 0),
        ("mul", None),
        ("mul", 1),
        ("mul", None),
    ]
    before = list(seen)
    (x * x).sum().backward()
    assert seen == before
    with observe(lambda event, compute: 10 * compute()), observe(lambda event, compute: compute() + 1):
        np.testing.assert_allclose(ops.exp(np.zeros(1)), 11)


def test_an_observer_that_fails_is_gone_afterwards():
    def refuse(event, compute):
        raise KeyError("no")

    x = Tensor([1.0], requires_grad=True)
    with pytest.raises(KeyError), observe(refuse):
        x.exp()
    assert x.exp().shape == (1,)


def test_an_observer_is_told_of_each_argument_of_a_rule_for_all():
    a, b = (Tensor([n, 1.0], requires_grad=True) for n in (2.0, 3.0))
    seen = []

    def watch(event, compute):
        found = compute()
        if event.argnum is not None and event.primitive is ops.concatenate:
            seen.append((event.argnum, np.asarray(found).tolist()))
        return found

    with observe(watch):
        (ops.concatenate(a, b, axis=0) * np.array([1.0, 2.0, 3.0, 4.0], np.float32)).sum().backward()
    assert seen == [(0, [1, 2]), (1, [3, 4])]
