"""Layers and other people's networks, written once for every framework whose modules have PyTorch's names.

JAX has no modules, and so takes part only in benchmark_step.py.

benchmark.py runs this file once per measurement, with a JSON object that holds the arguments of `measure`:

    python examples/benchmark_networks.py '{"framework": "tinygrad_cnn", "layer": "batch norm", "size": [8, 16, 32]}'
    python examples/benchmark_networks.py '{"framework": "tinygrad_cnn", "network": "resnet", "batch": 32}'
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from benchmark_step import COMPILED, WARM_UP, clocked, training_step

# each layer as a function of nn, the channels and the height and width of its images
LAYERS: dict[str, Callable[[Any, int, int], Any]] = {
    "3×3": lambda nn, c, side: nn.Conv2d(c, c, 3, padding=1),
    "3×3 strided": lambda nn, c, side: nn.Conv2d(c, c, 3, stride=2, padding=1),
    "1×1": lambda nn, c, side: nn.Conv2d(c, c, 1),
    "depthwise 3×3": lambda nn, c, side: nn.Conv2d(c, c, 3, padding=1, groups=c),
    "grouped 3×3": lambda nn, c, side: nn.Conv2d(c, c, 3, padding=1, groups=4),
    "transposed 2×2": lambda nn, c, side: nn.ConvTranspose2d(c, c, 2, stride=2),
    "transposed 4×4": lambda nn, c, side: nn.ConvTranspose2d(c, c, 4, stride=2, padding=1),
    "batch norm": lambda nn, c, side: nn.BatchNorm2d(c),
    "group norm": lambda nn, c, side: nn.GroupNorm(4, c),
    "instance norm": lambda nn, c, side: nn.InstanceNorm2d(c),
    "layer norm": lambda nn, c, side: nn.LayerNorm([c, side, side]),
    "layer norm of rows": lambda nn, c, side: nn.LayerNorm(side),
    "ReLU": lambda nn, c, side: nn.ReLU(),
    "GELU": lambda nn, c, side: nn.GELU(),
    "SiLU": lambda nn, c, side: nn.SiLU(),
    "max pool": lambda nn, c, side: nn.MaxPool2d(2),
    "max pool, overlapping": lambda nn, c, side: nn.MaxPool2d(3, 2, 1),
    "average pool": lambda nn, c, side: nn.AvgPool2d(2),
    "average pool, global": lambda nn, c, side: nn.AdaptiveAvgPool2d(1),
    "adaptive average pool": lambda nn, c, side: nn.AdaptiveAvgPool2d(5),
    "adaptive max pool": lambda nn, c, side: nn.AdaptiveMaxPool2d(5),
    "nearest": lambda nn, c, side: nn.Upsample(scale_factor=2),
    "bilinear": lambda nn, c, side: nn.Upsample(scale_factor=2, mode="bilinear"),
}
SIZES = ((8, 16, 32), (32, 16, 32), (32, 64, 16))  # (N, C, H = W)


def convolution(nn: Any, c: int, out: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> list[Any]:
    """A convolution that keeps the size of the images but for its stride, and batch normalisation."""
    bias = {"bias": False}
    return [nn.Conv2d(c, out, kernel, stride, kernel // 2, groups=groups, **bias), nn.BatchNorm2d(out)]


def resnet(nn: Any, widths: tuple[int, ...]) -> Any:
    """A residual network for CIFAR-10 (He et al., 2016), of one block for each width."""

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self, c: int, out: int, stride: int) -> None:
            super().__init__()
            self.residual = nn.Sequential(
                *convolution(nn, c, out, 3, stride), nn.ReLU(inplace=True), *convolution(nn, out, out)
            )
            self.shortcut = nn.Sequential(*convolution(nn, c, out, 1, stride) if (c, stride) != (out, 1) else ())
            self.relu = nn.ReLU()

        def forward(self, x: Any) -> Any:
            return self.relu(self.residual(x) + self.shortcut(x))

    blocks = [Block(c, out, 1 + (c != out)) for c, out in zip((widths[0], *widths), widths, strict=False)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10)]
    return nn.Sequential(*convolution(nn, 3, widths[0]), nn.ReLU(), *blocks, *head)


def separable(nn: Any) -> Any:
    """Depthwise and 1×1 convolutions in turns (Howard et al., 2017)."""
    layers = [*convolution(nn, 3, 32), nn.ReLU()]
    for c, out, stride in ((32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2)):
        layers += [*convolution(nn, c, c, 3, stride, groups=c), nn.ReLU(), *convolution(nn, c, out, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10))


def vgg(nn: Any) -> Any:
    """Pairs of convolutions between poolings (Simonyan and Zisserman, 2015), with batch normalisation."""
    layers: list[Any] = []
    for c, out in ((3, 32), (32, 64), (64, 128)):
        layers += [*convolution(nn, c, out), nn.ReLU(inplace=True), nn.MaxPool2d(2, 2)]
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(2048, 128), nn.ReLU(True), nn.Dropout(0.0), nn.Linear(128, 10)
    )


def autoencoder(nn: Any) -> Any:
    """Strided convolutions down to 4×4, and transposed ones up again."""
    down = [nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1)]
    up = [nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU()]
    return nn.Sequential(*down, nn.ReLU(), *up, nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Sigmoid())


def mlp(nn: Any) -> Any:
    """Dense layers alone."""
    hidden = [nn.Linear(3072, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(512, 10))


# each network, with a small and a large batch of images (3, 32, 32)
NETWORKS: dict[str, tuple[Callable[[Any], Any], tuple[int, int]]] = {
    "resnet": (lambda nn: resnet(nn, (16, 32, 64)), (8, 32)),
    "wide resnet": (lambda nn: resnet(nn, (64, 128, 256)), (2, 8)),
    "separable": (separable, (4, 32)),
    "vgg": (vgg, (4, 32)),
    "autoencoder": (autoencoder, (8, 64)),
    "mlp": (mlp, (8, 64)),
}


def measure(framework: str, seconds: float = 1.0, **case: Any) -> dict[str, Any]:
    """In this process: the times of all steps and inferences, the memory, and numbers that frameworks must agree on.

    Args:
        framework: "tinygrad_cnn", "torch", or either with its `compile`: "compiled", "torch_compile".
        seconds: how long steps are timed; inferences half as long.
        case: `layer` and `size`, a step being forward and backward; or `network` and `batch`, a step being forward,
            loss, backward and AdamW. Steps are in training mode, inferences in evaluation mode.

    Returns:
        As `benchmark_step.measure`; `losses` of a layer are mean squares of its output and of its gradients. The last
        of `losses` is the mean square of what inference returns.
    """
    torch = importlib.import_module(COMPILED.get(framework, framework))
    nn = importlib.import_module(f"{torch.__name__}.nn")
    compiled = torch.compile if framework in COMPILED else lambda function: function
    program = layer_step if "layer" in case else network_step
    step, infer, warm_up = program(torch, nn, compiled, **case)
    infer = torch.no_grad()(infer)
    found = clocked(step, infer, warm_up, seconds)
    out = infer()
    found["losses"].append((out * out).mean().item())
    return found


# a step, an inference, and the first steps with what came out
Work = tuple[Callable[[], Any], Callable[[], Any], Callable[[], list[float]]]


def layer_step(torch: Any, nn: Any, compiled: Any, layer: str, size: tuple[int, int, int]) -> Work:
    """Forward and backward of one layer, its images and cotangent lying in memory as they do inside a network."""
    n, channels, side = size
    random = np.random.default_rng(1)
    make = functools.partial(with_weights, torch, lambda: LAYERS[layer](nn, channels, side))
    module = make()
    x = inside(torch, random.standard_normal((n, channels, side, side), np.float32))
    x.requires_grad_()
    g = inside(torch, random.standard_normal(tuple(module(x).shape), np.float32))
    run = compiled(module)

    def step() -> None:
        x.grad = None
        for p in module.parameters():
            p.grad = None
        run(x).backward(g)

    def warm_up() -> list[float]:
        for _ in range(WARM_UP):
            step()
        out = module(x)
        means = [(grad * grad).mean().item() for grad in (x.grad, *(p.grad for p in module.parameters()))]
        return [(out * out).mean().item(), *means]

    return step, inference(compiled, make, x), warm_up


def network_step(torch: Any, nn: Any, compiled: Any, network: str, batch: int) -> Work:
    """A training step with AdamW: the cross-entropy of ten classes, or how far an autoencoder's images are off."""
    functional, optim = (importlib.import_module(f"{torch.__name__}.{name}") for name in ("nn.functional", "optim"))
    random = np.random.default_rng(1)
    make = functools.partial(with_weights, torch, lambda: NETWORKS[network][0](nn))
    model = make()
    images = torch.from_numpy(random.random((batch, 3, 32, 32), np.float32))
    labels = torch.from_numpy(random.integers(0, 10, batch))
    optimizer = optim.AdamW(model.parameters(), lr=1e-4)

    def loss_of(images: Any, labels: Any) -> Any:
        scores = model(images)
        return functional.cross_entropy(scores, labels) if scores.ndim == 2 else functional.mse_loss(scores, images)

    loss_of = compiled(loss_of)
    step = training_step(optimizer, lambda: loss_of(images, labels))
    return step, inference(compiled, make, images), lambda: [step().item() for _ in range(WARM_UP)]


def inference(compiled: Any, make: Callable[[], Any], x: Any) -> Callable[[], Any]:
    """What a module gives in evaluation mode. It is a new one, as weights differ after training: the faster a framework
    is, the more steps it takes. It is made at the first call, and so takes no memory while training is measured.
    """
    model = functools.cache(lambda: compiled(make().eval()))
    return lambda: model()(x)


def with_weights(torch: Any, make: Callable[[], Any]) -> Any:
    """A module with small random weights in place of its own, the same ones for every framework."""
    module, random = make(), np.random.default_rng(0)
    with torch.no_grad():
        for p in module.parameters():
            fan_in = max(1, p.numel() // p.shape[0])
            p.copy_(torch.from_numpy(random.uniform(-1, 1, tuple(p.shape)).astype(np.float32) / fan_in**0.5))
    return module


def inside(torch: Any, images: np.ndarray) -> Any:
    """Images as they come out of a layer: ours lie in memory as (H, C, W, N), PyTorch's as (N, C, H, W)."""
    if torch.__name__ != "torch" and images.ndim == 4:
        images = np.ascontiguousarray(images.transpose(2, 1, 3, 0)).transpose(3, 1, 0, 2)
    return torch.from_numpy(images)


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
