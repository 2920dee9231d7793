"""PyTorch's own samples of its operators' arguments, run through our functions: values and gradients agree.

Runs where PyTorch is installed; nothing of the package needs it.
"""

import warnings

import numpy as np
import pytest
from references import apart, fixed

from tinygrad_cnn import Tensor, grad
from tinygrad_cnn import functional as F

torch = pytest.importorskip("torch")

# PyTorch's name: our function
FUNCTIONS = {
    "__getitem__": lambda x, key: x[key],
    "__radd__": lambda a, b: b + a,
    "__rdiv__": lambda a, b: b / a,
    "__rmatmul__": lambda a, b: b @ a,
    "__rmul__": lambda a, b: b * a,
    "__rpow__": lambda a, b: b**a,
    "__rsub__": lambda a, b: b - a,
    "abs": F.abs,
    "add": F.add,
    "amax": F.amax,
    "argmax": F.argmax,
    "cat": F.cat,
    "clamp": F.clamp,
    "div": F.div,
    "exp": F.exp,
    "flatten": F.flatten,
    "log": F.log,
    "log_softmax": F.log_softmax,
    "matmul": F.matmul,
    "max": F.max,
    "maximum": F.maximum,
    "mean": F.mean,
    "minimum": F.minimum,
    "mul": F.mul,
    "neg": F.neg,
    "nn.functional.avg_pool2d": F.avg_pool2d,
    "nn.functional.batch_norm": F.batch_norm,
    "nn.functional.conv2d": F.conv2d,
    "nn.functional.cross_entropy": F.cross_entropy,
    "nn.functional.linear": F.linear,
    "nn.functional.max_pool2d": F.max_pool2d,
    "nn.functional.mse_loss": F.mse_loss,
    "nn.functional.nll_loss": F.nll_loss,
    "nn.functional.pad": F.pad,
    "nn.functional.relu": F.relu,
    "permute": F.permute,
    "pow": F.pow,
    "reshape": F.reshape,
    "sigmoid": F.sigmoid,
    "softmax": F.softmax,
    "sqrt": F.sqrt,
    "squeeze": F.squeeze,
    "stack": F.stack,
    "sub": F.sub,
    "sum": F.sum,
    "tanh": F.tanh,
    "transpose": F.transpose,
    "unsqueeze": F.unsqueeze,
    "where": lambda x, condition, other: F.where(condition, x, other),
}


# these have PyTorch's own name after nn.functional, or before
FUNCTIONS |= {
    **{
        name: getattr(F, name)
        for name in (
            *(
                "all",
                "any",
                "amin",
                "argmin",
                "argsort",
                "bmm",
                "ceil",
                "chunk",
                "cos",
                "cumsum",
                "dot",
                "erf",
                "expand",
            ),
            *("expm1", "flip", "floor", "gather", "index_select", "log1p", "logsumexp", "masked_fill", "mm", "movedim"),
            *("mv", "narrow", "norm", "outer", "prod", "reciprocal", "repeat", "repeat_interleave", "roll", "round"),
            *("rsqrt", "select", "sign", "sin", "sort", "split", "square", "std", "topk", "unbind", "unflatten", "var"),
            *(
                "count_nonzero",
                "diag",
                "isfinite",
                "isinf",
                "lerp",
                "log10",
                "log2",
                "nonzero",
            ),
            *("logical_and", "logical_not", "logical_or", "meshgrid", "remainder", "scatter", "scatter_add", "tril"),
            *("triu", "unique"),
            *("var_mean", "view_as", "expand_as", "clone", "eq", "ne", "lt", "le", "gt", "ge", "isnan"),
        )
    },
    **{
        f"nn.functional.{name}": getattr(F, name)
        for name in (
            *(
                "adaptive_avg_pool1d",
                "adaptive_avg_pool2d",
                "adaptive_max_pool1d",
                "grid_sample",
                "adaptive_max_pool2d",
                "conv_transpose1d",
                "avg_pool1d",
                "binary_cross_entropy",
            ),
            *("binary_cross_entropy_with_logits", "celu", "channel_shuffle", "conv1d", "conv_transpose2d"),
            *("cosine_similarity", "elu", "gelu", "glu", "group_norm", "hardsigmoid", "hardswish"),
            *(
                "hardtanh",
                "huber_loss",
                "instance_norm",
                "interpolate",
                "kl_div",
                "l1_loss",
                "layer_norm",
                "leaky_relu",
            ),
            *("cosine_embedding_loss", "hinge_embedding_loss", "margin_ranking_loss", "multi_margin_loss"),
            *("pairwise_distance", "soft_margin_loss", "triplet_margin_loss"),
            *("local_response_norm", "logsigmoid", "max_pool1d", "mish", "normalize", "pixel_shuffle"),
            *("pixel_unshuffle", "prelu", "relu6", "selu", "silu", "smooth_l1_loss", "softplus", "softsign", "unfold"),
        )
    },
    "min": F.min,
    "einsum": lambda operands, equation: F.einsum(equation, *operands),
    "nn.functional.embedding": lambda weight, indices, **settings: F.embedding(indices, weight, **settings),
}

NORM = "nn.functional.batch_norm"
RANDOM = {"dropout", "dropout2d", "scaled_dot_product_attention"}  # draw from another generator
WITHOUT_SAMPLES = {
    "affine_grid",
    "allclose",
    "bincount",
    "equal",
    "fold",
    "lp_pool2d",
    "one_hot",
    "upsample",
}  # compared in test_torch_nn.py
LOOSE = {"nn.functional.hardsigmoid": 1e-7}  # PyTorch multiplies by 1/6 in float32


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """For operands this small, threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def samples_of():
    """A function: name -> [(PyTorch's operator, sample)]."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torch.testing._internal.common_methods_invocations import op_db
    except ImportError as error:  # it needs packages that PyTorch itself does not
        pytest.skip(f"PyTorch's samples cannot be imported: {error}")

    def samples(name):
        torch.manual_seed(0)
        infos = [info for info in op_db if info.name == name and torch.float64 in info.dtypes]
        return [
            (info.op, sample)
            for info in infos
            for sample in info.sample_inputs("cpu", torch.float64, requires_grad=info.supports_autograd)
        ]

    return samples


def is_left_out(name, sample):
    """Where PyTorch computes something, and we say why it makes no sense, or that it is not here."""
    settings = sample.kwargs
    return (
        (name == NORM and tuple(sample.input.shape) == (0,))  # PyTorch's result is empty
        or float(settings.get("momentum", 0)) < 0
        or float(settings.get("eps", 0)) < 0
        or (name == "nn.functional.avg_pool2d" and -2 in sample.args)  # divides by -2
        or (name == "norm" and "nuc" in sample.args)
        or (name in ("nn.functional.interpolate", "nn.functional.grid_sample") and sample.input.ndim == 5)
        or (name == "nn.functional.grid_sample" and "bicubic" in (*sample.args, *settings.values()))
        or (name == "nn.functional.grid_sample" and "reflection" in (*sample.args, *settings.values()))
    )


def ours(value, leaves):
    """PyTorch's arguments as ours; `leaves` gathers the pairs (theirs, ours) that require a gradient."""
    if isinstance(value, torch.Tensor):
        array = value.detach().numpy().copy()
        if not value.dtype.is_floating_point:
            return array
        leaf = Tensor(array, requires_grad=value.requires_grad)
        if value.requires_grad:
            leaves.append((value, leaf))
        return leaf
    if isinstance(value, torch.dtype):
        return {torch.float32: np.float32}.get(value, np.float64)
    if isinstance(value, dict):
        return {key: ours(part, leaves) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [ours(part, leaves) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    return value


def outputs_of(result):
    return list(result) if isinstance(result, (tuple, list)) else [result]


def compare(theirs, ours, leaves, rtol=1e-9, atol=1e-12):
    """Values, shapes and dtypes of all outputs, and the gradients of all leaves for random cotangents."""
    assert len(theirs) == len(ours)
    for their, our in zip(theirs, ours, strict=True):
        their, our = their.detach().numpy(), np.asarray(our)
        assert our.shape == their.shape
        assert our.dtype == their.dtype or their.dtype.kind != "f"
        np.testing.assert_allclose(our, their, rtol=rtol, atol=atol)
    pairs = [(their, our) for their, our in zip(theirs, ours, strict=True) if their.requires_grad]
    if not (pairs and leaves):
        return
    cotangents = [torch.from_numpy(np.asarray(fixed(their.shape), our.dtype)) for their, our in pairs]
    expected = torch.autograd.grad(
        [their for their, _ in pairs], [leaf for leaf, _ in leaves], cotangents, allow_unused=True
    )
    found = grad(
        [our for _, our in pairs], [leaf for _, leaf in leaves], [c.numpy() for c in cotangents], allow_unused=True
    )
    for their, our in zip(expected, found, strict=True):
        values = np.zeros(()) if our is None else our.numpy()
        np.testing.assert_allclose(values, 0 if their is None else their.numpy(), rtol=10 * rtol, atol=100 * atol)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_samples(name, samples_of):
    samples = samples_of(name)
    assert samples, "PyTorch has no samples of this name"
    wrong = []
    for i, (operator, sample) in enumerate(samples):
        if is_left_out(name, sample):
            continue
        leaves = []
        positional = [ours(value, leaves) for value in (sample.input, *sample.args)]
        settings = ours(sample.kwargs, leaves)
        theirs = outputs_of(operator(sample.input, *sample.args, **sample.kwargs))
        try:
            compare(theirs, outputs_of(FUNCTIONS[name](*positional, **settings)), leaves, rtol=LOOSE.get(name, 1e-9))
        except Exception as error:
            wrong.append(f"sample {i}, {sample.summary()}: {type(error).__name__}: {error}")
    assert not wrong, f"{len(wrong)} of {len(samples)} samples disagree:\n" + "\n".join(wrong[:5])


def test_every_function_that_pytorch_has_samples_of_is_compared():
    names = {name.removeprefix("nn.functional.") for name in FUNCTIONS}
    assert set(F.__all__) - RANDOM - WITHOUT_SAMPLES <= names


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_left_out_is_left_out_for_cause(name, samples_of):
    for _, sample in samples_of(name):
        if is_left_out(name, sample):
            arguments = [ours(value, []) for value in (sample.input, *sample.args)]
            with pytest.raises(ValueError, match=f"{name.rpartition('.')[2]}.*expects"):
                FUNCTIONS[name](*arguments, **ours(sample.kwargs, []))


# ---- float32, at sizes of a real network


IN_FLOAT32 = {
    "conv2d": (
        "conv2d",
        [fixed((8, 16, 14, 14)), 0.1 * fixed((32, 16, 3, 3), 2), fixed((32,), 3)],
        {"padding": 1},
    ),
    "conv2d with stride": ("conv2d", [fixed((8, 3, 28, 28)), 0.1 * fixed((8, 3, 5, 5), 2)], {"stride": 2}),
    "conv2d in groups": ("conv2d", [fixed((4, 8, 9, 9)), fixed((16, 2, 3, 3), 2)], {"groups": 4, "dilation": 2}),
    "max_pool2d": ("max_pool2d", [apart(4, 8, 14, 14)], {"kernel_size": 2}),
    "max_pool2d, overlapping": ("max_pool2d", [apart(4, 8, 13, 13)], {"kernel_size": 3, "stride": 2, "padding": 1}),
    "batch_norm": (
        "batch_norm",
        [fixed((16, 8, 7, 7)), None, None, fixed((8,), 2), fixed((8,), 3)],
        {"training": True},
    ),
    "cross_entropy": ("cross_entropy", [5 * fixed((64, 10)), np.arange(64) % 10], {}),
    "cross_entropy, smoothed": (
        "cross_entropy",
        [5 * fixed((64, 10)), np.arange(64) % 10],
        {"label_smoothing": 0.1, "reduction": "sum"},
    ),
}


@pytest.mark.parametrize("name", IN_FLOAT32)
def test_float32(name):
    function, arrays, settings = IN_FLOAT32[name]
    theirs, mine, leaves = [], [], []
    for array in arrays:
        if array is None or array.dtype.kind == "i":
            theirs.append(array if array is None else torch.from_numpy(array))
            mine.append(array)
        else:
            leaf = torch.tensor(array, dtype=torch.float32, requires_grad=True)
            theirs.append(leaf)
            mine.append(ours(leaf, leaves))
    expected = getattr(torch.nn.functional, function)(*theirs, **settings)
    # the sums of a filter's gradient are long: so much do two orders of adding differ in float32
    compare([expected], [getattr(F, function)(*mine, **settings)], leaves, rtol=1e-4, atol=1e-5)
