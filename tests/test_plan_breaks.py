"""What a plan cannot repeat: such a function runs in the plain way, with one warning, and is right each time."""

import copy
import pickle
import warnings
from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass

import numpy as np
import pytest

from tinygrad_cnn import Tensor, arange, check_graph, compile, explain, full, manual_seed, nn, ones, primitive, show
from tinygrad_cnn import functional as F
from tinygrad_cnn.microscope.reading.graph_view import COMPILED


def numbers(call):
    return np.random.default_rng(call).integers(-3, 4, (4, 3)).astype(np.float32)


def as_plain(function, weight):
    """The compiled function beside the plain one, on other numbers each time; returns the warnings."""
    compiled = compile(function)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for call in range(6):
            found = []
            for one in (function, compiled):
                manual_seed(call)
                weight.grad = None
                out = one(Tensor(numbers(call)))
                out.sum().backward()
                found.append((out.numpy(), weight.grad.numpy()))
            for plain, other in zip(*found, strict=True):
                np.testing.assert_array_equal(plain, other)
    return [str(one.message) for one in caught]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (lambda h: h[h > 0] * 2, "how many elements a mask picks"),
        (lambda h: h * len(h[h > 0]), "how many elements a mask picks"),
        (lambda h: h * F.nonzero(h).shape[0], "how many elements nonzero gives"),
        (lambda h: h * F.unique(h).shape[0], "how many elements unique gives"),
        (lambda h: h * F.bincount((h[:, 0] > 0) * 1).shape[0], "how many elements bincount gives"),
        (lambda h: h[: (h[:, 0] > 0).sum() + 1], "a number is read"),
        (lambda h: h + h.detach().requires_grad_() * 2, "requires_grad is set"),
        (lambda h: (manual_seed(3), F.dropout(h))[1], "the generator is seeded"),
    ],
)
def test_it_runs_in_the_plain_way(body, why):
    weight = nn.Parameter(np.ones(3, np.float32))
    found = as_plain(lambda x: body(x * weight), weight)
    assert len(found) == 1 and why in found[0]


def test_an_empty_batch():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3))
    loss_of = compile(lambda x, y: F.cross_entropy(model(x), y, reduction="sum"))
    for _ in range(3):
        loss = loss_of(np.zeros((0, 1, 6, 6), np.float32), np.zeros(0, int))
        loss.backward()
        assert loss.item() == 0 and not model[0].weight.grad.numpy().any()


def test_a_rule_that_takes_no_tensors():
    @primitive
    def first(x):
        return x[:2]

    first.defvjp(lambda g, out, x: np.concatenate([g, np.zeros((2, 3), np.float32)]))
    weight = nn.Parameter(np.ones(3, np.float32))
    found = as_plain(lambda x: first(x * weight) * 2, weight)
    assert len(found) == 1 and "its backward pass cannot be recorded" in found[0]


def test_a_primitive_whose_shape_depends_on_numbers():
    @primitive
    def positive(x):
        return x[x > 0]

    compiled = compile(lambda x: positive(x * 2))
    for call in range(6):
        np.testing.assert_array_equal(compiled(numbers(call)).numpy(), numbers(call)[numbers(call) > 0] * 2)


def test_a_leaf_without_a_gradient():
    x, target = (Tensor(np.ones(3, np.float32), requires_grad=True) for _ in range(2))
    loss_of = compile(F.hinge_embedding_loss)
    for _ in range(3):
        loss_of(x, target).backward()
        assert x.grad is not None and target.grad is None


def test_copies_make_their_own_plans():
    model = nn.Linear(3, 2)
    compiled = compile(model)
    x = np.ones((4, 3), np.float32)
    for one in (copy.deepcopy(compiled), pickle.loads(pickle.dumps(compiled))):
        right = model(x).numpy()
        for _ in range(3):
            np.testing.assert_array_equal(one(x).numpy(), right)
        next(one.parameters()).data += 1
        assert (one(x).numpy() != right).all() and (compiled(x).numpy() == right).all()
    assert repr(compiled) == f"compile({model!r})"


@dataclass
class Output:
    loss: Tensor
    scale: float = 1.0


@pytest.mark.parametrize(
    ("body", "values", "said"),
    [
        (lambda h: Output(h), lambda out: out.loss, "it returns an Output"),
        (lambda h: defaultdict(list, a=h), lambda out: out["a"], "it returns a defaultdict"),
        (lambda h: {h}, lambda out: next(iter(out)), "it returns a set"),
        (lambda h: (one for one in [h]), next, "it returns a generator"),
        (lambda h: lambda: h, lambda out: out(), "it returns a function"),
    ],
)
def test_what_may_hold_tensors_is_not_kept_as_a_result(body, values, said):
    compiled = compile(lambda x: body(x * 2))
    with pytest.warns(UserWarning, match=said) as caught:
        for call in range(4):
            np.testing.assert_array_equal(values(compiled(numbers(call))).numpy(), numbers(call) * 2)
    assert len(caught) == 1


def test_an_object_that_changes_is_no_argument_to_plan_for():
    compiled, given = compile(lambda x, output: x * output.scale), Output(None)
    with pytest.warns(UserWarning, match="it is given an Output, which may change") as caught:
        for given.scale in (1.0, 2.0, 3.0):
            np.testing.assert_array_equal(compiled(numbers(0), given).numpy(), numbers(0) * given.scale)
    assert len(caught) == 1


def test_containers_that_are_given_and_returned():
    Pair = namedtuple("Pair", "a b")
    compiled = compile(lambda given: OrderedDict(x=Pair(given["a"] * 2, [given["b"] + 1, None, "text"])))
    for call in range(4):
        x = Tensor(numbers(call))
        found = compiled(OrderedDict(a=x, b=x))
        assert type(found) is OrderedDict and type(found["x"]) is Pair and found["x"].b[1:] == [None, "text"]
        np.testing.assert_array_equal(found["x"].a.numpy(), numbers(call) * 2)
    assert len(compiled.plans) == 1


def printed(loss, capsys):
    """What explain, show and check_graph say about a loss."""
    show(loss, format="tree", unfold=True)
    tree = capsys.readouterr().out
    report = check_graph(loss)
    return str(explain(loss, details=True)), tree, [(one.op, one.layer, one.line, one.ok) for one in report.nodes]


@pytest.mark.parametrize("wrapped", ["module", "function", "DataParallel"])
def test_explain_show_and_check_graph_look_at_the_function_itself(wrapped, capsys):
    parts = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(8, 3)
    models = [nn.Sequential(*copy.deepcopy(parts)) for _ in range(2)]
    images, labels = np.random.default_rng(0).random((4, 1, 4, 4), np.float32), np.array([0, 1, 2, 0])

    def losses(model, compiled=lambda function: function, module=lambda model: model):
        replayed = module(model)
        loss_of = compiled(lambda model, x, y: F.cross_entropy(model(x), y) * 2)
        for call in range(3):
            manual_seed(call)
            yield loss_of(replayed, images, labels)

    given = {
        "module": dict(module=compile),
        "function": dict(compiled=compile),
        "DataParallel": dict(module=nn.DataParallel),
    }
    for plain, compiled in zip(losses(models[0]), losses(models[1], **given[wrapped]), strict=True):
        state = models[1].state_dict()
        text, tree, checked = printed(compiled, capsys)
        first, note, *rest = tree.splitlines(keepends=True)
        assert COMPILED in note
        assert (text, first + "".join(rest), checked) == printed(plain, capsys)
        plain.backward()
        compiled.backward()
        for one, other in zip(*(model.parameters() for model in models), strict=True):
            np.testing.assert_allclose(one.grad.numpy(), other.grad.numpy(), rtol=1e-5, atol=1e-6)
        for name, one in models[0].state_dict().items():
            np.testing.assert_allclose(state[name].numpy(), one.numpy(), rtol=1e-5)


def test_what_cannot_be_looked_at_any_more():
    model = nn.Dropout(0.5)
    compiled = compile(lambda x: model(x * weight).sum())
    weight = nn.Parameter(np.ones(3, np.float32))
    loss = compiled(numbers(0))
    model.eval()
    with pytest.raises(RuntimeError, match="has changed since it was called"):
        explain(loss)
    loss.backward()
    with pytest.raises(RuntimeError, match="was freed"):
        explain(loss)


def test_what_is_created_inside_is_a_constant():
    compiled = compile(lambda x: x * 2 + full((3,), 2.0) + ones(3) + arange(3) + Tensor([1.0, 2.0, 3.0]))
    for call in range(3):
        np.testing.assert_array_equal(compiled(numbers(call)).numpy(), numbers(call) * 2 + [4.0, 6.0, 8.0])
    assert len(compiled.plans) == 1


def test_what_is_given_is_given_back():
    for module in (nn.Identity(), nn.Dropout(0.5).eval(), nn.Sequential(nn.Flatten(0), nn.Identity())):
        compiled = compile(module)
        for call in range(3):
            x = Tensor(numbers(call), requires_grad=True)
            found = compiled(x)
            assert (found is x) == (module(x) is x)
            found.sum().backward()
            assert (x.grad.numpy() == 1).all()
            np.testing.assert_array_equal(compiled(numbers(call)).numpy(), module(Tensor(numbers(call))).numpy())
        assert len(compiled.plans) == 2
    weight = nn.Parameter(np.ones(3, np.float32))
    compiled = compile(lambda x, y: (y, [x * weight, x]))
    for call in range(3):
        x, y = Tensor(numbers(call)), Tensor(numbers(call + 1), requires_grad=True)
        found, (product, other) = compiled(x, y)
        assert found is y and other is x
        product.sum().backward()
    assert len(compiled.plans) == 1
