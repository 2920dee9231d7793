"""compile(..., check=True) finds what is read from outside, and a plan that is wrong, and names the operation."""

from functools import partial

import numpy as np
import pytest
from references import fixed
from test_plan import MAKERS, records, replayed, trained

from tinygrad_cnn import Tensor, compile, grad, ops
from tinygrad_cnn import functional as F


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_right_passes_and_gives_the_same(name):
    losses, state, random, _ = trained(MAKERS[name], lambda function: function)
    found, found_state, found_random, compiled = trained(MAKERS[name], partial(compile, check=True))
    np.testing.assert_allclose(found, losses, rtol=1e-5)
    assert found_random == random and replayed(compiled) and len(records(compiled)) == 1
    for key, value in state.items():
        np.testing.assert_allclose(found_state[key], value.numpy(), rtol=1e-4, atol=1e-6, err_msg=key)


factor, parts, noise = 1.0, 1, np.random.default_rng(0)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: x.exp() * factor, "'mul' is given another constant"),
        (lambda x: x + noise.random(3), "differs from the plain function at 'add'"),
        (lambda x: x.sum() if parts == 1 else x.exp(), "computed 'sum', and now 'exp'"),
        (lambda x: sum((x * x for _ in range(parts)), x), "made 2 steps, and now 4"),
        (lambda x: F.pad(x, (parts, 0)), "'pad' has other settings"),
    ],
)
def test_what_is_read_from_outside_is_found(function, said):
    global factor, parts
    factor, parts = 1.0, 1
    compiled, x = compile(function, check=True), Tensor(fixed((3,)), requires_grad=True)
    compiled(x)
    factor, parts = 2.0, 2
    with pytest.raises(RuntimeError, match=said):
        compiled(x)


@pytest.mark.parametrize("broken", [ops.exp, ops.mul, ops.sum])
def test_an_operation_that_is_written_wrongly_is_named(broken, monkeypatch):
    right = broken.out_calls

    def wrong(new, out, *args, **settings):
        return [*right(new, out, *args, **settings), partial(np.multiply, out, 1.01, out=out)]

    x = Tensor(fixed((3, 4)), requires_grad=True)
    compiled = compile(lambda x: (x.exp() * x).sum(), check=True)
    compiled(x).backward()
    monkeypatch.setattr(broken, "out_calls", wrong)
    records(compiled)[0]._program = None
    with pytest.raises(RuntimeError, match=f"differs from the plain function at '{broken.name}'"):
        compiled(x)


def test_a_backward_pass_that_is_wrong_is_found(monkeypatch):
    right = ops.mul.out_calls
    monkeypatch.setattr(
        ops.mul, "out_calls", lambda new, out, *args: [*right(new, out, *args), partial(np.add, out, 0.1, out=out)]
    )
    x = Tensor(fixed((3, 4)), requires_grad=True)
    compiled = compile(lambda x: x.exp().sum(), check=True)
    with pytest.raises(RuntimeError, match="differs from the plain function at 'mul'"):
        grad(compiled(x), x)


def test_memory_that_is_used_again_too_early_is_found(monkeypatch):
    monkeypatch.setattr("tinygrad_cnn.plan.program.places", lambda needs, over: ([0] * len(needs), 1 << 12))
    x = Tensor(fixed((3, 4)), requires_grad=True)
    compiled = compile(lambda x: x.exp() * x.tanh(), check=True)
    with pytest.raises(RuntimeError, match="differs from the plain function at"):
        compiled(x)
