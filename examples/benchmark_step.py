"""The training step and the inference that benchmark.py compares, in each framework, and how long they take.

benchmark.py runs this file once per measurement, with a JSON object that holds the arguments of `measure`:

    python examples/benchmark_step.py '{"framework": "jax", "layers": [["flatten"], ["linear", 784, 10]], "batch": 64}'

The networks are built as each framework's documentation builds them. All of them begin with the same weights, see
the same batch, and compute the same: cross-entropy, its gradient, and SGD without momentum, in float32.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

LR = 0.01
WARM_UP = 3  # compilers are done after two steps
FEWEST = 5  # timed steps, unless one takes all of the time

Layers = list[tuple[Any, ...]]  # ("conv", in, out, kernel, padding), ("linear", in, out), ("relu",), ("pool",), ...
Work = tuple[Callable[[], Any], Callable[[], Any]]  # a training step, which returns its loss, and an inference


def tinygrad_cnn(layers: Layers, images: np.ndarray, labels: np.ndarray) -> Work:
    import tinygrad_cnn

    return with_pytorchs_names(tinygrad_cnn, lambda function: function, layers, images, labels)


def compiled(layers: Layers, images: np.ndarray, labels: np.ndarray) -> Work:
    """tinygrad_cnn with `compile`, of the loss and of inference."""
    import tinygrad_cnn

    return with_pytorchs_names(tinygrad_cnn, tinygrad_cnn.compile, layers, images, labels)


def torch(layers: Layers, images: np.ndarray, labels: np.ndarray) -> Work:
    import torch

    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    return with_pytorchs_names(torch, lambda function: function, layers, x, y)


def torch_compile(layers: Layers, images: np.ndarray, labels: np.ndarray) -> Work:
    """PyTorch with its `compile`, of the loss and of inference; it needs a C++ compiler."""
    import torch

    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    return with_pytorchs_names(torch, torch.compile, layers, x, y)


def with_pytorchs_names(torch: Any, compile: Callable[[Any], Any], layers: Layers, images: Any, labels: Any) -> Work:
    """The program for PyTorch and for this package: in both it reads the same."""
    model = sequential(torch.nn, layers)
    model.load_state_dict(dict(zip(model.state_dict(), map(torch.from_numpy, weights(layers)), strict=True)))
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    infer = compile(model)
    loss_of = compile(lambda x, y: torch.nn.functional.cross_entropy(model(x), y))
    return training_step(optimizer, lambda: loss_of(images, labels)), torch.no_grad()(lambda: infer(images))


def training_step(optimizer: Any, loss_of: Callable[[], Any]) -> Callable[[], Any]:
    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        return loss

    return step


def sequential(nn: Any, layers: Layers) -> Any:
    """The layers in order, made of the modules of either framework: they have the same names."""
    kinds = {
        "conv": lambda i, o, k, p: nn.Conv2d(i, o, k, padding=p),
        "relu": nn.ReLU,
        "pool": lambda: nn.MaxPool2d(2),
        "flatten": nn.Flatten,
        "linear": nn.Linear,
    }
    return nn.Sequential(*(kinds[kind](*args) for kind, *args in layers))


def jax(layers: Layers, images: np.ndarray, labels: np.ndarray) -> Work:
    import jax
    from jax import lax
    from jax import numpy as jnp

    jax.config.update("jax_platforms", "cpu")
    forward = chain(
        layers,
        conv=lambda x, w, b, p: lax.conv_general_dilated(x, w, (1, 1), [(p, p), (p, p)]) + b[:, None, None],
        relu=jax.nn.relu,
        pool=lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID"),
        flatten=lambda x: x.reshape(len(x), -1),
        linear=lambda x, w, b: x @ w.T + b,
    )

    def cross_entropy(parameters: Any, x: Any, y: Any) -> Any:
        return -jax.nn.log_softmax(forward(parameters, x))[jnp.arange(len(y)), y].mean()

    @jax.jit
    def update(parameters: Any, x: Any, y: Any) -> Any:
        loss, gradients = jax.value_and_grad(cross_entropy)(parameters, x, y)
        return loss, [p - LR * g for p, g in zip(parameters, gradients, strict=True)]

    x, y = jnp.asarray(images), jnp.asarray(labels)
    parameters = [jnp.asarray(w) for w in weights(layers)]

    def step() -> Any:
        nonlocal parameters
        loss, parameters = jax.block_until_ready(update(parameters, x, y))
        return loss

    infer = jax.jit(forward)
    return step, lambda: jax.block_until_ready(infer(parameters, x))


def tinygrad(layers: Layers, images: np.ndarray, labels: np.ndarray) -> Work:
    """For tinygrad 0.14; its CPU device compiles with clang."""
    from tinygrad import Device, Tensor, TinyJit
    from tinygrad.helpers import DEV, Context
    from tinygrad.nn.optim import SGD

    DEV.value = "CPU"
    parameters = [Tensor(w) for w in weights(layers)]
    optimizer = SGD(parameters, lr=LR)
    x, y = Tensor(images).realize(), Tensor(labels).realize()
    forward = chain(
        layers,
        conv=lambda x, w, b, p: x.conv2d(w, b, padding=p),
        relu=Tensor.relu,
        pool=lambda x: x.max_pool2d((2, 2)),
        flatten=lambda x: x.flatten(1),
        linear=lambda x, w, b: x.linear(w.transpose(), b),
    )

    @TinyJit
    @Context(TRAINING=1)
    def update(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = forward(parameters, x).sparse_categorical_crossentropy(y).backward()
        return loss.realize(*optimizer.schedule_step())

    infer = TinyJit(lambda x: forward(parameters, x).realize())

    def done(result: Any) -> Any:
        Device["CPU"].synchronize()
        return result

    return lambda: done(update(x, y)), lambda: done(infer(x))


def mygrad(layers: Layers, images: np.ndarray, labels: np.ndarray) -> Work:
    import mygrad
    from mygrad import nnet

    parameters = [mygrad.tensor(w) for w in weights(layers)]
    forward = chain(
        layers,
        conv=lambda x, w, b, p: nnet.conv_nd(x, w, stride=1, padding=p) + b.reshape(-1, 1, 1),
        relu=nnet.relu,
        pool=lambda x: nnet.max_pool(x, (2, 2), 2),
        flatten=lambda x: x.reshape(len(x), -1),
        linear=lambda x, w, b: mygrad.matmul(x, w.T) + b,
    )

    def step() -> Any:
        loss = nnet.softmax_crossentropy(forward(parameters, images), labels)
        loss.backward()
        for p in parameters:
            p.data -= LR * p.grad
        return loss

    return step, mygrad.no_autodiff(lambda: forward(parameters, images))


def chain(layers: Layers, **functions: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """The network as a function of its parameters and images; `conv` and `linear` take a weight and a bias each."""

    def forward(parameters: Any, x: Any) -> Any:
        left = iter(parameters)
        for kind, *sizes in layers:
            if kind == "conv":
                x = functions[kind](x, next(left), next(left), sizes[-1])
            elif kind == "linear":
                x = functions[kind](x, next(left), next(left))
            else:
                x = functions[kind](x)
        return x

    return forward


def weights(layers: Layers) -> Iterator[np.ndarray]:
    """A weight and a bias for each layer that has them, as PyTorch draws them: uniform up to 1 / √inputs."""
    random = np.random.default_rng(0)
    for kind, *sizes in layers:
        if kind in ("conv", "linear"):
            inputs, outputs, *kernel = sizes
            shape = (outputs, inputs, *(kernel[:1] * 2))
            bound = 1 / math.sqrt(math.prod(shape[1:]))
            yield random.uniform(-bound, bound, shape).astype(np.float32)
            yield random.uniform(-bound, bound, outputs).astype(np.float32)


FRAMEWORKS = {f.__name__: f for f in (tinygrad_cnn, compiled, torch, torch_compile, jax, tinygrad, mygrad)}
COMPILED = {"compiled": "tinygrad_cnn", "torch_compile": "torch"}  # those that are another one with its `compile`


def measure(framework: str, layers: Layers, batch: int, side: int = 28, seconds: float = 1.0) -> dict[str, Any]:
    """In this process: the times of all steps and inferences, the memory they took, and the first losses.

    Args:
        framework: one of FRAMEWORKS.
        batch, side: images of shape (batch, 1, side, side), the same random numbers each time.
        seconds: how long training steps are timed; inferences half as long.

    Returns:
        `train` and `infer`, seconds of each; `peak`, the bytes by which training raised the peak of memory,
        compilers included; `losses` of the steps before the timed ones.
    """
    random = np.random.default_rng(1)
    images, labels = random.random((batch, 1, side, side), np.float32), random.integers(0, 10, batch)
    step, infer = FRAMEWORKS[framework](layers, images, labels)
    return clocked(step, infer, lambda: [step().item() for _ in range(WARM_UP)], seconds)


def clocked(
    step: Callable[[], Any], infer: Callable[[], Any], warm_up: Callable[[], list[float]], seconds: float
) -> dict[str, Any]:
    """What `measure` returns, of steps and inferences; `warm_up` takes the first steps, and returns the losses."""
    before = memory("VmRSS")
    losses = warm_up()
    train = timed(step, seconds)
    peak = memory("VmHWM") - before
    for _ in range(WARM_UP):
        infer()
    return {"losses": losses, "peak": peak, "train": train, "infer": timed(infer, seconds / 2)}


def timed(step: Callable[[], Any], seconds: float) -> list[float]:
    """The time of each call, repeated for `seconds` in all and at least FEWEST times, unless one call takes as long."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end or (len(times) < FEWEST and max(times) < seconds):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


def memory(field: str) -> float:
    """The memory of this process in bytes, now (VmRSS) or at its peak (VmHWM); NaN where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) * 1024.0 for line in lines if line.startswith(field))


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
