"""What a plan has in common with who trains: large weights, large gradients, and the helper of the optimiser."""

import copy
import gc
import os
import time
import warnings
import weakref

import numpy as np
import pytest

from tinygrad_cnn import Tensor, compile, grad, manual_seed, nn, no_grad, optim
from tinygrad_cnn import functional as F
from tinygrad_cnn.engine import versions
from tinygrad_cnn.kernels import blocks, halves, shared, team, updates
from tinygrad_cnn.kernels.lending import Memory
from tinygrad_cnn.kernels.shared import is_shared
from tinygrad_cnn.plan import parts, program, replay

needs_helpers = pytest.mark.skipif(not shared.possible, reason="helpers are forked on Linux, and on x86-64")


@pytest.fixture(autouse=True)
def with_a_helper(monkeypatch):
    monkeypatch.setattr(program, "number_of_threads", lambda: 2)
    monkeypatch.setattr(team, "ALONE", 0)  # however long it is waited for
    monkeypatch.setattr(blocks, "BLOCK", 1 << 12)


RANDOM = np.random.default_rng(0)
BATCHES = [(RANDOM.random((4, 250), np.float32), RANDOM.integers(0, 100, 4)) for _ in range(12)]


def model_and_loss(wrap=compile):
    manual_seed(0)
    model = nn.Sequential(nn.Linear(250, 100), nn.ReLU(), nn.Linear(100, 200), nn.ReLU(), nn.Linear(200, 100))
    return model, wrap(lambda x, y: F.cross_entropy(model(x), y))


def plain(function):
    return function


def numbers(model):
    return [p.numpy().copy() for p in model.parameters()]


def trained(wrap=compile, make=optim.Adam, each=lambda i, model, optimizer: None, order="zero first"):
    model, loss_of = model_and_loss(wrap)
    optimizer = make(model.parameters())
    for i, batch in enumerate(BATCHES):
        if order == "zero first":
            optimizer.zero_grad()
        loss = loss_of(*batch)
        if order == "loss first":
            optimizer.zero_grad()
        loss.backward()
        if order == "never":
            for p in model.parameters():
                p.grad.mul_(0.5)
        each(i, model, optimizer)
        optimizer.step()
        if order == "zero last":
            optimizer.zero_grad()
    return model, optimizer, loss_of


def assert_same(some, others, exact=True):
    for one, other in zip(some, others, strict=True):
        np.testing.assert_allclose(one, other, rtol=0 if exact else 1e-4, atol=0 if exact else 1e-6)


# ---- gradients


@pytest.mark.parametrize("order", ["zero first", "zero last", "loss first", "never"])
def test_gradients_are_lent_if_they_are_gone_at_the_next_call(order):
    where = []

    def look(i, model, optimizer):
        grads = [p.grad for p in model.parameters() if p.ndim == 2]
        where.append(all(isinstance(g._array.base, Memory) and is_shared(g._array) for g in grads))

    model, _, _ = trained(each=look, order=order)
    assert where == [False] + [order in ("zero first", "zero last")] * 11
    assert_same(numbers(model), numbers(trained(plain, order=order)[0]), exact=False)


@pytest.mark.parametrize("since", [0, 5])
def test_gradients_that_are_kept_stay_as_they_are(since):
    kept, expected = [], []

    def keep(i, model, optimizer):
        if i >= since:
            kept.append(model[0].weight.grad)
            expected.append(model[0].weight.grad.numpy().copy())

    model, _, loss_of = trained(each=keep)
    assert_same([g.numpy() for g in kept], expected)
    assert_same(numbers(model), numbers(trained(plain)[0]), exact=False)
    assert loss_of.plans[0].lends is False


def test_a_view_of_a_gradient_keeps_it_too():
    views, expected = [], []

    def keep(i, model, optimizer):
        if i == 5:
            views.append(model[0].weight.grad.numpy()[3:5].T)
            expected.append(views[0].copy())

    _, _, loss_of = trained(each=keep)
    np.testing.assert_array_equal(views[0], expected[0])
    assert loss_of.plans[0].lends is False  # for good: each time, the plan would need new memory


def test_gradients_that_are_added_up_are_those_of_the_plain_path():
    def found(wrap):
        model, loss_of = model_and_loss(wrap)
        result = []
        for i, batch in enumerate(BATCHES):
            if i < 5 or i % 3 == 0:
                model.zero_grad()
            loss_of(*batch).backward()
            result.append(model[0].weight.grad.numpy().copy())
        return result

    assert_same(found(compile), found(plain), exact=False)


def test_gradients_may_be_changed_before_another_backward_pass():
    model, loss_of = model_and_loss()
    for batch in BATCHES[:4]:
        model.zero_grad()
        loss = loss_of(*batch)
        loss.backward(retain_graph=True)
        first = model[0].weight.grad.numpy().copy()
        nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        model.zero_grad()
        loss.backward()
        np.testing.assert_allclose(model[0].weight.grad, first, rtol=1e-5)


def test_two_leaves_do_not_get_one_gradient():
    a, b = (Tensor(np.ones((200, 200)), requires_grad=True) for _ in range(2))
    loss_of = compile(lambda x: ((a + b) * x).sum())
    for _ in range(4):
        a.grad = b.grad = None
        loss_of(np.full((200, 200), 3.0)).backward()
        a.grad.mul_(2.0)
        assert b.grad.numpy().max() == 3.0 and a.grad.numpy().min() == 6.0


def test_what_was_given_is_not_lent():
    w = Tensor(np.ones((200, 200)), requires_grad=True)
    loss_of = compile(lambda x: (w * x).sum())
    for _ in range(4):
        w.grad = None
        loss = loss_of(np.full((200, 200), 3.0))
        loss.backward(retain_graph=True)
        w.grad.mul_(0.0)
        loss.backward()
        assert w.grad.numpy().min() == 3.0
    add = compile(lambda x: w + x)
    for _ in range(4):
        w.grad = None
        add(np.ones((200, 200))).backward(np.full((200, 200), 3.0))
        assert not is_shared(w.grad._array)


def test_grad_lends_as_well():
    model, loss_of = model_and_loss()
    kept, expected = [], []
    for i, batch in enumerate(BATCHES):
        found = grad(loss_of(*batch), [*model.parameters()])
        if i >= 5:
            kept.append(found)
            expected.append([g.numpy().copy() for g in found])
    for some, others in zip(kept, expected, strict=True):
        assert_same([g.numpy() for g in some], others)


def test_a_kept_gradient_keeps_no_plan():
    model, _, loss_of = trained()
    (plan,) = loss_of.plans
    (bound,) = next(iter(loss_of._kept.values()))[0]._waiting(plan)
    values = weakref.ref(bound.arrays[plan.wanted[0][0]].base)
    kept = model[0].weight.grad._array
    del bound, plan, loss_of
    gc.collect()
    assert isinstance(kept.base, Memory) and values() is None


def test_each_gradient_that_is_not_lent_has_its_own_memory():
    kept = []
    trained(each=lambda i, model, optimizer: kept.append(model[0].weight.grad._array))
    assert all(isinstance(one.base, Memory) and one.base.owner.nbytes == one.nbytes for one in kept)


# ---- weights


@needs_helpers
def test_large_weights_move_to_shared_memory_if_nobody_else_holds_them():
    model, loss_of = model_and_loss()
    held = model[0].weight.numpy()
    before = numbers(model)
    loss_of(*BATCHES[0]).backward()
    assert [is_shared(p._array) for p in model.parameters()] == [False, False, True, False, True, False]
    assert_same(numbers(model), before)
    optim.SGD(model.parameters(), lr=0.1).step()
    assert np.shares_memory(held, model[0].weight.numpy()) and not np.array_equal(held, before[0])


@needs_helpers
@pytest.mark.parametrize("how", ["note", "hold"])
def test_a_change_by_another_thread_is_not_lost(how, monkeypatch):
    held = []

    def meanwhile(array, copy=shared.shared_copy):
        new = copy(array)
        if how == "note":  # it has changed the array
            versions.note_change(array)
            array[...] = 7.0
        else:  # it is about to
            held.append(array)
        return new

    monkeypatch.setattr(replay, "shared_copy", meanwhile)
    model, loss_of = model_and_loss()
    loss_of(*BATCHES[0])
    for array in held:
        array[...] = 7.0
    assert model[2].weight.numpy().min() == 7.0 and not is_shared(model[2].weight._array)
    monkeypatch.undo()


def test_with_one_thread_nothing_moves(monkeypatch):
    monkeypatch.setattr(program, "number_of_threads", lambda: 1)
    model, _, _ = trained()
    assert not any(is_shared(p._array) for p in model.parameters())


def test_where_there_can_be_no_helpers_memory_is_as_any_other(monkeypatch):
    monkeypatch.setattr(shared, "possible", False)
    monkeypatch.setattr(program, "possible", False)
    model, _, loss_of = trained()
    grads = [p.grad._array for p in model.parameters()]
    assert loss_of.plans[0].lends and not any(map(is_shared, [p._array for p in model.parameters()] + grads))
    assert_same(numbers(model), numbers(trained(plain)[0]), exact=False)


@needs_helpers
def test_shared_memory_is_let_go():
    model, optimizer, loss_of = trained()
    array = weakref.ref(model[2].weight._array.base)
    del model, optimizer, loss_of
    gc.collect()
    assert array() is None


def after_a_fork(in_child, in_parent):
    """What both return, the other process having done its work before either result is looked at."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads
        child = os.fork()
    if child == 0:
        try:
            time.sleep(0.3)  # let the other one go first
            os.write(writing, repr(in_child()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    found = in_parent()
    with os.fdopen(reading) as file:
        result = file.read()
    os.waitpid(child, 0)
    return result, repr(found)


def train_on(model, optimizer, loss_of, batches):
    for batch in batches:
        optimizer.zero_grad()
        loss_of(*batch).backward()
        optimizer.step()
    return float(sum(np.abs(p.numpy()).sum(dtype=np.float64) for p in model.parameters()))


@needs_helpers
def test_a_forked_process_goes_on_by_itself():
    together, alone = trained(), trained()
    expected = repr(train_on(*alone, BATCHES[:6]))
    held = together[0][0].weight.grad
    assert is_shared(held._array)
    before = float(held.numpy().sum())

    def in_child():
        assert float(held.numpy().sum()) == before
        return train_on(*together, BATCHES[:6])

    def in_parent():
        held.mul_(0.0)
        return train_on(*together, BATCHES[:6])

    assert after_a_fork(in_child, in_parent) == (expected, expected)
    assert is_shared(together[0][2].weight._array)


# ---- the optimiser


MAKES = {
    "Adam": optim.Adam,
    "AdamW": lambda params: optim.AdamW(params, lr=0.01, amsgrad=True),
    "momentum": lambda params: optim.SGD(params, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1),
    "NAdam": optim.NAdam,
    "RMSprop": lambda params: optim.RMSprop(params, momentum=0.5, centered=True),
    "maximize": lambda params: optim.Adagrad(params, lr=0.001, maximize=True),
}


def counting(monkeypatch):
    runs, run = [], halves.Halves.run

    def counted(self, args, jobs):
        runs.append(run(self, args, jobs))
        return runs[-1]

    monkeypatch.setattr(halves.Halves, "run", counted)
    return runs


@needs_helpers
@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_a_helper_updates_one_half(make, monkeypatch):
    runs = counting(monkeypatch)
    model, optimizer, _ = trained(make=make)
    assert runs == [True] * 11  # not in the first step, in which gradients are copied
    monkeypatch.setattr(updates, "MOST", 0)
    alone, optimizer_alone, _ = trained(make=make)
    assert runs == [True] * 11
    assert_same(numbers(model), numbers(alone))
    np.testing.assert_equal(optimizer.state_dict(), optimizer_alone.state_dict())


@needs_helpers
def test_settings_and_states_that_change_are_seen(monkeypatch):
    def change(i, model, optimizer):
        if i == 4:
            optimizer.param_groups[0]["lr"] = 0.01
        if i == 5:
            optimizer.param_groups[0]["amsgrad"] = True  # one more array is kept from now on
        if i == 7:
            optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        if i == 8:
            optimizer.param_groups[0]["note"] = lambda: None  # which cannot be told to a helper
        if i == 9:
            del optimizer.param_groups[0]["note"]
            model[2].weight.grad = None  # another choice of parameters
        if i == 10:
            with no_grad():
                model[2].weight.mul_(0.5)
            model[0].weight.data = model[0].weight.numpy() * 0.5

    runs = counting(monkeypatch)
    model, optimizer, _ = trained(each=change)
    assert runs[:4] == [True] * 4 and runs.count(False) == 2 and runs.count(True) >= 8
    monkeypatch.setattr(updates, "MOST", 0)
    alone, optimizer_alone, _ = trained(each=change)
    assert_same(numbers(model), numbers(alone))
    np.testing.assert_equal(optimizer.state_dict()["state"], optimizer_alone.state_dict()["state"])


@needs_helpers
def test_halves_are_the_same_bits_where_this_process_makes_both(monkeypatch):
    found, runs, run, update, made = [], [], team.Team.run, halves.Halves.run, []
    monkeypatch.setattr(halves.Halves, "run", lambda self, *given: made.append(update(self, *given)) or made[-1])
    for refused in (range(0), range(1, 10**6, 2), range(10**6)):
        runs.clear()

        def asked(self, runs=runs, refused=refused):
            if len(self.lists[0]) > 1:  # a plan
                return run(self)
            runs.append(1)
            return False if len(runs) - 1 in refused else run(self)

        monkeypatch.setattr(team.Team, "run", asked)
        model, _, _ = trained()
        assert len(runs) > 2
        found.append(numbers(model))
    assert all(made)  # none is left to be made in one piece
    assert_same(found[1], found[0], exact=True)
    assert_same(found[2], found[0], exact=True)


def test_batches_of_two_sizes_have_halves_each(monkeypatch):
    runs = counting(monkeypatch)
    model, loss_of = model_and_loss()
    optimizer = optim.Adam(model.parameters())
    for _ in range(10):
        for x, y in ((BATCHES[0]), (BATCHES[1][0][:3], BATCHES[1][1][:3])):
            optimizer.zero_grad()
            loss_of(x, y).backward()
            optimizer.step()
    assert runs == [True] * 18
    assert optimizer._updates[0]._made == 2


@needs_helpers
def test_a_new_plan_at_the_place_of_an_old_one(monkeypatch):
    """Its gradients may have the addresses of old ones, which helpers know as other memory."""
    monkeypatch.setattr(parts, "ALL_WORTH", 1e9)  # no plan is shared, so that helpers outlive it
    runs = counting(monkeypatch)

    def trained_anew(wrap):
        model, _ = model_and_loss()
        optimizer = optim.Adam(model.parameters())
        addresses = set()
        for size in (4, 3, 2, 1, 4, 3, 2, 1):
            loss_of = wrap(lambda x, y: F.cross_entropy(model(x), y))
            for x, y in BATCHES[:4]:
                optimizer.zero_grad()
                loss_of(x[:size], y[:size]).backward()
                optimizer.step()
                addresses.add(model[2].weight.grad._array.ctypes.data)
            optimizer.zero_grad()
            del loss_of
            gc.collect()
        return numbers(model), addresses

    found, _ = trained_anew(compile)
    assert any(runs)
    assert_same(found, trained_anew(plain)[0], exact=False)


@needs_helpers
def test_what_a_user_keeps_in_a_state_stays(monkeypatch):
    def keep(i, model, optimizer):
        for p in model.parameters():
            optimizer.state[p].setdefault("seen", []).append(i)
            optimizer.state[p]["rows"] = np.arange(3)

    runs = counting(monkeypatch)
    model, optimizer, _ = trained(each=keep)
    assert not runs
    assert all(optimizer.state[p]["seen"] == [*range(12)] for p in model.parameters())
    assert_same(numbers(model), numbers(trained(plain)[0]), exact=False)


@needs_helpers
def test_a_strided_gradient_is_not_halved(monkeypatch):
    model, loss_of = model_and_loss()
    other = Tensor(np.ones((50, 250), np.float32), requires_grad=True)
    runs = counting(monkeypatch)
    optimizer = optim.Adam([*model.parameters(), other])
    for batch in BATCHES[:6]:
        optimizer.zero_grad()
        loss_of(*batch).backward()
        other._array = shared.shared_copy(other._array)
        other.grad = Tensor.wrap(model[0].weight.grad._array[::2], None)
        optimizer.step()
    assert runs and all(runs)
    assert other.numpy().std() > 0


@needs_helpers
def test_a_rule_of_ones_own_is_not_shared(monkeypatch):
    class Own(optim.Adam):
        pass

    runs = counting(monkeypatch)
    model, _, _ = trained(make=Own)
    assert not runs
    assert_same(numbers(model), numbers(trained()[0]), exact=False)


@needs_helpers
def test_errors_of_a_helper_are_told():
    model, optimizer, loss_of = trained()
    optimizer.zero_grad()
    loss_of(*BATCHES[0]).backward()
    with no_grad():
        model[2].weight.grad[-1] = 1e30  # in the half of the helper
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        optimizer.step()
