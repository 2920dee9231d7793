"""Modules: what is found in them, what they compute, and that every layer's gradients are right twice over."""

import copy
import inspect
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import tinygrad_cnn
from tinygrad_cnn import Tensor, get_rng_state, grad, gradcheck, manual_seed, nn, no_grad, optim, set_rng_state
from tinygrad_cnn import functional as F
from tinygrad_cnn.nn import init


def distinct(*shape):
    """Shuffled numbers from -1 to 1, none of them equal or 0: no maximum has ties, and no ReLU a kink."""
    n = int(np.prod(shape))
    return (2 * np.random.default_rng(0).permutation(n).reshape(shape) + 1.3 - n) / n


def cnn():
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding="same"),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3 * 2 * 2, 4),
    )


def names(module):
    return [name for name, _ in module.named_parameters()]


# ---- gradients


def as_function(module):
    """The module as a function of its input and of its parameters, which `gradcheck` can then vary."""
    parameters = list(module.parameters())

    def function(input, *values):
        for parameter, value in zip(parameters, values, strict=True):
            parameter._array, parameter.node = value._array, value.node
        return module(input)

    return function


def gradient_of(function):
    """All gradients of a function as a function of its arguments and of the cotangent, its last argument."""

    def gradients(*args):
        *inputs, cotangent = args
        found = grad(function(*inputs), inputs, cotangent, create_graph=True, allow_unused=True)
        return [gradient for gradient in found if gradient is not None]

    return gradients


class Seeded(nn.Module):
    """A random module that draws the same numbers every time."""

    def __init__(self, module):
        self.module = module

    def forward(self, input):
        manual_seed(0)
        return self.module(input)


class Loss(nn.Module):
    """A loss with its target in it."""

    def __init__(self, target, *args, kind=nn.CrossEntropyLoss, **settings):
        self.loss, self.target = kind(*args, **settings), np.array(target)

    def forward(self, input):
        return self.loss(input, self.target)


class Against(nn.Module):
    """A module of two inputs, with the second one in it."""

    def __init__(self, module, other):
        self.module, self.other = module, other

    def forward(self, input):
        return self.module(input, np.asarray(self.other, np.asarray(input).dtype))


class OfPairs(nn.Module):
    """A loss of an input, of the same in another order, and of what is in it."""

    def __init__(self, loss, third):
        self.loss, self.third = loss, third

    def forward(self, input):
        return self.loss(input, 0.7 * F.flip(input, 1), self.third.astype(input.dtype))


class Looked(nn.Module):
    """An embedding, whose input has no gradient."""

    def __init__(self):
        self.module = nn.Embedding(4, 3, padding_idx=1)

    def forward(self, input):
        return self.module(np.array([[0, 3], [3, 2]])) * F.sum(input)


class OfMembers(nn.Module):
    """Every container, used."""

    def __init__(self):
        self.steps = nn.ModuleList([nn.Linear(2, 2)])
        self.named = nn.ModuleDict({"a": nn.Tanh()})
        self.scales, self.shifts = nn.ParameterList([[2.0, 3.0]]), nn.ParameterDict({"b": nn.Parameter([1.0])})

    def forward(self, input):
        return self.named["a"](self.steps[0](input)) * self.scales[0] + self.shifts["b"]


CHANCES = 1 / (1 + np.exp(-np.random.default_rng(0).standard_normal((3, 4))))
IMAGES, LINES = (2, 2, 4, 4), (2, 4, 6)
BY_CALL = {  # how the module is made: the shape of its input
    **dict.fromkeys(("ReLU6()", "LeakyReLU(0.2)", "ELU()", "SELU()", "CELU(0.5)", "GELU()", "GELU('tanh')"), (3, 4)),
    **dict.fromkeys(
        ("SiLU()", "Mish()", "Hardtanh(-0.52, 0.63)", "Hardswish()", "Hardsigmoid()", "Softplus()"), (3, 4)
    ),
    **dict.fromkeys(("Softsign()", "LogSigmoid()", "GLU(1)", "Softmax(1)", "LogSoftmax(dim=0)", "PReLU(4)"), (3, 4)),
    **dict.fromkeys(
        (
            "MaxPool1d(3, 2, 1)",
            "AvgPool1d(2)",
            "AdaptiveAvgPool1d(3)",
            "Conv1d(4, 2, 3, padding=1)",
            "AdaptiveMaxPool1d(2)",
            "ConvTranspose1d(4, 2, 3, 2, 1, 1)",
        ),
        LINES,
    ),
    **dict.fromkeys(("AdaptiveAvgPool2d((3, 1))", "AdaptiveMaxPool2d(2)", "ChannelShuffle(2)", "ZeroPad2d(1)"), IMAGES),
    **dict.fromkeys(("Upsample(scale_factor=2)", "Upsample(None, 2, 'bilinear')", "LocalResponseNorm(2)"), IMAGES),
    **dict.fromkeys(("UpsamplingNearest2d(4)", "UpsamplingBilinear2d(4)", "ConstantPad2d(1, 2.0)"), IMAGES),
    "CircularPad2d(1)": IMAGES,
    **dict.fromkeys(("PixelUnshuffle(2)", "ReflectionPad2d((1, 0, 2, 1))", "ReplicationPad2d(2)", "Unfold(2)"), IMAGES),
    **dict.fromkeys(
        (
            "GroupNorm(2, 2)",
            "InstanceNorm2d(2, affine=True)",
            "InstanceNorm2d(2, track_running_stats=True)",
            "LayerNorm([4, 4])",
            "Identity()",
        ),
        IMAGES,
    ),
    **dict.fromkeys(("LazyConv2d(1, 3)", "LazyBatchNorm2d()", "Conv2d(2, 1, 3, 1, 1, padding_mode='reflect')"), IMAGES),
    **dict.fromkeys(
        ("ConvTranspose2d(2, 4, 3, 2, 1, 1, 2)", "Conv2d(2, 1, (1, 3), padding='same', padding_mode='circular')"),
        IMAGES,
    ),
    **{"PixelShuffle(2)": (1, 4, 2, 1), "Unflatten(1, (2, -1))": (3, 4), "Fold((3, 3), 2)": (1, 4, 4)},
    **{"LazyLinear(2)": (3, 4), "LazyBatchNorm1d()": (3, 4), "BatchNorm1d(4)": LINES, "InstanceNorm1d(4)": LINES},
}
MODULES = {
    **{call: (lambda call=call: eval(f"nn.{call}"), shape) for call, shape in BY_CALL.items()},
    "lp pool": (lambda: nn.Sequential(nn.Sigmoid(), nn.LPPool2d(2, 2)), IMAGES),
    "embedding": (Looked, (2,)),
    "members": (OfMembers, (3, 2)),
    "dropout2d": (lambda: Seeded(nn.Dropout2d(0.4)), IMAGES),
    "pairwise distance": (lambda: Against(nn.PairwiseDistance(), CHANCES), (3, 4)),
    "hinge": (lambda: Loss([[1], [-1], [1]], kind=nn.HingeEmbeddingLoss), (3, 4)),
    "soft margin": (lambda: Loss([[1] * 4, [-1] * 4], kind=nn.SoftMarginLoss), (2, 4)),
    "multi margin": (lambda: Loss([2, 0], kind=nn.MultiMarginLoss), (2, 3)),
    "ranking": (lambda: OfPairs(nn.MarginRankingLoss(0.1), np.array([[1.0], [-1.0]])), (2, 4)),
    "cosine": (lambda: OfPairs(nn.CosineEmbeddingLoss(), np.array([1, -1])), (2, 4)),
    "triplet": (lambda: OfPairs(nn.TripletMarginLoss(2.0), CHANCES[:2]), (2, 4)),
    "bce": (lambda: nn.Sequential(nn.Sigmoid(), Against(nn.BCELoss(), CHANCES)), (3, 4)),
    "nll": (lambda: Loss([2, 0], kind=nn.NLLLoss), (2, 3)),
    **{
        name: (lambda name=name: Against(getattr(nn, name)(), CHANCES), (3, 4))
        for name in (
            "MSELoss",
            "L1Loss",
            "SmoothL1Loss",
            "HuberLoss",
            "BCEWithLogitsLoss",
            "KLDivLoss",
            "CosineSimilarity",
        )
    },
    "linear": (lambda: nn.Linear(3, 2), (4, 3)),
    "linear, one row": (lambda: nn.Linear(3, 2), (3,)),
    "linear, no bias": (lambda: nn.Linear(3, 2, bias=False), (2, 2, 3)),
    "linear, in parts": (lambda: nn.DataParallel(nn.Linear(3, 2)), (4, 3)),
    "conv": (lambda: nn.Conv2d(2, 3, 3), (2, 2, 4, 5)),
    "conv, all settings": (lambda: nn.Conv2d(2, 4, (2, 3), (2, 1), (1, 2), (1, 2), groups=2, bias=False), (1, 2, 4, 5)),
    "conv, same": (lambda: nn.Conv2d(1, 2, (2, 3), padding="same"), (1, 1, 3, 3)),
    "max pool": (lambda: nn.MaxPool2d(2), (2, 2, 4, 4)),
    "max pool, overlapping": (lambda: nn.MaxPool2d(3, 1, 1), (1, 2, 4, 3)),
    "max pool, ceil": (lambda: nn.MaxPool2d((2, 1), 2, dilation=2, ceil_mode=True), (1, 1, 6, 5)),
    "avg pool": (lambda: nn.AvgPool2d(2), (2, 2, 4, 4)),
    "avg pool, ceil": (lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), (1, 2, 4, 4)),
    "avg pool, divisor": (lambda: nn.AvgPool2d(3, 1, divisor_override=2), (1, 1, 4, 4)),
    "batch norm": (lambda: nn.BatchNorm2d(2), (3, 2, 2, 2)),
    "batch norm, eval": (lambda: nn.BatchNorm2d(2).eval(), (3, 2, 2, 2)),
    "batch norm, plain": (lambda: nn.BatchNorm2d(2, affine=False, track_running_stats=False).eval(), (3, 2, 2, 2)),
    "dropout": (lambda: Seeded(nn.Dropout(0.4)), (4, 5)),
    "dropout, eval": (lambda: nn.Dropout(0.4).eval(), (4, 5)),
    "flatten": (lambda: nn.Flatten(), (2, 2, 3)),
    "relu": (lambda: nn.ReLU(), (3, 4)),
    "sigmoid": (lambda: nn.Sigmoid(), (3, 4)),
    "tanh": (lambda: nn.Tanh(), (3, 4)),
    "loss": (lambda: Loss([2, 0]), (2, 3)),
    "loss, all settings": (
        lambda: Loss([2, 0, 1], [1.0, 2.0, 3.0], ignore_index=0, reduction="none", label_smoothing=0.1),
        (3, 3),
    ),
    "cnn": (cnn, (3, 2, 4, 4)),
}


@pytest.fixture(params=MODULES)
def module_and_input(request):
    make, shape = MODULES[request.param]
    manual_seed(1)
    return built(make(), shape).double(), distinct(*shape)


def built(module, shape):
    """The module, called once if it waits for its sizes."""
    if module.unbuilt:
        module(np.zeros(shape, np.float32))
    return module


@pytest.mark.filterwarnings("ignore:compile")  # other weights at each call are not what is compiled for
def test_first_derivatives(module_and_input):
    module, x = module_and_input
    assert gradcheck(as_function(module), [x, *module.parameters()])


@pytest.mark.filterwarnings("ignore:compile")  # other weights at each call are not what is compiled for
def test_second_derivatives(module_and_input):
    module, x = module_and_input
    cotangent = np.random.default_rng(2).standard_normal(module(x).shape)
    assert gradcheck(gradient_of(as_function(module)), [x, *module.parameters(), cotangent])


def test_every_layer_is_checked():
    layers = {
        name for name in nn.__all__ if name not in ("Buffer", "Module", "Parameter", "functional", "init", "utils")
    }
    checked = {type(part).__name__ for make, _ in MODULES.values() for part in make().modules()}
    assert layers <= checked | {"ParameterList", "ParameterDict"}


def test_every_class_has_the_name_it_is_found_by():
    classes = {name: getattr(nn, name) for name in nn.__all__ if name[0].isupper()}
    assert {name: kind.__name__ for name, kind in classes.items()} == {name: name for name in classes}
    assert all(getattr(sys.modules[kind.__module__], name) is kind for name, kind in classes.items())  # for pickle


def test_the_check_itself_finds_a_wrong_gradient_of_a_parameter():
    class Wrong(nn.Linear):
        def forward(self, input):
            return F.linear(input, self.weight, Tensor(self.bias.numpy()))  # the bias is cut off

    module = Wrong(3, 2).double()
    with pytest.raises(AssertionError, match="input 2"):
        gradcheck(as_function(module), [distinct(4, 3), *module.parameters()])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", MODULES)
def test_results_and_gradients_keep_the_dtype(kind, dtype):
    make, shape = MODULES[kind]
    module = built(make(), shape)
    module = module.double() if dtype == np.float64 else module
    x = Tensor(distinct(*shape).astype(dtype), requires_grad=True)
    out = module(x)
    out.sum().backward()
    assert out.dtype == dtype
    assert {tensor.grad.dtype for tensor in (x, *module.parameters())} == {np.dtype(dtype)}
    assert type(out) is Tensor
    assert all(type(parameter.grad) is Tensor for parameter in module.parameters())


# ---- what is found in a module


class Block(nn.Module):
    """Everything a module can hold, and things it cannot."""

    def __init__(self):
        self.parts = [nn.Linear(1, 1), {"deep": nn.Linear(1, 1, bias=False)}, "text", None]
        self.mean = nn.Buffer([0.0])
        self.scale = nn.Parameter([1.0])
        self.pair = (nn.Parameter([2.0]), nn.Buffer([3.0]))
        self.by_name = {"a": nn.ReLU(), 5: nn.BatchNorm2d(1)}
        self.constant = Tensor([9.0], requires_grad=True)  # a Tensor is no Parameter, as in PyTorch
        self.nothing = None


def test_parameters_are_named_by_their_path_own_ones_first():
    assert names(Block()) == [
        "scale",
        "pair.0",
        "parts.0.weight",
        "parts.0.bias",
        "parts.1.deep.weight",
        "by_name.5.weight",
        "by_name.5.bias",
    ]


def test_buffers_children_modules_and_state():
    block = Block()
    batch_norm = ["by_name.5.running_mean", "by_name.5.running_var", "by_name.5.num_batches_tracked"]
    assert [name for name, _ in block.named_buffers()] == ["mean", "pair.1", *batch_norm]
    assert [name for name, _ in block.named_children()] == ["parts.0", "parts.1.deep", "by_name.a", "by_name.5"]
    assert [name for name, _ in block.named_modules()] == ["", "parts.0", "parts.1.deep", "by_name.a", "by_name.5"]
    assert next(block.modules()) is block
    assert list(block.children()) == list(block.modules())[1:]
    assert list(block.state_dict()) == [
        "scale",
        "pair.0",
        "mean",
        "pair.1",
        "parts.0.weight",
        "parts.0.bias",
        "parts.1.deep.weight",
        "by_name.5.weight",
        "by_name.5.bias",
        *batch_norm,
    ]


def test_parameters_and_buffers_are_the_objects_themselves():
    layer = nn.BatchNorm2d(2)
    assert [id(p) for p in layer.parameters()] == [id(layer.weight), id(layer.bias)]
    assert [id(b) for b in layer.buffers()][:2] == [id(layer.running_mean), id(layer.running_var)]


def test_what_is_set_later_is_found_and_what_is_removed_is_not():
    layer = nn.Linear(1, 1)
    layer.extra = nn.Parameter([1.0])
    layer.bias = None
    layer.register_buffer("count", [0.0])
    assert list(layer.state_dict()) == ["weight", "extra", "count"]
    assert type(layer.count) is nn.Buffer


def test_a_shared_parameter_is_counted_once_and_saved_under_both_names():
    encoder, decoder = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    decoder.weight = encoder.weight
    model = nn.Sequential({"encoder": encoder, "decoder": decoder})
    assert names(model) == ["encoder.weight"]
    assert list(model.state_dict()) == ["encoder.weight", "decoder.weight"]
    model(np.ones((1, 2), np.float32)).sum().backward()
    x = np.ones((2, 1))
    w = encoder.weight.numpy()
    ones = np.ones((1, 2))
    np.testing.assert_allclose(encoder.weight.grad, (ones.T @ (w @ x).T) + (w.T @ ones.T) @ x.T, rtol=1e-5)


def test_a_shared_module_is_applied_twice_counted_once_and_saved_under_both_names():
    half = nn.Linear(1, 1, bias=False)
    half.weight.data[:] = 0.5
    model = nn.Sequential(half, half)
    assert model(np.ones((1, 1), np.float32)).item() == 0.25
    assert names(model) == ["0.weight"]
    assert [name for name, _ in model.named_modules()] == ["", "0"]
    assert list(model.children()) == [half]
    assert list(model.state_dict()) == ["0.weight", "1.weight"]
    assert len(model) == 2


class Meeting(nn.Module):
    """Two members, whose names are given."""

    def __init__(self, first, second):
        (name, member), (other, twin) = first, second
        setattr(self, name, member)
        setattr(self, other, {**getattr(self, other, {}), **twin} if isinstance(twin, dict) else twin)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            Meeting(("d", {1: nn.Linear(1, 2)}), ("d", {"1": nn.Linear(1, 3)})),
            r"'d\.1': Linear\(.*1.*2.*\) and Linear\(.*1.*3.*\)",
        ),
        (
            Meeting(("d", {1: nn.Parameter(np.ones(2))}), ("d", {"1": nn.Buffer(np.ones(3))})),
            r"'d\.1': Parameter\(shape=\(2,\)\) and Buffer\(shape=\(3,\)\)",
        ),
        (
            Meeting(("a", nn.Linear(1, 1)), ("a.bias", nn.Parameter(np.ones(2)))),
            r"'a\.bias': Parameter\(shape=\(2,\)\) and Parameter\(shape=\(1,\)\)",
        ),
        (Meeting(("a.b", nn.ReLU()), ("a", {"b": nn.Tanh()})), r"'a\.b': ReLU\(\) and Tanh\(\)"),
    ],
)
def test_two_members_of_one_name_are_an_error_wherever_names_are_made(model, message):
    whole = nn.Sequential(model)
    for names in (whole.named_parameters, whole.named_modules, whole.state_dict, whole.parameters):
        with pytest.raises(ValueError, match="two members have the name '0.*" + message[1:]):
            list(names())
    with pytest.raises(ValueError, match=message):
        model.load_state_dict({})


def test_children_of_one_name_are_an_error():
    with pytest.raises(ValueError, match=r"two members have the name 'd\.1'"):
        list(Meeting(("d", {1: nn.ReLU()}), ("d", {"1": nn.Tanh()})).named_children())


def test_keys_that_make_one_name_are_no_matter_where_nothing_is_named():
    layer = nn.ReLU()
    twice = Meeting(("d", {1: layer}), ("d", {"1": layer}))
    assert [name for name, _ in twice.named_modules()] == ["", "d.1"]
    assert list(Meeting(("d", {1: "a"}), ("d", {"1": "b"})).named_parameters()) == []


def test_a_module_that_is_its_own_child_ends():
    outer, inner = nn.Module(), nn.Linear(1, 1)
    outer.inner, outer.self, inner.parent = inner, outer, outer
    assert names(outer) == ["inner.weight", "inner.bias"]
    assert list(outer.state_dict()) == ["inner.weight", "inner.bias"]
    assert list(outer.modules()) == [outer, inner]
    assert not outer.eval().inner.training
    assert "(self): ..." in repr(outer)
    assert names(copy.deepcopy(outer)) == ["inner.weight", "inner.bias"]


class WithSuper(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x):
        return self.layer(x)


class WithoutSuper(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(2, 1)

    def forward(self, x):
        return self.layer(x)


@dataclass  # which makes an __init__ of its own, and the class unhashable
class AsDataclass(nn.Module):
    layer: nn.Module

    def forward(self, x):
        return self.layer(x)


@pytest.mark.parametrize("make", [WithSuper, WithoutSuper, lambda: AsDataclass(nn.Linear(2, 1))])
def test_a_module_needs_no_super_init(make):
    model = nn.Sequential(make())
    assert names(model) == ["0.layer.weight", "0.layer.bias"]
    assert model.training and not model.eval()[0].layer.training
    assert model(np.ones((3, 2), np.float32)).shape == (3, 1)


def test_forgetting_forward_is_said():
    class Forgetful(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Forgetful has no forward"):
        Forgetful()(1)


def test_a_call_passes_all_arguments_on():
    class Sum(nn.Module):
        def forward(self, a, b=1, *, c=0):
            return a + b + c

    assert (Sum()(1), Sum()(1, 2), Sum()(1, 2, c=3)) == (2, 3, 6)


@pytest.mark.parametrize(
    ("layer", "name", "value"),
    [
        (nn.Linear(1, 1), "weight", Tensor([[1.0]])),
        (nn.Linear(1, 1), "bias", np.zeros(1)),
        (nn.Linear(1, 1), "bias", nn.Buffer([0.0])),
        (nn.BatchNorm2d(1), "running_mean", Tensor([0.0], requires_grad=True)),
        (nn.BatchNorm2d(1), "running_mean", nn.Parameter([0.0])),
        (nn.BatchNorm2d(1), "running_var", 1.0),
    ],
)
def test_a_parameter_or_buffer_cannot_be_lost_by_assignment(layer, name, value):
    before = getattr(layer, name)
    with pytest.raises(TypeError, match=rf"\.{name} is a {type(before).__name__}.*\.{name}\.data"):
        setattr(layer, name, value)
    assert getattr(layer, name) is before
    setattr(layer, name, type(before)(before))
    assert getattr(layer, name) is not before


def test_a_constant_that_is_assigned_to_a_buffer_stays_one():
    module = nn.Module()
    module.register_buffer("mean", Tensor([1.0]), persistent=False)
    module.mean = 0.5 * module.mean + Tensor([1.0])
    assert type(module.mean) is nn.Buffer and module.mean.tolist() == [1.5] and not module.state_dict()
    module.mean = given = Tensor([1.0])
    given += 0.5  # of the same memory
    module.register_buffer("mean", module.mean)
    assert module.state_dict()["mean"].tolist() == [1.5]


def test_apply_calls_modules_from_first_to_last_those_inside_before_their_own():
    names, model = [], nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.ReLU(), nn.Tanh()), nn.ELU())
    assert model.apply(lambda module: names.append(type(module).__name__)) is model
    assert names == ["Linear", "ReLU", "Tanh", "Sequential", "ELU", "Sequential"]


def test_parameters_and_buffers():
    parameter, frozen, buffer = nn.Parameter([1.0]), nn.Parameter([1.0], False), nn.Buffer(np.arange(2))
    assert (parameter.requires_grad, frozen.requires_grad, buffer.requires_grad) == (True, False, False)
    assert (parameter.dtype, buffer.dtype) == (np.float32, np.int64)
    assert type(parameter * 2) is type(parameter.detach()) is type(buffer * 2) is Tensor
    source = Tensor([1.0], requires_grad=True)
    copied = nn.Parameter(source * 2)  # of a Tensor it takes the numbers, not the history
    assert copied.is_leaf and copied.item() == 2
    taken = nn.Buffer(source)
    taken.data += 1
    assert source.item() == 1
    with pytest.raises(TypeError, match="int64"):
        nn.Parameter(np.arange(2))


# ---- changing a module


def test_train_and_eval_reach_every_module():
    block = nn.Sequential(Block(), nn.Dropout())
    assert all(part.training for part in block.modules())
    assert block.eval() is block
    assert len(list(block.modules())) == 7 and not any(part.training for part in block.modules())
    assert block.train() is block
    assert all(part.training for part in block.modules())
    assert not block.train(False).training
    assert nn.Dropout().training  # that of one module is not that of all


def test_double_and_float_change_numbers_in_place_of_the_same_parameters():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm2d(1))
    before = list(model.parameters())
    model[0](np.ones((1, 2), np.float32)).sum().backward()
    assert model.double() is model
    assert [a is b for a, b in zip(model.parameters(), before, strict=True)] == [True] * 4
    dtypes = {name: value.dtype for name, value in model.state_dict().items()}
    assert dtypes.pop("1.num_batches_tracked") == np.int64
    assert set(dtypes.values()) == {np.dtype(np.float64)}
    assert model[0].weight.grad.dtype == np.float64
    np.testing.assert_array_equal(model[0].weight.grad, np.ones((2, 2)))
    assert {parameter.dtype for parameter in model.float().parameters()} == {np.dtype(np.float32)}
    assert model[0].weight.grad.dtype == np.float32


def test_float_of_float_leaves_a_recorded_graph_valid():
    layer = nn.Linear(1, 1)
    out = layer(np.ones((1, 1), np.float32))
    layer.float()
    out.sum().backward()
    assert layer.weight.grad.item() == 1


def test_conversion_makes_a_recorded_graph_an_error():
    layer = nn.Linear(1, 1)
    out = layer(layer(np.ones((1, 1), np.float32)))
    layer.double()
    with pytest.raises(RuntimeError, match="changed"):
        out.sum().backward()


def test_zero_grad():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model[0].requires_grad_(False)
    model(np.ones((1, 2), np.float32)).sum().backward()
    assert model[1].weight.grad is not None
    model.zero_grad()
    assert [parameter.grad for parameter in model.parameters()] == [None] * 4


def test_gradients_add_up_until_zero_grad():
    layer = nn.Linear(1, 1)
    for _ in range(3):
        layer(np.full((1, 1), 2, np.float32)).sum().backward()
    assert layer.weight.grad.item() == 6


def test_frozen_modules_get_no_gradient_and_pass_it_on():
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    assert model[2].requires_grad_(False) is model[2]
    model(np.ones((1, 2), np.float32)).sum().backward()
    assert [parameter.grad is not None for parameter in model.parameters()] == [True, True, False, False]
    model.requires_grad_(False)
    assert not model(np.ones((1, 2), np.float32)).requires_grad
    model.requires_grad_()
    assert all(parameter.requires_grad for parameter in model.parameters())


# ---- saving a module


def test_a_state_dict_has_no_history_and_shares_the_memory_of_the_layer():
    layer = nn.Linear(2, 2)
    state, kept = layer.state_dict(), copy.deepcopy(layer.state_dict())
    assert not any(value.requires_grad for value in state.values())
    state["weight"][...] = 7
    layer.bias.data.fill_(3)
    assert np.all(layer.weight.numpy() == 7) and np.all(state["bias"].numpy() == 3)
    layer.load_state_dict(kept)
    np.testing.assert_array_equal(state["weight"], kept["weight"])


def test_a_graph_notices_what_is_written_through_a_state_dict():
    layer = nn.Linear(2, 2)
    loss = (layer(Tensor([[1.0, 2.0]], requires_grad=True)) ** 2).sum()
    layer.state_dict()["weight"].mul_(2)
    with pytest.raises(RuntimeError, match="was changed"):
        loss.backward()


@pytest.mark.parametrize("as_given", [lambda t: t, lambda t: t.numpy(), lambda t: t.tolist()])
def test_a_state_moves_to_another_module(as_given):
    source, target = cnn().eval(), cnn().eval()
    source[1].running_mean.data[:] = [1, 2, 3]
    kept = list(target.parameters())
    result = target.load_state_dict({name: as_given(value) for name, value in source.state_dict().items()})
    assert result == ([], [])
    x = distinct(2, 2, 4, 4).astype(np.float32)
    np.testing.assert_array_equal(target(x), source(x))
    assert [a is b for a, b in zip(target.parameters(), kept, strict=True)] == [True] * len(kept)
    source[5].weight.data[:] = 0  # the numbers were copied
    assert target[5].weight.numpy().any()


def test_loading_keeps_the_dtype_of_the_module():
    target = nn.BatchNorm2d(2).double()
    target.load_state_dict(nn.BatchNorm2d(2).state_dict())
    assert target.weight.dtype == np.float64 and target.num_batches_tracked.dtype == np.int64


WRONG_STATES = {
    "missing": ({"0.weight": None, "2.bias": None}, {}, ["missing: 0.weight", "missing: 2.bias"]),
    "unexpected": ({}, {"3.weight": 0.0, "bias": 1.0}, ["unexpected: 3.weight", "unexpected: bias"]),
    "shapes": (
        {},
        {"0.weight": np.zeros((3, 2)), "2.bias": np.zeros(())},
        [r"0.weight has shape \(3, 2\), expected \(2, 3\)", r"2.bias has shape \(\), expected \(1,\)"],
    ),
    "all at once": (
        {"0.bias": None},
        {"2.weight": np.zeros((2, 1)), "more": 0.0},
        ["2.weight has shape", "missing: 0.bias", "unexpected: more"],
    ),
}


@pytest.mark.parametrize(("removed", "added", "messages"), WRONG_STATES.values(), ids=WRONG_STATES)
def test_a_state_that_does_not_fit_is_refused_key_by_key_and_changes_nothing(removed, added, messages):
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    state = {name: value + 1 for name, value in before.items() if name not in removed}
    with pytest.raises(RuntimeError, match="does not fit Sequential") as error:
        model.load_state_dict({**state, **added})
    for message in messages:
        error.match(message)
    assert len(str(error.value).splitlines()) == 1 + len(messages)  # and no other key
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_state_that_holds_no_numbers_changes_nothing():
    layer = nn.Linear(1, 1)
    before = layer.weight.item()
    with pytest.raises(TypeError, match="real numbers, got bias of <U3"):
        layer.load_state_dict({"weight": [[before + 1]], "bias": ["abc"]})
    assert layer.weight.item() == before


def test_without_strict_what_fits_is_taken_and_the_rest_told():
    model = nn.Linear(2, 1)
    bias = model.bias.item()
    keys = model.load_state_dict({"weight": [[5.0, 6.0]], "other": 1.0}, strict=False)
    assert (keys.missing_keys, keys.unexpected_keys) == (["bias"], ["other"])
    assert model.weight.tolist() == [[5, 6]] and model.bias.item() == bias
    with pytest.raises(RuntimeError, match=r"weight has shape \(2,\)"):  # a shape is wrong all the same
        model.load_state_dict({"weight": [7.0, 8.0]}, strict=False)
    assert model.weight.tolist() == [[5, 6]]


def test_loading_makes_a_recorded_graph_an_error():
    layer = nn.Linear(1, 1)
    out = layer(layer(np.ones((1, 1), np.float32)))
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(RuntimeError, match="changed"):
        out.sum().backward()


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda model: pickle.loads(pickle.dumps(model))}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_is_independent_and_trains(copied):
    model = cnn()
    model[5].weight = model[5].weight
    model[0].bias.requires_grad_(False)
    x = distinct(2, 2, 4, 4).astype(np.float32)
    model(x).sum().backward()
    model.eval()
    twin = copied(model)
    assert names(twin) == names(model) and not twin[1].training
    for own, other in zip((*model.parameters(), *model.buffers()), (*twin.parameters(), *twin.buffers()), strict=True):
        assert type(own) is type(other) and own is not other
        assert not np.shares_memory(own.numpy(), other.numpy())
        assert own.requires_grad == other.requires_grad
        np.testing.assert_array_equal(own, other)
        assert (own.grad is None) == (other.grad is None)
        if own.grad is not None:
            np.testing.assert_array_equal(own.grad, other.grad)
    before = model[5].weight.grad.numpy().copy()
    twin.zero_grad()
    (twin(x) * 2).sum().backward()
    np.testing.assert_array_equal(model[5].weight.grad, before)
    assert twin[5].weight.grad is not None
    twin[5].weight.data -= twin[5].weight.grad
    assert not np.array_equal(twin(x), model(x))


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_what_is_shared_is_shared_in_the_copy(copied):
    layer = nn.Linear(1, 1)
    model = copied(nn.Sequential({"a": layer, "b": layer, "c": nn.Linear(1, 1)}))
    assert model.a is model.b and model.a is not layer
    model.c.weight = model.a.weight
    assert names(copied(model)) == ["a.weight", "a.bias", "c.bias"]


def test_a_pickled_module_trains_in_another_process():
    # where moments are counted anew: a leaf that remembered being changed at moment 10,000 would be from the future
    layer = nn.Linear(1, 1)
    for _ in range(10_000):
        layer.weight.data = layer.weight.data
    program = "import pickle, sys; layer = pickle.load(sys.stdin.buffer); (layer([[2.0]]) ** 2).sum().backward(); "
    program += "print(layer.weight.grad is not None)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps(layer),
        capture_output=True,
        timeout=60,
        check=False,
        cwd=Path(tinygrad_cnn.__file__).parents[1],
    )
    assert done.stdout.decode().strip() == "True", done.stderr.decode()


@pytest.mark.parametrize("copied", [copy.copy, *COPIES.values()])
def test_only_leaves_are_copied(copied):
    out = nn.Linear(1, 1)(np.ones((1, 1), np.float32))
    with pytest.raises(RuntimeError, match="only a leaf can be copied"):
        copied(out)
    assert copied(out.detach()).item() == out.item()


# ---- showing a module


def test_a_module_is_shown_with_its_settings_and_children():
    class Net(nn.Module):
        def __init__(self):
            self.layers = [nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.Sequential(nn.ReLU(), nn.Dropout(0.1))]

        def extra_repr(self):
            return "small"

    assert repr(Net()).splitlines() == [
        "Net(",
        "  small",
        "  (layers.0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)",
        "  (layers.1): Sequential(",
        "    (0): ReLU()",
        "    (1): Dropout(p=0.1)",
        "  )",
        ")",
    ]
    assert repr(nn.Sequential()) == "Sequential()"


# ---- initial weights


INITIAL = {
    "linear": (lambda: nn.Linear(400, 300), 400),
    "conv": (lambda: nn.Conv2d(64, 200, (3, 5)), 64 * 3 * 5),
    "conv, groups": (lambda: nn.Conv2d(64, 200, 5, groups=8), 8 * 5 * 5),
}


@pytest.mark.parametrize(("make", "fan_in"), INITIAL.values(), ids=INITIAL)
def test_initial_weights_are_uniform_within_one_over_root_fan_in(make, fan_in):
    manual_seed(0)
    layer = make()
    bound = fan_in**-0.5
    for tensor in (layer.weight, layer.bias):
        values = tensor.numpy().ravel()
        error = bound / np.sqrt(len(values))  # of the mean, roughly
        assert tensor.dtype == np.float32
        assert np.abs(values).max() <= bound * (1 + 1e-6)
        assert abs(values.mean()) < 3 * error
        assert np.std(values) == pytest.approx(bound / np.sqrt(3), rel=3 / np.sqrt(len(values)))
    assert np.abs(layer.weight.numpy()).max() > 0.999 * bound


def test_a_layer_without_inputs_begins_at_zero():
    assert nn.Linear(0, 2).bias.tolist() == [0, 0]


def test_batch_norm_begins_as_identity():
    state = nn.BatchNorm2d(2).state_dict()
    assert {name: value.tolist() for name, value in state.items()} == {
        "weight": [1, 1],
        "bias": [0, 0],
        "running_mean": [0, 0],
        "running_var": [1, 1],
        "num_batches_tracked": 0,
    }


def test_one_seed_gives_the_same_bits():
    def run(seed):
        manual_seed(seed)
        model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(), nn.Conv2d(1, 1, 2))
        state = {name: value.tolist() for name, value in model.state_dict().items()}
        return state, model[1](np.ones(50)).tolist()

    assert run(3) == run(3)
    weights, dropped = run(4)
    assert weights != run(3)[0] and dropped != run(3)[1]


def test_random_numbers_continue_from_a_saved_state():
    manual_seed(5)
    nn.Linear(2, 2)
    state = get_rng_state()
    expected = nn.Linear(2, 2).weight.tolist()
    assert nn.Linear(2, 2).weight.tolist() != expected
    set_rng_state(state)
    assert nn.Linear(2, 2).weight.tolist() == expected


# ---- layers


def test_linear_computes_the_formula():
    layer = nn.Linear(3, 2)
    x = distinct(4, 3).astype(np.float32)
    np.testing.assert_allclose(layer(x), x @ layer.weight.numpy().T + layer.bias.numpy(), rtol=1e-6)


IMAGES = distinct(2, 4, 7, 7)
SCORES, CLASSES = distinct(3, 3), np.array([2, 0, 1])
PASSED_ON = {
    "conv": (
        nn.Conv2d(4, 2, (2, 3), (1, 2), (3, 1), (2, 1), 2),
        lambda m: F.conv2d(IMAGES, m.weight, m.bias, stride=(1, 2), padding=(3, 1), dilation=(2, 1), groups=2),
    ),
    "conv, same": (nn.Conv2d(4, 2, 2, padding="same"), lambda m: F.conv2d(IMAGES, m.weight, m.bias, padding="same")),
    "max pool": (nn.MaxPool2d(2), lambda m: F.max_pool2d(IMAGES, 2, 2)),
    "max pool, settings": (
        nn.MaxPool2d((3, 2), (2, 3), 1, 2, ceil_mode=True),
        lambda m: F.max_pool2d(IMAGES, (3, 2), stride=(2, 3), padding=1, dilation=2, ceil_mode=True),
    ),
    "avg pool": (nn.AvgPool2d(2), lambda m: F.avg_pool2d(IMAGES, 2, 2)),
    "avg pool, settings": (
        nn.AvgPool2d((3, 2), (2, 3), 1, True, False),
        lambda m: F.avg_pool2d(IMAGES, (3, 2), stride=(2, 3), padding=1, ceil_mode=True, count_include_pad=False),
    ),
    "avg pool, divisor": (
        nn.AvgPool2d(3, divisor_override=7),
        lambda m: F.avg_pool2d(IMAGES, 3, divisor_override=7),
    ),
    "batch norm": (
        nn.BatchNorm2d(4, eps=0.5),
        lambda m: F.batch_norm(IMAGES, None, None, m.weight, m.bias, training=True, eps=0.5),
    ),
    "flatten": (nn.Flatten(), lambda m: IMAGES.reshape(2, -1)),
    "flatten, some": (nn.Flatten(0, 2), lambda m: IMAGES.reshape(-1, 7)),
    "relu": (nn.ReLU(), lambda m: F.relu(IMAGES)),
    "sigmoid": (nn.Sigmoid(), lambda m: F.sigmoid(IMAGES)),
    "tanh": (nn.Tanh(), lambda m: F.tanh(IMAGES)),
    "loss": (Loss(CLASSES), lambda m: F.cross_entropy(SCORES, CLASSES)),
    "loss, sum": (Loss(CLASSES, reduction="sum"), lambda m: F.cross_entropy(SCORES, CLASSES, reduction="sum")),
    "loss, ignored": (Loss(CLASSES, ignore_index=2), lambda m: F.cross_entropy(SCORES, CLASSES, ignore_index=2)),
    "loss, settings": (
        Loss(CLASSES, [1.0, 2.0, 3.0], label_smoothing=0.3),
        lambda m: F.cross_entropy(SCORES, CLASSES, Tensor([1.0, 2.0, 3.0]), label_smoothing=0.3),
    ),
}


@pytest.mark.parametrize(("module", "function"), PASSED_ON.values(), ids=PASSED_ON)
def test_layers_pass_their_settings_on_to_the_function(module, function):
    x = SCORES if isinstance(module, Loss) else IMAGES
    np.testing.assert_array_equal(module(x), function(module))


def test_the_weights_of_a_loss_are_saved_with_it():
    loss = nn.CrossEntropyLoss([1.0, 2.0])
    assert list(loss.state_dict()) == ["weight"] and list(loss.parameters()) == []
    assert list(nn.CrossEntropyLoss().state_dict()) == []


def test_dropout():
    manual_seed(0)
    layer, x = nn.Dropout(0.25), np.ones(100_000, np.float32)
    out = layer(x)
    np.testing.assert_allclose(np.unique(out), [0, 1 / 0.75])
    assert (out == 0).mean() == pytest.approx(0.25, abs=0.005)
    assert (layer(x) != out).any()  # drawn anew for each call
    np.testing.assert_array_equal(layer.eval()(x), x)
    np.testing.assert_array_equal(nn.Dropout(0)(x), x)
    assert not nn.Dropout(1)(x).any()


def test_batch_norm_in_training_normalises_and_moves_the_running_statistics():
    layer = nn.BatchNorm2d(2, momentum=0.25).double()
    x = distinct(4, 2, 3, 3) * 5 + 2
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    out = layer(x)
    np.testing.assert_allclose(out.numpy().mean((0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(out.numpy().var((0, 2, 3)), var / (var + 1e-5), rtol=1e-12)
    np.testing.assert_allclose(layer.running_mean, 0.25 * mean)
    np.testing.assert_allclose(layer.running_var, 0.75 + 0.25 * var * 36 / 35)
    assert layer.num_batches_tracked.item() == 1
    state = copy.deepcopy(layer.state_dict())
    out = layer.eval()(x).numpy()
    shape = (1, 2, 1, 1)
    expected = (x - (0.25 * mean).reshape(shape)) / np.sqrt((0.75 + 0.25 * var * 36 / 35).reshape(shape) + 1e-5)
    np.testing.assert_allclose(out, expected)
    for name, value in layer.state_dict().items():  # evaluation changes nothing
        np.testing.assert_array_equal(value, state[name])


def test_batch_norm_without_momentum_averages_all_batches():
    layer = nn.BatchNorm2d(1, momentum=None).double()
    batches = [distinct(2, 1, 2, 2) * k for k in (1, 2, 4)]
    for batch in batches:
        layer(batch)
    np.testing.assert_allclose(layer.running_mean, [np.mean(batches)])
    np.testing.assert_allclose(layer.running_var, [np.mean([batch.var(ddof=1) for batch in batches])])
    assert layer.num_batches_tracked.item() == 3


def test_batch_norm_without_running_statistics_uses_the_batch_in_evaluation_too():
    layer = nn.BatchNorm2d(1, affine=False, track_running_stats=False)
    assert list(layer.state_dict()) == []
    x = distinct(2, 1, 2, 2)
    np.testing.assert_array_equal(layer(x), layer.eval()(x))


def test_batch_norm_does_not_record_its_running_statistics():
    layer = nn.BatchNorm2d(1)
    for _ in range(2):
        layer(Tensor(distinct(2, 1, 2, 2), requires_grad=True))
    assert not layer.running_mean.requires_grad and not layer.running_var.requires_grad


def test_nothing_is_recorded_without_gradients():
    with no_grad():
        assert not cnn()(distinct(2, 2, 4, 4)).requires_grad


def test_a_sequential_is_a_sequence():
    a, b, c = nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)
    model = nn.Sequential(a, b, c)
    assert list(model) == [a, b, c] and len(model) == 3
    assert model[0] is a and model[-1] is c
    assert names(model[1:]) == ["2.weight", "2.bias"]  # names stay, as in PyTorch
    assert list(model[::2]) == [a, c]
    with pytest.raises(IndexError):
        model[3]
    x = distinct(2, 2)
    assert nn.Sequential()(x) is x


def test_a_sequential_with_names():
    model = nn.Sequential({"first": nn.Linear(2, 3), "second": nn.Linear(3, 1)})
    assert names(model) == ["first.weight", "first.bias", "second.weight", "second.bias"]
    assert model.second is model[1]
    assert model(np.ones((1, 2), np.float32)).shape == (1, 1)


ERRORS = {
    "not a module": (lambda: nn.Sequential(nn.ReLU(), F.relu), TypeError, "modules, got .* at 1"),
    "a list": (lambda: nn.Sequential([nn.ReLU()]), TypeError, "modules, got"),
    "a class": (lambda: nn.Sequential(nn.ReLU), TypeError, "modules, got"),
    "a name with a dot": (lambda: nn.Sequential({"a.b": nn.ReLU()}), ValueError, "'a.b'"),
    "no name": (lambda: nn.Sequential({"": nn.ReLU()}), ValueError, "''"),
    "a taken name": (lambda: nn.Sequential({"forward": nn.ReLU()}), ValueError, "'forward'"),
    "groups": (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "3 and 4 / 2"),
    "no groups": (lambda: nn.Conv2d(3, 4, 3, groups=0), ValueError, "groups"),
    "kernel": (lambda: nn.Conv2d(1, 1, 0), ValueError, "kernel_size as an integer of at least 1"),
    "three sizes": (lambda: nn.Conv2d(1, 1, (1, 2, 3)), ValueError, "kernel_size as one integer or two"),
    "stride": (lambda: nn.Conv2d(1, 1, 1, stride=0), ValueError, "stride as an integer of at least 1"),
    "padding": (lambda: nn.Conv2d(1, 1, 1, padding=-1), ValueError, "padding as an integer of at least 0"),
    "padding by name": (lambda: nn.Conv2d(1, 1, 1, padding="full"), ValueError, "'full'"),
    "dilation": (lambda: nn.Conv2d(1, 1, 1, dilation=0), ValueError, "dilation as an integer of at least 1"),
    "probability": (lambda: nn.Dropout(1.5), ValueError, "at least 0 and at most 1, got 1.5"),
    "features": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(5, 1))(Tensor(distinct(2, 3, 1, 2), requires_grad=True)),
        ValueError,
        r"linear expects 5 features, got 6: the input was \(2, 3, 1, 2\) before",
    ),
    "channels": (lambda: nn.Conv2d(3, 1, 1)(np.ones((1, 2, 4, 4))), ValueError, "expects 3 channels, got 2"),
    "batch norm of rows": (lambda: nn.BatchNorm2d(2)(np.ones((3, 2))), ValueError, r"images .* got \(3, 2\)"),
    "batch norm channels": (lambda: nn.BatchNorm2d(3)(np.ones((3, 2, 1, 1))), ValueError, "one per channel"),
    "batch of one pixel": (lambda: nn.BatchNorm2d(1)(np.ones((1, 1, 1, 1))), ValueError, "more than one value"),
    "class": (lambda: nn.CrossEntropyLoss()(distinct(1, 2), np.array([2])), ValueError, "from 0 to 1, got 2"),
    "reduction": (lambda: nn.CrossEntropyLoss(reduction="all"), ValueError, "'all'"),
}


@pytest.mark.parametrize(("act", "kind", "message"), ERRORS.values(), ids=ERRORS)
def test_errors_say_what_was_expected(act, kind, message):
    with pytest.raises(kind, match=message):
        act()


# ---- what modules can do besides


def test_settings_are_told_and_refused():
    assert repr(nn.LeakyReLU(0.2, inplace=True)) == "LeakyReLU(negative_slope=0.2, inplace=True)"
    assert (repr(nn.ReLU()), repr(nn.GELU()), repr(nn.Softmax(1))) == (
        "ReLU()",
        "GELU(approximate='none')",
        "Softmax(dim=1)",
    )
    assert nn.LeakyReLU.__name__ == "LeakyReLU" and "negative_slope" in str(inspect.signature(nn.LeakyReLU))
    for call, error, message in (
        (lambda: nn.LeakyReLU("x"), TypeError, "LeakyReLU expects negative_slope as a finite number, got 'x'"),
        (lambda: nn.ReLU(1, 2), TypeError, "ReLU.*too many positional arguments"),
        (lambda: nn.Softmax(), TypeError, "Softmax.*missing a required argument: 'dim'"),
        (lambda: nn.MSELoss(reduction="all"), ValueError, 'MSELoss expects reduction as "mean"'),
        (
            lambda: nn.Linear(2, 2, device="cuda"),
            TypeError,
            "Linear has no argument device: NumPy computes on the CPU",
        ),
        (lambda: nn.Conv2d(1, 1, 1, padding_mode="x"), ValueError, 'Conv2d expects padding_mode as "zeros"'),
        (lambda: nn.GroupNorm(2, 3), ValueError, "GroupNorm expects num_groups to divide the channels: 3 / 2"),
        (lambda: nn.LazyConv2d(), TypeError, "LazyConv2d: missing a required argument: 'out_channels'"),
    ):
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("LSTM", "sequences are not here"),
        ("Conv3d", "volumes are not here"),
        ("MultiheadAttention", "compose it"),
        ("SyncBatchNorm", "distributed"),
        ("Softmax2d", r"Softmax\(dim=1\)"),
        ("Relu", "is it ReLU"),
        ("Xyzzy", "what there is"),
    ],
)
def test_what_is_not_here_says_so(name, message):
    with pytest.raises(AttributeError, match=f"has no attribute '{name}': .*{message}"):
        getattr(nn, name)


def test_lists_and_dictionaries_of_modules():
    a, b, c = nn.Linear(1, 1), nn.Linear(1, 2), nn.ReLU()
    layers = nn.ModuleList([a, b])
    assert list(layers) == [a, b] and len(layers) == 2 and layers[-1] is b and list(layers[1:]) == [b]
    layers.insert(1, c)
    assert list(layers) == [a, c, b] and [name for name, _ in layers.named_children()] == ["0", "1", "2"]
    del layers[0]
    layers[0] = a
    assert list(layers.__add__([c])) == [a, b, c] and list(layers.append(c).extend([c])) == [a, b, c, c]
    heads = nn.ModuleDict([("one", a)])
    heads["two"] = b
    heads.update({"three": c})
    assert list(heads) == ["one", "two", "three"] and "two" in heads and dict(heads.items())["two"] is b
    assert heads.pop("three") is c and heads != nn.ModuleDict(heads) and hash(heads) and c not in heads.values()
    heads["three"] = c
    assert layers.pop() is c and layers.pop() is c and c not in layers
    del heads["one"]
    assert list(heads.keys()) == ["two", "three"] and list(heads.values()) == [b, c]
    for wrong, error in ((lambda: layers.append(1), TypeError), (lambda: nn.ModuleDict({"a.b": a}), ValueError)):
        with pytest.raises(error, match=r"expects modules|cannot name a module"):
            wrong()
    with pytest.raises(ValueError, match="cannot name a module 'keys'"):
        heads["keys"] = a
    steps = nn.Sequential(a, c)
    assert list(steps.append(b)) == [a, c, b] and type(steps[:2]) is nn.Sequential and len(steps.__add__([c])) == 4
    assert list(nn.Sequential({"x": a, "y": c})[1:].state_dict()) == []


def test_lazy_layers_find_their_sizes():
    model = nn.Sequential(nn.LazyConv2d(3, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2, bias=False)).eval()
    with pytest.raises(RuntimeError, match="LazyConv2d '0' has no parameters before its first call"):
        optim.SGD(model.parameters(), lr=0.1)
    assert model(np.zeros((2, 1, 4, 4), np.float32)).shape == (2, 2)
    assert [type(one) for one in model] == [nn.Conv2d, nn.BatchNorm2d, nn.Flatten, nn.Linear]
    assert [one.training for one in model] == [False] * 4 and model[3].in_features == 12
    assert model(np.zeros((5, 1, 4, 4), np.float32)).shape == (5, 2)


def test_hooks_see_and_change_calls():
    layer, seen = nn.Linear(2, 1), []
    before = layer.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    after = layer.register_forward_hook(lambda module, args, out: seen.append((args[0].tolist(), out.shape)))
    doubled = layer(Tensor([[1.0, 2.0]]))
    assert seen == [([[2.0, 4.0]], (1, 1))]
    before.remove()
    changed = layer.register_forward_hook(lambda module, args, out: out + 1)
    np.testing.assert_allclose(layer(Tensor([[2.0, 4.0]])), doubled.data + 1, rtol=1e-6)
    after.remove()
    changed.remove()
    assert len(seen) == 2 and not layer._hooks and not nn.Linear(1, 1)._hooks


def test_registration_and_names():
    module = nn.Module()
    module.register_parameter("w", nn.Parameter([1.0]))
    module.register_parameter("nothing", None)
    module.register_buffer("kept", [1.0])
    module.register_buffer("passing", [2.0], persistent=False)
    module.add_module("child", nn.Sequential(nn.Linear(1, 1)))
    assert list(module.state_dict()) == ["w", "kept", "child.0.weight", "child.0.bias"]
    assert [name for name, _ in module.named_buffers()] == ["kept", "passing"]
    assert list(copy.deepcopy(module).state_dict()) == list(module.state_dict())
    assert module.get_submodule("child.0") is module.child[0] and module.get_submodule("") is module
    with pytest.raises(AttributeError, match=r"has no module 'child\.1', but"):
        module.get_submodule("child.1")
    with pytest.raises(TypeError, match="register_parameter expects param as a Parameter, got Tensor"):
        module.register_parameter("x", Tensor([1.0]))
    visited = []
    assert module.apply(visited.append) is module and visited[-1] is module and visited[0] is module.child[0]
    assert module.to("cpu") is module.cpu() is module and module.w.dtype == np.float32
    assert module.to(np.float64).w.dtype == np.float64 and module.to("cpu").w.dtype == np.float64
    with pytest.raises(RuntimeError, match="NumPy computes on the CPU"):
        module.cuda()


def test_initial_weights():
    manual_seed(0)
    weight = nn.Parameter(np.empty((200, 50, 3, 3), np.float32))
    fan_in, fan_out = 450, 1800
    for call, std in (
        (lambda: init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu"), np.sqrt(2 / fan_out)),
        (lambda: init.kaiming_uniform_(weight, a=np.sqrt(5)), np.sqrt(1 / 3 / fan_in)),
        (lambda: init.xavier_uniform_(weight), np.sqrt(2 / (fan_in + fan_out))),
        (lambda: init.xavier_normal_(weight, gain=2.0), 2 * np.sqrt(2 / (fan_in + fan_out))),
        (lambda: init.normal_(weight, 0, 0.01), 0.01),
        (lambda: init.uniform_(weight, -1, 1), 1 / np.sqrt(3)),
        (lambda: init.trunc_normal_(weight, std=0.02), 0.02),
    ):
        assert call() is weight and weight.requires_grad and weight.dtype == np.float32
        assert weight.numpy().std() == pytest.approx(std, rel=0.02) and abs(weight.numpy().mean()) < 0.02 * std
    init.orthogonal_(weight, gain=2.0)
    rows = weight.numpy().reshape(200, -1)
    np.testing.assert_allclose(rows @ rows.T, 4 * np.eye(200), atol=1e-4)
    assert (
        init.constant_(weight, 3).numpy().min() == 3
        and not init.zeros_(weight).numpy().any()
        and init.ones_(weight).numpy().all()
    )
    assert init.eye_(Tensor(np.empty((2, 3)))).tolist() == [[1, 0, 0], [0, 1, 0]]
    x = distinct(1, 2, 3, 3)
    np.testing.assert_allclose(F.conv2d(x, init.dirac_(Tensor(np.empty((2, 2, 3, 3)))), padding=1), x)
    assert init.calculate_gain("leaky_relu", 1) == 1 and init.calculate_gain("tanh") == 5 / 3
    manual_seed(1)
    first = init.normal_(weight).numpy().copy()
    manual_seed(1)
    np.testing.assert_array_equal(init.normal_(weight), first)
    with pytest.raises(ValueError, match="at least two dimensions, got"):
        init.kaiming_normal_(Tensor([1.0]))
    with pytest.raises(ValueError, match='mode as "fan_in" or "fan_out"'):
        init.kaiming_normal_(weight, mode="x")


def test_gradients_are_clipped():
    w, v = nn.Parameter([3.0, 4.0]), nn.Parameter([12.0])
    ((w * w.detach()).sum() + (v * v.detach()).sum()).backward()
    assert nn.utils.clip_grad_norm_([w, v], 1e9).item() == 13
    assert nn.utils.clip_grad_norm_(iter([w, v, nn.Parameter([0.0])]), 6.5, norm_type=2).item() == 13
    np.testing.assert_allclose([*w.grad.tolist(), *v.grad.tolist()], [1.5, 2, 6], rtol=1e-6)
    assert nn.utils.clip_grad_norm_(w, 1.0, np.inf).item() == pytest.approx(2)
    nn.utils.clip_grad_value_([w, v], 1.5)
    assert v.grad.tolist() == [1.5]
    v.grad.data[...] = np.nan
    with pytest.raises(RuntimeError, match="the norm of the gradients is nan"):
        nn.utils.clip_grad_norm_([v], 1.0, error_if_nonfinite=True)


def test_arguments_that_ask_for_nothing_are_passed_over_and_others_refused_with_advice():
    class Standardised(nn.Conv2d):
        def __init__(self, *args, **settings):
            super().__init__(*args, **settings, device=None, dtype=None)

    assert Standardised(1, 2, 3).weight.shape == nn.Conv2d(1, 2, 3, device="cpu").weight.shape == (2, 1, 3, 3)
    assert nn.ReLU(inplace=True)(np.ones(1)) == nn.MSELoss(size_average=None)(np.ones(1), np.zeros(1)) == 1
    assert F.relu(np.ones(1), inplace=True) == F.sum(np.ones(1), out=None) == 1
    for call, message in (
        (lambda: F.sum(np.ones(2), out=np.ones(1)), "sum has no argument out: assign the result"),
        (lambda: Tensor([1.0]).sum(axes=0), "sum has no argument axes: leave it out"),
        (lambda: Standardised(1, 2, 3, kernel=3), "Standardised has no argument kernel: leave it out"),
        (lambda: F.relu(), "missing 1 required positional argument"),
        (lambda: F.mean(np.ones(2, int)), "mean expects floating-point numbers"),
    ):
        with pytest.raises(TypeError, match=message):
            call()


def test_gradient_hooks_see_and_change_gradients():
    model, told, kept = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)), [], []
    x = Tensor(np.ones((4, 3), np.float32))

    def gradients(change):
        model.zero_grad()
        hook = model[1].register_full_backward_hook(change)
        model(x).sum().backward()
        hook.remove()
        return model[0].weight.grad.numpy()

    def tell(module, grad_input, grad_output):
        told.append((grad_input[0].numpy(), grad_output[0].numpy()))

    model[0].weight.data = np.ones((2, 3), np.float32)
    plain = gradients(tell)
    np.testing.assert_array_equal(told[0][1], np.repeat(model[2].weight.numpy(), 4, axis=0))
    np.testing.assert_array_equal(told[0][0], told[0][1])  # where the ReLU is 1
    np.testing.assert_array_equal(gradients(lambda module, before, after: (before[0] * 2,)), 2 * plain)
    np.testing.assert_array_equal(gradients(lambda *_: None), plain)
    hook = model[0].weight.register_hook(kept.append)
    with pytest.raises(RuntimeError, match=r"a hook returns None, or a Tensor such as its gradient float32 \(1, 2\)"):
        model[2].weight.register_hook(lambda gradient: gradient.sum())
        model(x).sum().backward()
    np.testing.assert_array_equal(kept, [])
    hook.remove()
    with pytest.raises(RuntimeError, match="only a Tensor that requires a gradient has hooks"):
        x.register_hook(print)


def test_a_module_tells_of_the_gradients_of_this_call_alone():
    class Sum(nn.Module):
        def forward(self, a, b, factor):
            return (a * b * factor).sum(), factor

    layer, told = Sum(), []
    a, b = Tensor([1.0, 2.0], requires_grad=True), Tensor([3.0, 4.0], requires_grad=True)
    layer.register_full_backward_hook(lambda module, *gradients: told.append(gradients))
    (layer(a, b, 2)[0] + (a * 5).sum()).backward()  # the second summand is none of the layer's business
    assert [[None if one is None else one.tolist() for one in side] for side in told[0]] == [
        [[6.0, 8.0], [2.0, 4.0], None],
        [1.0, None],
    ]
    assert a.grad.tolist() == [11.0, 13.0]
    layer.register_full_backward_hook(lambda module, gradients, _: gradients)
    with pytest.raises(RuntimeError, match="the gradient of a module with one input"):
        layer(a, b, 2)[0].backward()
    first = nn.Linear(1, 1)  # whose input has no gradient
    first.register_full_backward_hook(lambda module, *gradients: told.append(gradients))
    first(Tensor([[1.0]])).sum().backward()
    assert told[-1][0] == (None,) and told[-1][1][0].tolist() == [[1.0]]


def test_gradients_on_the_way_are_kept_if_asked_for():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    y.retain_grad()
    (y * y).sum().backward(retain_graph=True)
    (y * y).sum().backward()
    assert y.grad.tolist() == [4.0, 16.0] and y.is_leaf is False
    assert (x * x).grad is None


def test_numpys_names_of_arguments_are_taken_too():
    x = Tensor(np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(x.sum(axis=1, keepdims=True), x.sum(1, True))
    np.testing.assert_array_equal(F.cat([x, x], axis=1), F.cat([x, x], 1))
    with pytest.raises(TypeError, match="relu has no argument axis"):
        F.relu(x, axis=1)


def test_what_a_module_itself_holds():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    model.scale = nn.Parameter([1.0])
    assert list(model._modules) == ["0", "1"] and list(model._parameters) == ["scale"]
    assert list(model[1]._buffers) == ["running_mean", "running_var", "num_batches_tracked"]
    assert [*model.parameters(recurse=False)] == [model.scale]
    assert [name for name, _ in model.named_parameters("net")][:2] == ["net.scale", "net.0.weight"]
    assert [name for name, _ in model.named_modules("net")] == ["net", "net.0", "net.1"]
    with pytest.raises(TypeError):
        model._modules["0"] = nn.ReLU()  # it would be lost
    with pytest.raises(AttributeError, match="has no attribute 'half': numbers have 32 or 64 bits"):
        model.half()


def test_settings_are_attributes_and_a_class_can_have_other_defaults():
    class Plain(nn.BatchNorm2d, affine=False):
        pass

    assert (Plain(2).affine, Plain(2, affine=True).affine, nn.BatchNorm2d(2).affine) == (False, True, True)
    assert repr(Plain(2)) == "Plain(2, eps=1e-05, momentum=0.1, affine=False, track_running_stats=True)"
    with pytest.raises(ValueError, match="Plain expects eps as a number of at least 0, got -1"):
        Plain(2, eps=-1)
    unfold = nn.Unfold((2, 1), padding=(1, 0))
    assert unfold.kernel_size == (2, 1) and unfold.stride == 1
    x = distinct(1, 2, 3, 4)
    np.testing.assert_array_equal(unfold(x), F.unfold(x, (2, 1), padding=(1, 0)))


def test_layers_begin_anew():
    for layer in (nn.Linear(3, 2), nn.ConvTranspose2d(2, 3, 2), nn.BatchNorm2d(2), nn.LayerNorm(3), nn.GroupNorm(1, 2)):
        manual_seed(0)
        fresh = {name: value.numpy().copy() for name, value in layer.state_dict().items()}
        for tensor in layer.state_dict().values():
            if tensor.is_floating_point():
                tensor.fill_(5.0)
        manual_seed(0)
        layer.reset_parameters()
        again = {name: value.numpy() for name, value in layer.state_dict().items()}
        drawn = type(layer) in (nn.Linear, nn.ConvTranspose2d)
        assert all(again[name].shape == value.shape for name, value in fresh.items())
        assert all((again[name] < 2).all() if drawn else (again[name] == value).all() for name, value in fresh.items())


def test_borders_and_sizes_under_second_names():
    x = np.arange(4.0).reshape(1, 1, 2, 2)
    np.testing.assert_array_equal(nn.ConstantPad2d((1, 0, 0, 0), 3.0)(x)[0, 0, :, 0], [3.0, 3.0])
    np.testing.assert_array_equal(nn.CircularPad2d(1)(x), np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), "wrap"))
    np.testing.assert_array_equal(nn.UpsamplingNearest2d(scale_factor=2)(x), x.repeat(2, 2).repeat(2, 3))
    corners = nn.UpsamplingBilinear2d(5)(x)[..., ::4, ::4]
    np.testing.assert_allclose(corners, x)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_frozen_layer_with_gradients_is_copied(copied):
    layer = nn.Linear(2, 1)
    layer(np.ones((1, 2), np.float32)).sum().backward()
    layer.requires_grad_(False)
    other = copied(layer)
    assert not other.weight.requires_grad and other.weight.grad.tolist() == [[1.0, 1.0]]
    other.weight.grad.zero_()
    assert layer.weight.grad.tolist() == [[1.0, 1.0]]
    assert other.requires_grad_().weight.grad.tolist() == [[0.0, 0.0]]


def test_a_part_of_a_parameter_is_initialised():
    w = nn.Parameter(np.zeros((3, 2), np.float32))
    nn.init.constant_(w[0], 1)
    nn.init.constant_(w.T[0][1:], 5)
    product = w * w
    with no_grad():
        row = w[1]
        row.add_(1)
        w[2].fill_(7)
    assert w.tolist() == [[1, 1], [6, 1], [7, 7]] and w.requires_grad
    with pytest.raises(RuntimeError, match="was changed"):
        product.sum().backward()
    with pytest.raises(RuntimeError, match="would change the value of a recorded operation"):
        w[0].zero_()
    for part in ((w * 1)[0], w[0].expand(2, 2), w[[0]]):  # no part, one that repeats its numbers, and a copy
        with no_grad(), pytest.raises(RuntimeError, match="would change the value of a recorded operation"):
            part.fill_(3.0)
