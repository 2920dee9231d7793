"""Calls that somebody could make by mistake: each is refused at once, in one form, and never by NumPy or Python."""

import math
from typing import Literal

import numpy as np
import pytest

import tinygrad_cnn
from tinygrad_cnn import Tensor, data, gradcheck, models, nn, optim
from tinygrad_cnn import functional as F
from tinygrad_cnn.checkpoint import load_checkpoint, save_checkpoint
from tinygrad_cnn.optim import lr_scheduler, swa_utils
from tinygrad_cnn.settings import NotNegative, Positive, checks_of
from tinygrad_cnn.training import Trainer, predict


def names():
    """What the calls below are about, made anew for each."""
    layer = nn.Linear(2, 2)
    sgd = optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    arrays = np.zeros((4, 2), np.float32), np.zeros(4, int)
    return {
        **vars(tinygrad_cnn),
        **{"np": np, "F": F, "nan": math.nan, "inf": math.inf, "summary": tinygrad_cnn.summary},
        **{"lr_scheduler": lr_scheduler, "swa_utils": swa_utils, "Trainer": Trainer, "predict": predict},
        **{"save_checkpoint": save_checkpoint, "load_checkpoint": load_checkpoint},
        **{"w": Tensor([1.0, 2.0], requires_grad=True), "layer": layer, "sgd": sgd},
        **{"step": lr_scheduler.StepLR(sgd, 2), "group": sgd.state_dict()["param_groups"][0]},
        **{"arrays": arrays, "loader": data.DataLoader(arrays, 2), "rng": np.random.default_rng(0)},
        **{"x": np.arange(6.0).reshape(2, 3), "t": Tensor(np.arange(6.0).reshape(2, 3))},
        **{"images": np.ones((2, 1, 8, 8), np.float32), "filters": np.ones((2, 1, 3, 3), np.float32)},
        **{"scores": np.zeros((3, 4)), "classes": [0, 1, 2]},
    }


LEAST_0 = "a number of at least 0"
PART = "a number of at least 0 and at most 1"
BELOW_1 = "a number of at least 0 and below 1"
INTEGER_0, INTEGER_1 = "an integer of at least 0", "an integer of at least 1"
FLAG = "True or False"
SIZES = ["'x'", "1.5", "None", "nan"], ["0", "-1", "(1, 2, 3)", "()"]

# the call, who refuses what, what is expected instead, values of a wrong kind, values out of range
REFUSED = [
    ("optim.SGD([w], lr={})", "SGD", "lr", LEAST_0, ["'x'", "None", "[1]", "1j", "{}", "True"], ["-1", "nan", "inf"]),
    ("optim.SGD([w], momentum={})", "SGD", "momentum", LEAST_0, ["'x'", "None"], ["-1", "nan"]),
    ("optim.SGD([w], dampening={})", "SGD", "dampening", "a", ["'x'", "None"], ["nan"]),
    ("optim.SGD([w], momentum=1, nesterov={})", "SGD", "nesterov", FLAG, ["'x'", "None", "2"], []),
    ("optim.SGD([{{'params': w, 'lr': {}}}])", "SGD", "lr", LEAST_0, ["'x'", "None"], ["-1"]),
    ("optim.Adam([w], betas={})", "Adam", "betas", "a list of 2 numbers", ["0.9", "None", "'ab'"], ["(0.9,)", "[]"]),
    ("optim.Adam([w], betas={})", "Adam", "each of the betas", BELOW_1, ["('a', 0.9)"], ["(0.9, 1)", "(nan, 0.9)"]),
    ("optim.Adam([w], eps={})", "Adam", "eps", LEAST_0, ["'x'", "None"], ["-1"]),
    ("optim.AdamW([w], weight_decay={})", "AdamW", "weight_decay", LEAST_0, ["'x'"], ["-1"]),
    ("sgd.load_state_dict({})", "SGD.load_state_dict", "state_dict", "a dictionary", ["None", "5", "[]"], ["{}"]),
    ("sgd.load_state_dict({{'state': {{}}, 'param_groups': {}}})", ".*", "param_groups", "a list", ["None", "5"], []),
    ("sgd.load_state_dict({{'state': {{}}, 'param_groups': [{}]}})", ".*", ".*", "a dict", ["5"], ["{'lr': 1}"]),
    (
        "sgd.load_state_dict({{'state': {{}}, 'param_groups': [{{**group, 'lr': {}}}]}})",
        "SGD",
        "lr",
        "",
        ["'x'"],
        ["-1"],
    ),
    ("sgd.load_state_dict({{'state': {}, 'param_groups': [group]}})", ".*", "state", "a dict", ["None"], []),
    ("sgd.load_state_dict({{'state': {{0: {}}}, 'param_groups': [group]}})", ".*", ".* 0", "a dict", ["None"], []),
    ("lr_scheduler.StepLR({}, 2)", "StepLR", "optimizer", "an Optimizer", ["None", "layer"], []),
    (
        "lr_scheduler.StepLR(sgd, {})",
        "StepLR",
        "step_size",
        INTEGER_1,
        ["'x'", "None", "1.5", "nan", "True"],
        ["0", "-1"],
    ),
    ("lr_scheduler.StepLR(sgd, 2, {})", "StepLR", "gamma", LEAST_0, ["'x'", "None"], ["-1", "nan"]),
    ("lr_scheduler.CosineAnnealingLR(sgd, {})", "CosineAnnealingLR", "T_max", INTEGER_1, ["'x'", "1.5"], ["0"]),
    ("lr_scheduler.CosineAnnealingLR(sgd, 2, {})", "CosineAnnealingLR", "eta_min", LEAST_0, ["'x'", "None"], ["nan"]),
    ("lr_scheduler.OneCycleLR({}, 1.0, 5)", "OneCycleLR", "optimizer", "an Optimizer", ["None"], []),
    ("lr_scheduler.OneCycleLR(sgd, {}, 5)", "OneCycleLR", ".*max_lr", "a", ["'x'", "None", "['x']"], ["-1", "[1, 2]"]),
    ("lr_scheduler.OneCycleLR(sgd, 1.0, {})", "OneCycleLR", "total_steps", INTEGER_1, ["10.5", "'x'"], ["0", "-1"]),
    ("lr_scheduler.SequentialLR(sgd, {}, [])", "SequentialLR", ".*schedulers", "a", ["5", "step", "[3]", "'x'"], []),
    ("lr_scheduler.OneCycleLR(sgd, 1.0, None, {}, 2)", "OneCycleLR", "epochs", INTEGER_1, ["1.5"], ["0"]),
    (
        "lr_scheduler.OneCycleLR(sgd, 1.0, 5, pct_start={})",
        "OneCycleLR",
        "pct_start",
        PART,
        ["'x'"],
        ["-1", "2", "nan"],
    ),
    ("lr_scheduler.OneCycleLR(sgd, 1.0, 5, anneal_strategy={})", ".*", ".*", '"cos" or "linear"', ["5"], ["'x'"]),
    ("lr_scheduler.OneCycleLR(sgd, 1.0, 5, max_momentum={})", ".*", "max_momentum", BELOW_1, ["'x'"], ["-1"]),
    (
        "lr_scheduler.OneCycleLR(sgd, 1.0, 5, div_factor={})",
        ".*",
        "div_factor",
        "a number above 0",
        ["'x'"],
        ["0", "-1"],
    ),
    ("step.load_state_dict({})", "StepLR.load_state_dict", "state_dict", "a dict", ["None", "5"], ["{}"]),
    (
        "step.load_state_dict({{'last_epoch': {}, 'base_lrs': [1]}})",
        ".*",
        "last_epoch",
        LEAST_0,
        ["'x'", "None"],
        ["-1", "nan"],
    ),
    ("step.load_state_dict({{'last_epoch': 1, 'base_lrs': {}}})", ".*", ".*base_lrs", "", ["5", "['x']"], ["[1, 2]"]),
    ("swa_utils.get_ema_avg_fn({})", "get_ema_avg_fn", "decay", BELOW_1, ["'x'", "None"], ["1", "-1", "nan"]),
    ("swa_utils.AveragedModel({})", "AveragedModel", "model", "a Module", ["None", "[layer]"], []),
    ("swa_utils.AveragedModel(layer, avg_fn={})", "AveragedModel", "avg_fn", "a Callable", ["'ema'"], []),
    ("nn.Linear({}, 2)", "Linear", "in_features", INTEGER_0, ["'x'", "None", "1.5", "[2]", "True"], ["-1"]),
    ("nn.Linear(2, {})", "Linear", "out_features", INTEGER_0, ["'x'", "1.5", "nan"], ["-1"]),
    ("nn.Linear(2, 2, bias={})", "Linear", "bias", FLAG, ["'x'", "None", "[0.0, 0.0]"], []),
    ("nn.Conv2d({}, 2, 3)", "Conv2d", "in_channels", INTEGER_0, ["'x'", "None", "1.5"], ["-1"]),
    ("nn.Conv2d(1, {}, 3)", "Conv2d", "out_channels", INTEGER_0, ["'x'", "1.5"], ["-1"]),
    ("nn.Conv2d(1, 2, {})", "Conv2d", "kernel_size", "", *SIZES),
    ("nn.Conv2d(1, 2, 3, stride={})", "Conv2d", "stride", "", *SIZES),
    ("nn.Conv2d(1, 2, 3, padding={})", "Conv2d", "padding", "", ["1.5", "None"], ["-1", "'full'", "(1, 2, 3)"]),
    ("nn.Conv2d(1, 2, 3, groups={})", "Conv2d", "groups", INTEGER_1, ["'x'", "1.5", "None"], ["0", "-1"]),
    ("nn.MaxPool2d({})", "MaxPool2d", "kernel_size", "", *SIZES),
    ("nn.MaxPool2d(2, padding={})", "MaxPool2d", "padding", INTEGER_0, ["'x'", "1.5"], ["-1"]),
    ("nn.MaxPool2d(2, ceil_mode={})", "MaxPool2d", "ceil_mode", FLAG, ["'x'", "None"], []),
    ("nn.AvgPool2d(2, {})", "AvgPool2d", "stride", INTEGER_1, ["'x'", "1.5"], ["0"]),
    ("nn.AvgPool2d(2, divisor_override={})", "AvgPool2d", "divisor_override", INTEGER_1, ["'x'", "1.5"], ["0"]),
    ("nn.BatchNorm2d({})", "BatchNorm2d", "num_features", INTEGER_0, ["'x'", "None", "1.5", "[]"], ["-1"]),
    ("nn.BatchNorm2d(2, eps={})", "BatchNorm2d", "eps", LEAST_0, ["'x'", "None"], ["-1", "nan"]),
    ("nn.BatchNorm2d(2, momentum={})", "BatchNorm2d", "momentum", PART, ["'x'", "[1]"], ["-1", "nan"]),
    ("nn.BatchNorm2d(2, affine={})", "BatchNorm2d", "affine", FLAG, ["'x'", "None"], []),
    ("nn.Dropout({})", "Dropout", "p", PART, ["'x'", "None", "[0.5]"], ["-1", "1.5", "nan"]),
    ("nn.Flatten({})", "Flatten", "start_dim", "an integer", ["'x'", "None", "1.5"], []),
    ("nn.CrossEntropyLoss(reduction={})", "CrossEntropyLoss", "reduction", '"mean", "sum"', ["None", "5"], ["'x'"]),
    ("nn.CrossEntropyLoss(label_smoothing={})", "CrossEntropyLoss", "label_smoothing", PART, ["'x'"], ["2", "nan"]),
    ("nn.Sequential(layer)[{}]", "Sequential", "index", "an integer", ["'x'", "1.5", "None"], []),
    ("nn.DataParallel({})", "DataParallel", "module", "a Module", ["None", "5"], []),
    (
        "layer.load_state_dict({})",
        "Linear.load_state_dict",
        "state_dict",
        "a dictionary",
        ["None", "5", "[]", "'a'"],
        [],
    ),
    ("layer.load_state_dict({{'weight': {}}})", ".*", "weight", "an array", [], ["[[1], [1, 2]]"]),
    ("layer.train({})", "train", "mode", FLAG, ["'x'", "None", "5"], []),
    ("layer.register_buffer({}, 1)", "register_buffer", "name", "a str", ["5", "None"], []),
    ("F.sum(x, {})", "the function", "dim", "an integer", ["1.5", "'x'", "(0, 'x')", "{}", "nan", "True"], []),
    ("t.mean({})", "the function", "dim", "an integer", ["1.5", "'x'"], []),
    ("F.sum(x, 0, {})", "sum", "keepdim", FLAG, ["'x'", "None"], []),
    ("F.sum(x, dtype={})", "astype", "dtype", "a dtype of real numbers", ["'x'", "5", "complex"], []),
    ("F.softmax(x, {})", "the function", "dim", "an integer", ["1.5", "None", "(0, 1)"], []),
    ("F.div(x, 2, rounding_mode={})", "div", "rounding_mode", 'None, "trunc" or "floor"', ["5"], ["'x'"]),
    ("F.dropout(x, {})", "dropout", "p", PART, ["'x'", "None"], ["nan", "-1", "2"]),
    ("F.dropout(x, generator={})", "dropout", "generator", "a Generator", ["5", "np.random"], []),
    ("F.batch_norm(x, None, None, training=True, eps={})", "batch_norm", "eps", LEAST_0, ["'x'"], ["-1", "nan"]),
    (
        "F.batch_norm(x, {}, x[0], training=True)",
        "batch_norm",
        "running_mean",
        "a floating",
        ["[0.0] * 3", "[0] * 3"],
        [],
    ),
    ("F.conv2d(images, filters, stride={})", "conv2d", "stride", "", *SIZES),
    ("F.conv2d(images, filters, padding={})", "conv2d", "padding", "", ["1.5"], ["-1", "'full'", "()"]),
    ("F.conv2d(images, filters, groups={})", "conv2d", "groups", INTEGER_1, ["'x'", "None"], ["0"]),
    ("F.max_pool2d(images, {})", "max_pool2d", "kernel_size", "", *SIZES),
    ("F.max_pool2d(images, 2, ceil_mode={})", "max_pool2d", "ceil_mode", FLAG, ["'x'"], []),
    ("F.cross_entropy(scores, classes, reduction={})", "cross_entropy", "reduction", '"mean"', ["None"], ["'x'"]),
    (
        "F.cross_entropy(scores, classes, ignore_index={})",
        "cross_entropy",
        "ignore_index",
        "an integer",
        ["'x'", "1.5"],
        [],
    ),
    ("F.reshape(x, {})", "reshape", "shape", "an integer", ["'x'", "1.5", "None", "(2.5, 3)"], []),
    ("F.permute(x, {})", "permute", "dims", "an integer", ["'x'", "(0, 1.5)", "None"], []),
    ("F.transpose(x, 0, {})", "the function", "dim", "an integer", ["'x'", "1.5", "None"], []),
    ("F.squeeze(x, {})", "squeeze", "dim", "an integer", ["'x'", "1.5"], []),
    ("F.cat({})", "cat", "tensors", "a", ["None", "5"], []),
    ("F.pad(x, {})", "pad", "pad", "an integer", ["(1.5, 1)", "None", "'x'", "('a', 'b')", "(nan, 1)"], []),
    ("F.pad(x, (1, 1), mode={})", "pad", "mode", '"constant"', ["None", "5"], ["'x'"]),
    ("F.pad(x, (1, 1), value={})", "pad", "value", "a number", ["'x'", "[1]"], []),
    ("Tensor([1.0], dtype={})", "Tensor", "dtype", "a dtype", ["'x'", "5", "complex", "object"], []),
    ("Tensor([1.0], requires_grad={})", "Tensor", "requires_grad", FLAG, ["'x'", "None"], []),
    ("t.astype({})", "astype", "dtype", "a dtype", ["'x'", "None", "complex"], []),
    ("grad((w * w).sum(), {})", "grad", "inputs", "a Tensor or several", ["None", "[x]", "5"], []),
    ("grad({}, w)", "grad", "outputs", "a Tensor or several", ["None", "x"], []),
    ("(w * w).backward({})", "backward", "gradient", "an array of real numbers", ["'x'", "[1.0, 'a']"], []),
    ("data.DataLoader(arrays, {})", "DataLoader", "batch_size", INTEGER_1, ["'x'", "None", "1.5", "True"], ["0", "-1"]),
    ("data.DataLoader(arrays, 2, {})", "DataLoader", "shuffle", FLAG, ["'x'", "None", "5"], []),
    ("data.DataLoader(arrays, 2, seed={})", "DataLoader", "seed", INTEGER_0, ["'x'", "None", "1.5"], ["-1"]),
    ("data.DataLoader(arrays, 2, transform={})", "DataLoader", "transform", "a Callable", ["5", "'x'"], []),
    ("data.DataLoader({}, 2)", "DataLoader", "each of the arrays", "an array", [], ["([1, [2, 3]],)"]),
    ("loader.load_state_dict({})", "DataLoader.load_state_dict", "state", "a dict", ["None", "5"], ["{}"]),
    ("loader.load_state_dict({{'epoch': 0, 'batch': {}}})", ".*", "batch", INTEGER_0, ["'x'", "1.5", "None"], ["-1"]),
    ("data.augment({}, rng)", "augment", "images", "an array", ["None", "'x'"], ["[[1], [1, 2]]"]),
    ("data.augment(images, {})", "augment", "rng", "a Generator", ["None", "5"], []),
    ("data.augment(images, rng, shift={})", "augment", "shift", LEAST_0, ["'x'", "None"], ["-1", "nan", "inf"]),
    ("data.augment(images, rng, flip={})", "augment", "flip", FLAG, ["'x'"], []),
    ("data.load({})", "load", "name", '"auto", "mnist"', ["None", "5", "[]"], ["'x'"]),
    ("data.load('mnist', data_dir={})", "load", "data_dir", "a path", ["5", "[]"], ["''"]),
    ("data.load('mnist', mirrors={})", "load", ".*mirrors", "a", ["5", "[5]"], []),
    ("manual_seed({})", "manual_seed", "seed", INTEGER_0, ["'x'", "None", "1.5", "[]"], ["-1"]),
    ("set_rng_state({})", "set_rng_state", "state", "a dictionary", ["None"], ["{}"]),
    ("predict(layer, arrays[0], {})", "predict", "batch_size", INTEGER_1, ["'x'", "None", "1.5"], ["0", "-1"]),
    ("predict({}, arrays[0])", "predict", "model", "a Module", ["None", "5"], []),
    ("predict(layer, {})", "predict", "images", "an array", ["None", "'x'"], ["[[1], [1, 2]]"]),
    ("Trainer({}, sgd, loader)", "Trainer", "model", "a Module", ["None", "5"], []),
    ("Trainer(layer, sgd, {})", "Trainer", "loader", "a DataLoader", ["None", "[arrays]"], []),
    ("Trainer(layer, sgd, loader, {})", "Trainer", "schedule", "a LRScheduler", ["5"], []),
    ("save_checkpoint({}, {{}})", "save_checkpoint", "path", "a path", ["None", "5"], ["''"]),
    ("save_checkpoint('unwritten', {})", "save_checkpoint", "state", "a dictionary", ["None", "5", "'x'"], []),
    ("load_checkpoint({})", "load_checkpoint", "path", "a path", ["None", "5"], ["''"]),
    ("summary({}, 2)", "summary", "model", "a Module", ["None", "5"], []),
    ("summary(layer, {})", "summary", "input_shape", INTEGER_0, ["'x'", "None", "(2.5,)"], ["-1"]),
    ("data.augment(images, rng, scale={})", "augment", "scale", BELOW_1, ["'x'"], ["1", "-1"]),
    ("data.augment(images, rng, shear={})", "augment", "shear", "a number of at least 0 and below 90", ["'x'"], ["90"]),
    ("data.DataLoader(arrays, 2, drop_last={})", "DataLoader", "drop_last", FLAG, ["'x'"], []),
    ("loader.load_state_dict({{'epoch': {}, 'batch': 0}})", ".*", "epoch", INTEGER_0, ["'x'", "1.5"], ["-1"]),
    ("F.argmax(x, 0, {})", "argmax", "keepdim", FLAG, ["'x'"], []),
    ("F.amax(x, 0, {})", "amax", "keepdim", FLAG, ["'x'"], []),
    ("F.max(x, 0, {})", "max", "keepdim", FLAG, ["'x'"], []),
    ("F.batch_norm(x, None, None, training={})", "batch_norm", "training", FLAG, ["'x'"], []),
    ("F.batch_norm(x, None, None, training=True, momentum={})", "batch_norm", "momentum", PART, ["'x'"], ["2"]),
    ("F.dropout(x, training={})", "dropout", "training", FLAG, ["'x'", "None"], []),
    ("F.softmax(x, 0, dtype={})", "softmax", "dtype", "a dtype", ["'x'", "complex"], []),
    ("F.cross_entropy(scores, classes, label_smoothing={})", "cross_entropy", "label_smoothing", PART, ["'x'"], ["2"]),
    ("F.nll_loss(scores, classes, ignore_index={})", "nll_loss", "ignore_index", "an integer", ["'x'", "1.5"], []),
    ("F.avg_pool2d(images, 2, count_include_pad={})", "avg_pool2d", "count_include_pad", FLAG, ["'x'"], []),
    ("F.avg_pool2d(images, 2, divisor_override={})", "avg_pool2d", "divisor_override", INTEGER_1, ["1.5"], ["0"]),
    ("F.max_pool2d(images, 2, return_indices={})", "max_pool2d", "return_indices", FLAG, ["'x'"], []),
    ("nn.Conv2d(1, 2, 3, bias={})", "Conv2d", "bias", FLAG, ["'x'", "[0.0, 0.0]"], []),
    ("nn.AvgPool2d(2, ceil_mode={})", "AvgPool2d", "ceil_mode", FLAG, ["'x'"], []),
    ("nn.AvgPool2d(2, count_include_pad={})", "AvgPool2d", "count_include_pad", FLAG, ["'x'"], []),
    ("nn.BatchNorm2d(2, track_running_stats={})", "BatchNorm2d", "track_running_stats", FLAG, ["'x'"], []),
    ("nn.Flatten(1, {})", "Flatten", "end_dim", "an integer", ["'x'", "1.5"], []),
    ("nn.CrossEntropyLoss(ignore_index={})", "CrossEntropyLoss", "ignore_index", "an integer", ["'x'", "1.5"], []),
    ("lr_scheduler.OneCycleLR(sgd, 1.0, None, 2, {})", "OneCycleLR", "steps_per_epoch", INTEGER_1, ["1.5"], ["-1"]),
    ("lr_scheduler.OneCycleLR(sgd, 1.0, 5, cycle_momentum={})", ".*", "cycle_momentum", FLAG, ["'x'"], []),
    ("lr_scheduler.OneCycleLR(sgd, 1.0, 5, base_momentum={})", ".*", "base_momentum", BELOW_1, ["'x'"], ["1"]),
    ("lr_scheduler.OneCycleLR(sgd, 1.0, 5, final_div_factor={})", ".*", ".*", "a number above 0", ["'x'"], ["0"]),
    ("sgd.load_state_dict({{'state': {{}}, 'param_groups': [{{'params': {}}}]}})", ".*", "params", "a list", ["5"], []),
    ("swa_utils.AveragedModel(layer).update_parameters({})", "update_parameters", "model", "a Module", ["None"], []),
    ("setattr(w, 'requires_grad', {})", "Tensor", "requires_grad", FLAG, ["'x'", "None"], []),
    ("Trainer(layer, {}, loader)", "Trainer", "optimizer", "an Optimizer", ["None", "5"], []),
    ("Trainer(layer, sgd, loader, None, {})", "Trainer", "averaged", "an AveragedModel", ["5"], []),
]
CASES = [
    pytest.param(call.format(value), kind, f"^{owner} expects {name} as {wanted}.*, got ", id=call.format(value))
    for call, owner, name, wanted, *values in REFUSED
    for kind, some in zip((TypeError, ValueError), values, strict=True)
    for value in some
]


@pytest.mark.parametrize(("call", "kind", "message"), CASES)
def test_a_mistake_is_refused(call, kind, message):
    with pytest.raises(kind, match=message) as error:
        eval(call, names())
    assert type(error.value) is kind  # and no kind of it that NumPy has made


@pytest.mark.parametrize("one", [np.int64(1), np.uint8(1), np.array(1), np.array([1]), Tensor(np.array(1)), 1])
def test_what_holds_one_number_counts_as_the_number(one):
    layer = nn.Conv2d(one, one, one, stride=(one, 1), groups=one)
    optimizer = optim.SGD(layer.parameters(), lr=one)
    schedule = lr_scheduler.StepLR(optimizer, one)
    found = [layer.in_channels, layer.kernel_size, layer.stride, optimizer.param_groups[0]["lr"], schedule.step_size]
    assert found == [1, (1, 1), (1, 1), 1, 1]
    assert {type(found[0]), type(found[3]), type(found[4])} <= {int, float}


@pytest.mark.parametrize("yes", [True, np.True_, 1])
def test_flags(yes):
    assert len(data.DataLoader((np.zeros(5),), 2, drop_last=yes)) == 2
    assert F.sum(np.ones((2, 3)), 0, yes).shape == (1, 3)


LISTS = {
    "linear": (F.linear, [[[1.0, 2.0]], [[3.0, 4.0]], [0.5]], {}),
    "batch_norm": (F.batch_norm, [[[1.0, 2.0], [3.0, 5.0]], [0.5, 0.0], [1.0, 2.0], [2.0, 2.0], [1.0, 0.0]], {}),
    "batch_norm in training": (F.batch_norm, [[[1.0], [3.0]], None, None, [2.0], [1.0]], {"training": True}),
    "conv2d": (F.conv2d, [[[[[1.0, 2.0]]]], [[[[3.0]]]], [0.5]], {}),
    "cross_entropy": (F.cross_entropy, [[[0.0, 1.0], [2.0, 0.0]], [1, 1], [1.0, 3.0]], {}),
    "nll_loss": (F.nll_loss, [[[0.0, 1.0]], [1], [1.0, 3.0]], {"reduction": "sum"}),
    "mse_loss": (F.mse_loss, [[1.0, 2.0], [3.0, 5.0]], {}),
    "where": (lambda condition: F.where(condition, np.ones(2), np.zeros(2)), [[True, False]], {}),
}


@pytest.mark.parametrize(("function", "lists", "settings"), LISTS.values(), ids=LISTS)
def test_lists_are_taken_for_arrays(function, lists, settings):
    arrays = [one if one is None else np.array(one) for one in lists]
    np.testing.assert_allclose(function(*lists, **settings), function(*arrays, **settings), rtol=1e-6)


@pytest.mark.parametrize("in_training", [True, False])
@pytest.mark.parametrize("shape", [(1, 28, 28), (28, 28)])
@pytest.mark.parametrize("make", [models.flat, models.simple, models.lenet, models.complex])
def test_a_model_says_that_the_batch_axis_is_missing(make, shape, in_training):
    if (make, shape) == (models.flat, (1, 28, 28)):
        return  # this one cannot tell an image of one channel from a batch of one
    model = make().train(in_training)
    with pytest.raises(ValueError, match=r"batch.* image\[None"):
        model(np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match=r"batch.* image\[None"), tinygrad_cnn.no_grad():
        model(np.zeros(shape, np.float32))
    assert model(np.zeros((1, 1, 28, 28), np.float32)).shape == (1, 10)


def test_a_layer_says_that_the_batch_axis_is_missing():
    with pytest.raises(ValueError, match=r"got \(2, 8, 8\): one image needs a batch axis, image\[None\]"):
        nn.BatchNorm2d(2)(np.zeros((2, 8, 8), np.float32))
    with pytest.raises(ValueError, match=r"expects 128 features, got 64.* batch axis: pass image\[None\]"):
        nn.Linear(128, 1)(Tensor(np.zeros((2, 8, 8))).flatten(1))


TRANSFORMS = {
    "nothing": (lambda images, rng: None, ValueError, "transform returns as an array of the 2 images .* got None"),
    "too few": (
        lambda images, rng: images[:1],
        ValueError,
        r"array of the 2 images that it was given, got ndarray of shape \(1, 2\)",
    ),
    "too many": (lambda images, rng: np.concatenate([images, images]), ValueError, r"shape \(4, 2\)"),
    "a number": (lambda images, rng: 5, ValueError, "2 images that it was given, got 5"),
}


@pytest.mark.parametrize(("transform", "kind", "message"), TRANSFORMS.values(), ids=TRANSFORMS)
def test_what_a_transform_returns_is_checked(transform, kind, message):
    loader = data.DataLoader((np.zeros((4, 2)), np.zeros(4)), 2, transform=transform)
    with pytest.raises(kind, match=message):
        next(iter(loader))


def test_what_is_declared_to_be_of_several_types_is_not_checked():
    def declared(rate: NotNegative | Literal["fast"], size: Literal[1, 2], count: Positive | None, other: int): ...

    assert list(checks_of(declared)) == ["count"]


def test_a_state_with_a_wrong_setting_changes_nothing():
    layer = nn.Linear(2, 2)
    optimizer = optim.Adam(layer.parameters(), lr=0.1)
    state = optimizer.state_dict()
    state["param_groups"][0].update(lr=0.5, betas=(0.9, "x"))
    schedule = lr_scheduler.StepLR(optimizer, 2)
    with pytest.raises(TypeError, match="Adam expects each of the betas as a number"):
        optimizer.load_state_dict(state)
    with pytest.raises(TypeError, match="last_epoch as a number"):
        schedule.load_state_dict({"last_epoch": "x", "base_lrs": [0.5]})
    assert optimizer.param_groups[0]["lr"] == 0.1 and schedule.base_lrs == [0.1]


def test_statistics_that_cannot_be_updated_stay_as_they_are():
    mean, variance = np.zeros(3), np.ones(3)
    variance.flags.writeable = False
    with pytest.raises(TypeError, match="running_var as a floating-point array, to update it in place"):
        F.batch_norm(np.ones((2, 3)), mean, variance, training=True)
    assert not mean.any()


def test_a_tensor_that_is_compared_with_what_is_no_number():
    t = Tensor([1.0, 2.0])
    assert t != None and t != "x"  # noqa: E711
    with pytest.raises(TypeError, match="'<' not supported between instances of 'Tensor' and 'str'"):
        t < "x"  # noqa: B015
    with pytest.raises(ValueError, match=r"whether a Tensor of shape \(2,\) is true is ambiguous"):
        bool(t)
    with pytest.raises(TypeError, match="without dimensions has no length"):
        len(Tensor(1.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: gradcheck(None, w), "expects fn as a Callable, got None"),
        (lambda w: gradcheck(lambda x: x, 5), "expects inputs as an Iterable, got 5"),
        (lambda w: gradcheck(lambda x: x, w, eps="x"), "expects eps as a number above 0, got 'x'"),
        (lambda w: gradcheck(lambda x: x, w, eps=0), "expects eps as a number above 0, got 0"),
        (lambda w: gradcheck(lambda x: x, w, atol=float("nan")), "expects atol as a number of at least 0, got nan"),
        (lambda w: gradcheck(lambda x: x, w, rtol=-1), "expects rtol as a number of at least 0, got -1"),
    ],
)
def test_arguments_of_gradcheck(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(Tensor(np.ones(2), requires_grad=True))


@pytest.mark.parametrize("key", [9, "x", 1.5, (0, 0, 0), [0.5]])
def test_a_key_that_does_not_fit_is_told_with_the_shape(key):
    with pytest.raises(IndexError, match=r"index of x \(2, 3\).* key="):
        Tensor(np.ones((2, 3)))[key]
