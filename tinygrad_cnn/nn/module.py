"""Module: a function with state, whose parameters and buffers are found, named and ordered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from ..tensor import Tensor


class Parameter(Tensor):
    """A Tensor that belongs to a module and is trained: what a module's `parameters()` gives.

    >>> Parameter([1.0]).requires_grad
    True
    """

    __slots__ = ()

    def __init__(self, data: Any, dtype: Any = None, requires_grad: bool = True) -> None:
        super().__init__(data.numpy() if isinstance(data, Tensor) else data, dtype, requires_grad)

    wrap = Tensor.wrap  # type: ignore[assignment]  # what is computed from a Parameter is a Tensor


class Buffer(Tensor):
    """A Tensor that belongs to a module and is saved with it, but not trained: running statistics, say.

    >>> Buffer([1.0]).requires_grad
    False
    """

    __slots__ = ()

    def __init__(self, data: Any, dtype: Any = None) -> None:
        super().__init__(data.numpy() if isinstance(data, Tensor) else data, dtype)

    wrap = Tensor.wrap  # type: ignore[assignment]


class Keys(NamedTuple):
    """What `load_state_dict(..., strict=False)` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """A function with parameters. Write `forward`; call the module itself.

    Parameters, buffers and other modules are found among the attributes, also inside lists, tuples and
    dictionaries, in the order in which they were set; a name is the path to it: `layers.0.weight`.

    >>> from tinygrad_cnn import Tensor, nn
    >>> class Scale(nn.Module):
    ...     def __init__(self):
    ...         self.factor = nn.Parameter([2.0])
    ...
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> scale = Scale()
    >>> scale(Tensor([3.0])).item(), [name for name, _ in scale.named_parameters()]
    (6.0, ['factor'])
    """

    training = True

    def __call__(self, *args: Any, **settings: Any) -> Any:
        return self.forward(*args, **settings)

    def forward(self, *args: Any, **settings: Any) -> Any:
        """What the module computes; to be written by each kind of module."""
        raise NotImplementedError(f"{type(self).__name__} has no forward method yet: define forward(self, ...)")

    def register_buffer(self, name: str, tensor: Any) -> None:
        """Set an attribute that is saved with the module, but not trained."""
        setattr(self, name, Buffer(tensor))

    # ---- what it holds

    def _members(self) -> Iterator[tuple[str, Any]]:
        """Parameters and buffers first, then modules, by name."""
        members = [member for name, value in vars(self).items() for member in _found(name, value)]
        yield from (member for member in members if isinstance(member[1], Tensor))
        yield from (member for member in members if isinstance(member[1], Module))

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module (its name is the prefix) and all modules below it, each once."""
        yield from _walk(self, prefix, set())

    def modules(self) -> Iterator[Module]:
        """This module and all modules below it, each once."""
        return (module for _, module in self.named_modules())

    def children(self) -> Iterator[Module]:
        """The modules right below this one."""
        return (member for _, member in self._members() if isinstance(member, Module))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules right below this one, with their names."""
        return ((name, member) for name, member in self._members() if isinstance(member, Module))

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their names, each once, also where it is used in two places."""
        return _named_tensors(self, Parameter)

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, in the order of `named_parameters`."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """All buffers with their names."""
        return _named_tensors(self, Buffer)

    def buffers(self) -> Iterator[Buffer]:
        """All buffers."""
        return (buffer for _, buffer in self.named_buffers())

    # ---- changing it

    def train(self, mode: bool = True) -> Self:
        """Into training mode: dropout drops, batch norm uses the batch."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Out of training mode."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Whether the parameters are trained."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            if parameter.requires_grad:
                parameter.grad = None

    def float(self) -> Self:
        """All floating-point parameters and buffers to float32."""
        return self._convert(np.float32)

    def double(self) -> Self:
        """All floating-point parameters and buffers to float64."""
        return self._convert(np.float64)

    def _convert(self, dtype: Any) -> Self:
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.dtype.kind == "f":
                if tensor.grad is not None:
                    tensor.grad = tensor.grad.detach().astype(dtype)
                tensor.data = tensor.data.astype(dtype)
        return self

    # ---- saving it

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of all parameters and buffers by name, without history.

        >>> from tinygrad_cnn import nn
        >>> {name: value.shape for name, value in nn.Linear(3, 2).state_dict().items()}
        {'weight': (2, 3), 'bias': (2,)}
        """
        return {name: Tensor(tensor.numpy()) for name, tensor in self._state().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Keys:
        """Take over parameters and buffers from Tensors or arrays (PyTorch's as well) by name.

        Raises:
            RuntimeError: naming the keys that are missing, unexpected (both unless strict=False) or of another
                shape. Nothing has been changed then.
        """
        own = self._state()
        given = {name: np.asarray(value) for name, value in state_dict.items()}
        missing = [name for name in own if name not in given]
        unexpected = [name for name in given if name not in own]
        problems = [
            f"{name} has shape {given[name].shape}, expected {own[name].shape}"
            for name in own
            if name in given and given[name].shape != own[name].shape
        ]
        if strict:
            problems += [f"missing: {name}" for name in missing]
            problems += [f"unexpected: {name}" for name in unexpected]
        if problems:
            raise RuntimeError(f"the state does not fit {type(self).__name__}: " + "; ".join(problems))
        for name, tensor in own.items():
            if name in given:
                tensor.data = given[name].astype(tensor.dtype)
        return Keys(missing, unexpected)

    def _state(self) -> dict[str, Tensor]:
        return {
            _joined(path, name): member
            for path, module in _walk(self, "", set(), shared=True)
            for name, member in module._members()
            if isinstance(member, (Parameter, Buffer))
        }

    # ---- showing it

    def extra_repr(self) -> str:
        """The settings, as `repr` shows them."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"


def _found(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (Parameter, Buffer, Module)):
        yield name, value
    elif isinstance(value, (list, tuple, dict)):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            yield from _found(f"{name}.{key}", part)


def _walk(module: Module, path: str, seen: set[Module], shared: bool = False) -> Iterator[tuple[str, Module]]:
    """The module and those below it, each once; with `shared`, one that is used twice under both names."""
    if module in seen:
        return
    seen.add(module)
    yield path, module
    for name, child in module.named_children():
        yield from _walk(child, _joined(path, name), seen, shared)
    if shared:
        seen.discard(module)


def _named_tensors(module: Module, kind: type[Any]) -> Iterator[tuple[str, Any]]:
    seen: set[Tensor] = set()
    for path, part in module.named_modules():
        for name, member in part._members():
            if isinstance(member, kind) and member not in seen:
                seen.add(member)
                yield _joined(path, name), member


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
