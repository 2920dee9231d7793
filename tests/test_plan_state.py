"""What a compiled function reads from outside of its arguments is seen when it changes."""

import functools
import itertools
import random
import threading
import warnings
from array import array
from collections import ChainMap, UserDict, UserList, deque
from configparser import ConfigParser
from dataclasses import asdict, dataclass
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from tinygrad_cnn import Tensor, compile, nn, optim, primitive
from tinygrad_cnn import functional as F

X = np.ones((2, 3), np.float32)
factor = 1.0


class Net:
    """No module, but called like one."""

    scale = 1.0

    def __init__(self):
        self.weight, self.calls = nn.Parameter(np.ones(3, np.float32)), 0

    def __call__(self, x):
        return x * self.weight * self.scale

    def loss(self, x):
        return self(x) * 2


class Scaled(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return x * self.scale.scale * factor


def follows(function, change):
    """Whether the compiled function gives what the plain one does, before and after a change; returns its plans."""
    compiled = compile(function)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for call in range(6):
            if call == 3:
                change()
            np.testing.assert_array_equal(compiled(Tensor(X)).numpy(), function(Tensor(X)).numpy())
    return len(compiled.plans)


def test_variables_of_a_closure_and_globals():
    def use(value):
        nonlocal inside
        inside = value

    inside = 1.0
    assert follows(lambda x: x * inside, lambda: use(2.0)) == 2
    assert follows(lambda x: x * inside, lambda: use(float("2.0"))) == 1  # the same number
    assert follows(lambda x: x * factor, lambda: globals().update(factor=3.0)) == 2
    helper = lambda x: x * inside  # noqa: E731
    assert follows(lambda x: helper(x) + 1, lambda: use(4.0)) == 2


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (dict, lambda d: d.update(a=2.0)),
        (dict, lambda d: d.update(a=Tensor([1.0, 2.0, 3.0]))),
        (lambda a: [a], lambda one: one.append(2.0)),
    ],
)
def test_what_is_in_lists_and_dictionaries(make, change):
    held = make(a=1.0) if make is dict else make(1.0)
    last = (lambda: held["a"]) if make is dict else (lambda: held[-1])
    assert follows(lambda x: x * last(), lambda: change(held)) == 2


def test_what_moves_from_one_list_to_another():
    first, second = [nn.Linear(3, 3), nn.Linear(3, 3)], [nn.Linear(3, 3)]

    def chained(layers, x):
        for layer in layers:
            x = layer(x)
        return x

    function = lambda x: chained(first, x) + 2 * chained(second, x)  # noqa: E731
    assert follows(function, lambda: second.insert(0, first.pop())) == 2


def test_attributes_that_its_code_names():
    for get in (lambda net: net, lambda net: net.loss, lambda net: functools.partial(net.loss)):
        net = Net()
        assert follows(get(net), lambda net=net: setattr(net, "scale", 2.0)) == 2
        assert follows(get(net), lambda net=net: setattr(net, "weight", nn.Parameter(np.arange(3.0)))) == 2
        assert follows(get(net), lambda net=net: setattr(net, "calls", 7)) == 1
    outer, deep = Net(), Net()
    outer.inner, deep.outer = deep, outer
    deep.depth = 1.0
    assert follows(lambda x: x * outer.inner.depth, lambda: setattr(deep, "depth", 2.0)) == 2
    assert follows(lambda x: x * Net.scale, lambda: setattr(Net, "scale", 5.0)) == 2
    Net.scale = 1.0
    model = Scaled(Net())
    assert follows(model, lambda: setattr(model.scale, "scale", 5.0)) == 2
    assert follows(model, lambda: globals().update(factor=9.0)) == 2


def test_another_model():
    held = {"model": nn.Linear(3, 2)}
    assert follows(lambda x: held["model"](x), lambda: held.update(model=nn.Linear(3, 2))) == 2


@pytest.mark.parametrize(
    "read",
    [
        lambda x, held: x * held,
        lambda x, held: x * (held * 2),
        lambda x, held: x * float(held[0]),
        lambda x, held: F.stack([x, Tensor(held).expand(2, 3)]),
        lambda x, held: x[:, held.astype(int) % 3],
    ],
)
def test_arrays_that_are_written_into(read):
    held = np.ones(3, np.float32)
    assert follows(lambda x: read(x, held), lambda: held.__setitem__(slice(None), 2.0)) == 2
    in_a_dictionary = {"held": [held]}
    change = lambda: np.copyto(held, np.arange(3))  # noqa: E731
    assert follows(lambda x: read(x, in_a_dictionary["held"][0]), change) == 2


def test_a_large_array_is_an_argument_or_read_only():
    held = np.ones((500_000, 3), np.float32)
    compiled = compile(lambda x: x * held[:2])
    with pytest.warns(UserWarning, match="6,000,000 bytes, which may change: make it an argument, or read-only"):
        compiled(X)
    held.setflags(write=False)
    assert follows(lambda x: x * held[:2], lambda: None) == 1


def test_an_array_that_is_written_into_before_each_call():
    held, weight = np.ones(3, np.float32), nn.Parameter(np.ones(3, np.float32))
    compiled = compile(lambda x: x * weight + held)
    with pytest.warns(UserWarning, match="changes at each call, and had better be an argument") as caught:
        for call in range(12):
            held[:] = call
            assert (compiled(X).numpy() == call + 1).all()
    assert len(caught) == 1 and len(compiled.plans) == 8
    for _ in range(3):
        held[:] = 3.0  # as in an earlier call
        assert (compiled(X).numpy() == 4).all()


def test_random_numbers_and_iterators():
    own, draws, lists = np.random.default_rng(0), itertools.count(), iter(range(100))

    @primitive
    def noisy(x):
        return x + own.standard_normal(x.shape).astype(x.dtype)

    functions = [
        lambda x: x * own.random(),
        lambda x: x * np.random.rand(),
        lambda x: x * np.random.normal(size=3).astype(np.float32),
        lambda x: x * random.random() + random.gauss(0, 1),
        noisy,
        lambda x: x + next(draws),
        lambda x: x + next(lists),
    ]
    for function in functions:
        compiled = compile(function)
        with pytest.warns(UserWarning, match="a generator of random numbers changes|which goes on to its next value"):
            found = {compiled(X).numpy().tobytes() for _ in range(8)}
        assert len(found) == 8 and not compiled.plans


def test_what_is_kept_outside_at_each_call():
    weight, state, seen = nn.Parameter(np.ones(3, np.float32)), {"h": Tensor(np.zeros(3, np.float32))}, []

    def recurrent(x):
        state["h"] = F.tanh(x * weight + state["h"])
        return state["h"]

    compiled = compile(recurrent)
    right, h = [], np.zeros(3, np.float32)
    with pytest.warns(UserWarning, match="a dict that it reads changes during the call") as caught:
        for _ in range(6):
            h = np.tanh(1 + h)
            right.append(h)
            np.testing.assert_allclose(compiled(np.ones(3, np.float32)).numpy(), h, rtol=1e-6)
    assert len(caught) == 1

    compiled = compile(lambda x: seen.append(x * weight) or x * weight)
    with pytest.warns(UserWarning, match="changes during the call"):
        for _ in range(6):
            compiled(X)
    assert len(seen) == 6


def test_a_mode_that_is_left_on():
    from tinygrad_cnn import is_grad_enabled, set_grad_enabled

    weight = nn.Parameter(np.ones(3, np.float32))
    compiled = compile(lambda x: (set_grad_enabled(False), x * weight)[1])
    for _ in range(3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiled(X)
        assert not is_grad_enabled()
        set_grad_enabled(True)


class Tied(nn.Module):
    """The weight of a layer that is not called."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(2, 2)

    def forward(self, x):
        return F.linear(x, self.embedding.weight)


def test_a_weight_of_a_layer_that_is_not_called_may_be_replaced():
    model, layer = Tied(), nn.Linear(2, 2, bias=False)
    listed = nn.Linear(2, 2, bias=False)
    functions = [
        (model.embedding, compile(model)),
        (layer, compile(lambda x: F.linear(x, layer.weight))),
        (listed, compile(lambda x: F.linear(x, *listed.parameters()))),
    ]
    for module, compiled in functions:
        for k in range(4):
            module.weight = nn.Parameter(np.full((2, 2), k, np.float32))
            out = compiled(Tensor([[1.0, 1.0]]))
            out.sum().backward()
            assert out.tolist() == [[2 * k, 2 * k]] and module.weight.grad.tolist() == [[1, 1], [1, 1]]


def test_modes_and_settings_of_layers_that_are_not_called_are_seen():
    dropout, layers = nn.Dropout(0.5), nn.Sequential(nn.Linear(1, 1))
    optimizer = optim.SGD(layers.parameters(), lr=0.5)
    compiled = compile(
        lambda x: x * dropout.p * (2 if layers.training else 3) * len(layers) * optimizer.param_groups[0]["lr"]
    )
    for k in range(4):
        dropout.p = 0.25 * k
        layers.train(k % 2 == 0)
        optimizer.param_groups[0]["lr"] = float(k)
        layers.append(nn.ReLU())
        expected = 0.25 * k * (2 if k % 2 == 0 else 3) * len(layers) * k
        assert compiled(Tensor(1.0)).item() == expected


def reads(x, of):
    return x * of.k


def test_what_is_handed_to_a_function_is_followed():
    space, settings, names = SimpleNamespace(k=0), {"k": 0}, {"a": True}
    some, queue = {0}, deque([0])

    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.space = space

        def forward(self, x):
            return reads(x, self.space)

    functions = [
        (compile(lambda x: reads(x, space)), ()),
        (compile(lambda x, function: function(x)), (lambda x: x * settings["k"],)),
        (compile(lambda x, module: x * (1 if module.training else 0)), (nn.ReLU(),)),
        (compile(partial(reads, of=space)), ()),
        (compile(lambda x: x * ([*names] == ["a"])), ()),
        (compile(lambda x: x * sum(some) * queue[0]), ()),
        (compile(Holder()), ()),
    ]
    for k in range(4):
        space.k = settings["k"] = queue[0] = k
        some.clear()
        some.add(k)
        names.clear()
        names["ab"[k % 2]] = True
        functions[2][1][0].train(k % 2 == 0)
        found = [compiled(Tensor(1.0), *args).item() for compiled, args in functions]
        assert found == [k, k, 1 - k % 2, k, 1 - k % 2, k * k, k]


def test_a_container_that_is_too_large_to_be_compared_is_not_taken_for_constant():
    large = [0] * 2000
    compiled = compile(lambda x: x * large[0])
    with pytest.warns(UserWarning, match="reads a list of 2,000 parts, which may change: make it an argument"):
        for large[0] in range(3):
            assert compiled(Tensor(1.0)).item() == large[0]


def test_arguments_that_are_equal_but_not_the_same_have_plans_of_their_own():
    over = compile(lambda x, k: x / k)
    with np.errstate(divide="ignore"):
        assert [over(Tensor(1.0), k).item() for k in (0.0, -0.0, 0.0)] == [np.inf, -np.inf, np.inf]
    summed = compile(lambda x, some: x + sum(some))
    assert [summed(Tensor(np.array([1])), frozenset({k})).dtype.kind for k in (1, 1.0)] == ["i", "f"]


def test_a_compiled_module_that_makes_more_plans_is_the_same():
    inner = compile(nn.Linear(3, 2))
    outer = compile(lambda x: inner(x) * 2)
    for n in range(1, 5):
        inner(Tensor(np.ones((n, 3), np.float32)))
        outer(Tensor(X))
    assert len(outer.plans) == 1
    inner.weight = nn.Parameter(np.zeros((2, 3), np.float32))
    assert (outer(Tensor(X)).numpy() == 2 * inner.bias.numpy()).all()


class Several:
    """Read by operators and functions of Python alone."""

    def __init__(self):
        self.values = [0]

    def __getitem__(self, i):
        return self.values[i]

    def __len__(self):
        return self.values[0]

    def __iter__(self):
        return iter(list(self.values))

    def __rmul__(self, x):
        return x * self.values[0]

    def __bool__(self):
        return self.values[0] % 2 == 0


def test_what_special_methods_read_is_seen():
    several = Several()
    functions = [
        *(compile(lambda x: x * several[0]), compile(lambda x: x * len(several)), compile(lambda x: x * sum(several))),
        *(compile(lambda x: x * (1 if several else 0)), compile(lambda x: (x * 1) * several.values[0])),
    ]
    for k in range(4):
        several.values[0] = k
        assert [compiled(Tensor(1.0)).item() for compiled in functions] == [k, k, k, 1 - k % 2, k]


def test_what_pythons_library_reads_is_not_looked_at():
    compiled = compile(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    compiled(Tensor(X))
    ((record,),) = compiled._kept.values()
    assert len(record.state._kept) < 10  # the attributes of three modules, and lists of them


class Slots:
    __slots__ = ("k", "unset")

    def __init__(self):
        self.k = 0


@dataclass
class Settings:
    k: int = 0


class Shared:
    k = 0


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.which = "space"
        self.space = SimpleNamespace(k=0)

    def forward(self, x):
        return x * getattr(self, self.which).k


class Strange:
    """Whose attributes are those of a dictionary."""

    __slots__ = ("_held",)

    def __init__(self):
        object.__setattr__(self, "_held", {"k": 0})

    def __getattr__(self, name):
        return self._held[name]

    def __setattr__(self, name, value):
        self._held[name] = value


def test_attributes_in_slots_in_classes_and_by_names_that_are_in_no_code():
    slots, settings, name, local, named = Slots(), Settings(), "".join("k"), threading.local(), Named()
    shared, strange, held, local.k = Shared(), Strange(), SimpleNamespace(k=0), 0
    deep = SimpleNamespace(**{"in": SimpleNamespace(k=0)})
    functions = [
        *(lambda x: x * slots.k, lambda x: x * getattr(slots, name), lambda x: x * asdict(settings)["k"]),
        *(lambda x: x * vars(held)["k"], lambda x: x * getattr(held, name), lambda x: x * held.__dict__["k"]),
        *(lambda x: x * shared.k, lambda x: x * type(shared).k, lambda x: x * getattr(Shared, name)),
        *(lambda x: x * local.k, named, lambda x: x * strange.k, lambda x: x * getattr(deep, "".join("in")).k),
    ]
    compiled = [compile(function) for function in functions]
    for k in range(4):
        slots.k = settings.k = held.k = Shared.k = local.k = named.space.k = strange.k = vars(deep)["in"].k = k
        assert [one(Tensor(1.0)).item() for one in compiled] == [k] * len(compiled)
    assert [len(one.plans) for one in compiled] == [4] * len(compiled)
    slots.unset = "which no code names"
    [one(Tensor(1.0)) for one in compiled]
    assert [len(one.plans) for one in compiled] == [4, 5, *[4] * (len(compiled) - 2)]


def twice(method):
    @functools.wraps(method)
    def wrapper(self, x):
        return method(self, x) * 2

    return wrapper


class Decorated:
    k = 0

    @twice
    def scaled(self, x):
        return x * self.k


def test_what_decorated_methods_read_and_attributes_that_come_later():
    decorated, later = Decorated(), SimpleNamespace()
    scaled = compile(lambda x: decorated.scaled(x))
    masked = compile(lambda x: x if getattr(later, "mask", None) is None else x * later.mask)
    assert (scaled(Tensor(1.0)).item(), masked(Tensor(1.0)).item()) == (0.0, 1.0)
    decorated.k, later.mask = 3, Tensor(5.0)
    assert (scaled(Tensor(1.0)).item(), masked(Tensor(1.0)).item()) == (6.0, 5.0)


@pytest.mark.parametrize(
    "make", [UserDict, ChainMap, UserList, bytearray, memoryview, partial(array, "q"), ConfigParser]
)
def test_what_only_c_or_pythons_library_reads_is_not_taken_for_constant(make):
    kind = make.func if isinstance(make, partial) else make
    is_mapping = kind in (UserDict, ChainMap, ConfigParser)
    held = make() if is_mapping else make(bytearray(8)) if kind is not UserList else make([0])
    key = "k" if is_mapping else 0

    def function(x):
        return x * (int(held[key]["k"]) if kind is ConfigParser else held[key])

    compiled = compile(function)
    with pytest.warns(UserWarning, match=f"it reads an? {kind.__name__}, which may change: make it an argument"):
        for k in range(3):
            held[key] = {"k": str(k)} if kind is ConfigParser else k
            assert compiled(Tensor(1.0)).item() == k
