"""Calls in parts give what whole calls give, to rounding, and no part waits for another one but for what it needs."""

from functools import partial

import numpy as np
import pytest
from references import fixed

from tinygrad_cnn import Tensor, compile, grad, manual_seed, nn, optim
from tinygrad_cnn import functional as F
from tinygrad_cnn.kernels import team
from tinygrad_cnn.plan import parts as plan_parts
from tinygrad_cnn.plan import program
from tinygrad_cnn.plan.parts import Access, cut, in_parts, made_alone


def cases():
    """Calls, each with the array that it writes into."""
    x, y, row = fixed((4, 6)), fixed((4, 6), 2), fixed((6,), 3)
    turned, out = x.T, np.zeros((4, 6))
    batch, other = fixed((4, 3, 5)), fixed((4, 5, 2))
    yield partial(np.exp, x, out=out), out
    yield partial(np.add, x, row, out=np.zeros((4, 6))), None
    yield partial(np.multiply, x, 2.0, out=np.zeros((4, 6))), None
    yield partial(np.maximum, x[:, :1], y, out=np.zeros((4, 6))), None
    yield partial(np.subtract, turned, y.T, out=np.zeros((4, 6)).T), None
    yield partial(np.less, x, y, out=np.zeros((4, 6), bool)), None
    yield partial(np.copyto, np.zeros((4, 6)), row), None
    yield partial(np.copyto, np.zeros((4, 6), int), x, "unsafe"), None
    yield partial(np.matmul, batch, other, np.zeros((4, 3, 2))), None
    yield partial(np.matmul, batch[:1], other, np.zeros((4, 3, 2))), None
    yield partial(np.matmul, batch[0], other, np.zeros((4, 3, 2))), None
    yield partial(np.matmul, x, y.T, np.zeros((4, 4))), None
    yield partial(np.matmul, np.zeros((4, 0)), np.zeros((0, 6)), np.zeros((4, 6))), None
    yield partial(np.matmul, row[None], y.T, np.zeros((1, 4))), None
    yield partial(np.matmul, fixed((200, 100)), fixed((3, 100, 96)), np.zeros((3, 200, 96))), None  # in blocks
    yield partial(np.matmul, fixed((3, 48, 300)), fixed((3, 64, 300)).mT, np.zeros((3, 48, 64))), None
    yield partial(np.matmul, fixed((16, 900)), fixed((96, 900)).mT, np.zeros((16, 96))), None
    yield partial(np.einsum, "cpl,cmp->cml", fixed((4, 2, 3)), fixed((4, 2, 2)), out=np.zeros((4, 2, 3))), None
    yield partial(np.einsum, "pl,cmp->cml", fixed((2, 3)), fixed((4, 2, 2)), out=np.zeros((4, 2, 3))), None
    yield partial(np.vecdot, fixed((4, 6, 5)), fixed((6, 5), 2), out=np.zeros((4, 6))), None
    yield partial(np.vecdot, fixed((1, 6, 5)), fixed((6, 5), 2), out=np.zeros((1, 6))), None
    yield partial(np.add.reduce, batch, (1,), None, np.zeros((4, 1, 5)), True), None
    yield partial(np.maximum.reduce, batch, (0, 2), None, np.zeros((1, 3, 1)), True), None


@pytest.mark.parametrize("kernel", ["SkylakeX", "Haswell"])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("call", [call for call, _ in cases()])
def test_the_parts_of_a_call_are_the_call(call, count, kernel, monkeypatch):
    monkeypatch.setattr(plan_parts, "kernel", lambda: kernel)
    parts = cut(call, count)
    outs = [one for one in (*call.args, *call.keywords.values()) if isinstance(one, np.ndarray)]
    out = call.keywords.get("out", call.args[0] if call.func is np.copyto else outs[-1])
    call()
    expected = out.copy()
    out[...] = 0
    assert parts is not None and len(parts) == count
    for i, part in enumerate(parts):
        for other in parts[:i]:
            assert not np.shares_memory(part.out, other.out)
        part.call()
    np.testing.assert_allclose(out, expected, rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize(("kernel", "ndim"), [("SkylakeX", 4), ("Haswell", 2), (None, 2)])
def test_products_are_cut_into_blocks_only_where_openblas_multiplies_small_ones_in_place(kernel, ndim, monkeypatch):
    monkeypatch.setattr(plan_parts, "kernel", lambda: kernel)
    first, _ = cut(partial(np.matmul, fixed((200, 100)), fixed((100, 96)), np.zeros((200, 96))), 2)
    assert first.call.args[0].ndim == ndim


@pytest.mark.parametrize(
    "call",
    [
        len,
        partial(np.exp, fixed(()), out=np.zeros(())),
        partial(np.exp, fixed((1, 1)), out=np.zeros((1, 1))),
        partial(np.matmul, fixed((3,)), fixed((3,)), np.zeros(())),
        partial(np.add.reduce, fixed((4,)), (0,), None, np.zeros((1,)), True),
        partial(np.copyto, np.zeros(4), 1.0, where=np.ones(4, bool)),
    ],
)
def test_what_cannot_be_cut(call):
    assert cut(call, 2) is None


@pytest.fixture
def always(monkeypatch):
    """Everything that can be cut is worth it, by three processes."""
    monkeypatch.setattr(plan_parts, "WORTH", 0)
    monkeypatch.setattr(plan_parts, "ALL_WORTH", 0)
    monkeypatch.setattr(program, "number_of_threads", lambda: 3)


def waits(*calls):
    """Of each process for each of its calls which calls of which processes it waits for."""
    known = [(call, Access.to([call.keywords["out"]], call.args)) for call in calls]
    return [[turn.after for turn in turns] for turns in in_parts([known], 3)[0]]


def test_a_process_waits_only_for_those_whose_memory_it_shares(always):
    x, y, z, w = (np.ones((6, 4)) for _ in range(4))
    add, whole = partial(np.add, x, 1.0, out=y), partial(np.add, np.ones(()), 1.0, out=np.zeros(()))
    assert waits(add, partial(np.exp, y, out=z)) == [[(), ()]] * 3
    turned = waits(add, partial(np.exp, y[::-1], out=z))  # the first needs what the last one writes
    assert turned == [[(), ((2, 1),)], [(), ()], [(), ((0, 1),)]]
    assert waits(partial(np.exp, y[::-1], out=z), add) == turned  # and writes what the last one needs
    assert waits(add, whole, partial(np.exp, y[::-1], out=z))[0] == [(), (), ((2, 1),)]
    again = waits(add, partial(np.exp, y[::-1], out=z), partial(np.exp, y[::-1], out=w))
    assert again[0] == [(), ((2, 1),), ()]  # it has waited already


def test_a_call_that_nobody_knows_waits_for_all_and_all_wait_for_it(always):
    x, y = np.ones((6, 4)), np.ones((6, 4))
    add = partial(np.add, x, 1.0, out=y)
    calls = [(add, Access.to([y], [x])), (len, plan_parts.ANYTHING), (add, Access.to([y], [x]))]
    (lists,) = in_parts([calls], 3)
    assert [one.after for one in lists[0]] == [(), ((1, 1), (2, 1)), ()]
    assert [[one.after for one in turns] for turns in lists[1:]] == [[(), ((0, 2),)]] * 2


def test_what_is_little_work_is_not_cut():
    x, y = np.ones((6, 4)), np.ones((6, 4))
    call = partial(np.add, x, 1.0, out=y), Access.to([y], [x])
    assert in_parts([[call]], 2) == in_parts([[call]], 1) == [[]]
    x, y = np.ones((2, 1 << 20)), np.ones((2, 1 << 20))
    for size, are_worth_it in ((1 << 16, True), (1 << 12, False)):
        short = partial(np.add, x[:, :size], 1.0, out=y[:, :size]), Access.to([y], [x])
        assert bool(in_parts([[short] * 9], 2)[0]) is are_worth_it
    product = partial(np.matmul, np.ones((999, 999)), np.ones((999, 999)), np.ones((999, 999)))
    add = partial(np.add, x, 1.0, out=y), Access.to([y], [x])
    with_product = [[add], [(product, Access([(0, 1)], []))]]  # which cannot be shared
    found = in_parts(with_product[:1], 2), in_parts(with_product, 2, lambda access: access == add[1])
    assert found[0][0] and found[1] == [[], []]


def test_training_in_parts_is_that_of_the_whole(always):
    random = np.random.default_rng(0)
    batches = [(random.random((8, 1, 12, 12), np.float32), random.integers(0, 10, 8)) for _ in range(5)]

    def train(wrap):
        manual_seed(0)
        model = nn.Sequential(
            *(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(4, 8, 3, stride=2), nn.Sigmoid(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(32, 10)),
        )
        loss_of = wrap(lambda images, labels: F.cross_entropy(model(images), labels))
        optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for images, labels in batches:
            optimizer.zero_grad()
            loss_of(images, labels).backward()
            optimizer.step()
        return model.state_dict(), loss_of

    (plain, _), (cut_up, compiled), (again, _) = train(lambda f: f), train(compile), train(compile)
    (kept,) = compiled._kept.values()
    bound = kept[0].program().bind()
    assert all(one and len(one.lists) == 3 for one in bound.teams)
    for key, value in plain.items():
        np.testing.assert_allclose(cut_up[key], value.numpy(), rtol=1e-4, atol=1e-6, err_msg=key)
        np.testing.assert_array_equal(cut_up[key], again[key], err_msg=key)  # the same bits each time


def test_a_plan_makes_the_same_calls_alone_as_with_helpers(always, monkeypatch):
    x, weight = fixed((64, 10)).astype(np.float32), Tensor(fixed((1568, 10)).astype(np.float32))
    compiled = compile(lambda x: ((weight @ x.T).exp() - 1.0).sum(0))
    compiled(x)
    together = [compiled(x).numpy() for _ in range(3)]
    monkeypatch.setattr(team.Team, "run", lambda self: False)
    np.testing.assert_array_equal(compiled(x), together[-1])
    (plan,) = compiled.plans
    bound = plan.bind()
    assert bound.calls[0] == made_alone(bound.teams[0].lists)
    assert sum(len(one) for one in bound.teams[0].lists) == len(bound.calls[0]) > len(bound.teams[0].lists[0])


def test_without_helpers_products_have_the_threads_of_blas(always, monkeypatch):
    monkeypatch.setattr(program, "possible", False)
    compiled = compile(lambda x: x.exp())
    compiled(fixed((4, 6)))
    assert compiled.plans[0].bind().teams == [None]


def test_an_error_in_a_part_leaves_later_calls_intact(always):
    weight = Tensor(fixed((4, 6)), requires_grad=True)
    compiled = compile(lambda x: (x * weight).exp())
    for _ in range(3):
        x = fixed((4, 6))
        expected = np.exp(x * weight.data)
        np.testing.assert_array_equal(compiled(x), expected)
        with np.errstate(over="raise"), pytest.raises(FloatingPointError):
            compiled(x * 1e5)
        np.testing.assert_array_equal(grad(compiled(x).sum(), weight)[0], expected * x)


@pytest.mark.parametrize(
    "function", [lambda y: y + y.flip(0), lambda y: y + y.T, lambda y: y - y[:1], lambda y: y * y[:, -1:]]
)
def test_what_another_process_reads_elsewhere_is_not_written_over(always, function):
    x = Tensor(fixed((96, 96)))
    compiled = compile(lambda x: function(x * 2))
    for _ in range(10):
        np.testing.assert_array_equal(compiled(x), function(x * 2))


def test_numbers_of_arrays_that_change_and_change_back_are_seen_by_all(always, monkeypatch):
    monkeypatch.setattr(team, "ALONE", 0)
    x, numbers = fixed((4, 6)), fixed((4, 6), 2)
    compiled, first = compile(lambda x: x * numbers), numbers.copy()
    for factor in (1, 1, 2, 2, 1, 1, 2):
        numbers[...] = factor * first
        np.testing.assert_array_equal(compiled(x), x * numbers)
