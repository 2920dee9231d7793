"""Module: a function with state, whose parameters and buffers are found, named and ordered."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import numpy as np

from ..engine.calls import run_module
from ..functional._arguments import real_array
from ..settings import array, flag, instance, mapping
from ..tensor import Tensor


class Parameter(Tensor):
    """A Tensor that belongs to a module and is trained: what a module's `parameters()` gives.

    >>> Parameter([1.0]).requires_grad
    True
    """

    __slots__ = ("name",)

    name: str  # in the module whose `parameters()` gave it last; not set before

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data.numpy() if isinstance(data, Tensor) else data, requires_grad=requires_grad)

    wrap = Tensor.wrap  # type: ignore[assignment]  # what is computed from a Parameter is a Tensor


class Buffer(Tensor):
    """A Tensor that belongs to a module and is saved with it, but not trained: running statistics, say.

    >>> Buffer([1.0]).requires_grad
    False
    """

    __slots__ = ()

    def __init__(self, data: Any) -> None:
        super().__init__(data.numpy() if isinstance(data, Tensor) else data)

    wrap = Tensor.wrap  # type: ignore[assignment]


class Keys(NamedTuple):
    """What `load_state_dict(..., strict=False)` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """The model in evaluation mode; afterwards each of its modules in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


class Module:
    """A function with parameters. Write `forward`; call the module itself.

    Parameters, buffers and other modules are found among the attributes, also inside lists, tuples and
    dictionaries, in the order in which they were set; a name is the path to it: `layers.0.weight`. A module's
    own come before those of the modules in it. `super().__init__()` need not be called.

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
        return run_module(self, args, settings)

    def forward(self, *args: Any, **settings: Any) -> Any:
        """Compute the output; each kind of module writes its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward method yet: define forward(self, ...)")

    def register_buffer(self, name: str, tensor: Any) -> None:
        """Set an attribute that is saved with the module, but not trained."""
        setattr(self, instance(name, "name", "register_buffer", str), Buffer(tensor))

    def __setattr__(self, name: str, value: Any) -> None:
        # layer.weight = 0.5 * layer.weight would make a Tensor of it, which is neither trained nor saved
        before = vars(self).get(name)
        for kind in (Parameter, Buffer):
            if isinstance(before, kind) and not (value is None or isinstance(value, kind)):
                raise TypeError(
                    f"{type(self).__name__}.{name} is a {kind.__name__}, a {type(value).__name__} would not be: "
                    f"assign an array to .{name}.data, or wrap the new value in nn.{kind.__name__}(...)"
                )
        super().__setattr__(name, value)

    # ---- what it holds

    def _members(self, kind: type[Any]) -> Iterator[tuple[str, Any]]:
        """Attributes of this type, and what of it is in lists, tuples and dictionaries, with their names."""
        return (member for name, value in vars(self).items() for member in _found(kind, name, value))

    def _all_members(self, kind: type[Any]) -> Iterator[tuple[str, Any]]:
        """Those of this module and of the modules below it, each once."""
        return _each_once((name, member) for name, member in _walk(self) if isinstance(member, kind))

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """This module (its name is empty) and all modules below it, each once."""
        return self._all_members(Module)

    def modules(self) -> Iterator[Module]:
        """This module and all modules below it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules right below this one, each once, with their names."""
        return _each_once(_distinct(self._members(Module)))

    def children(self) -> Iterator[Module]:
        """The modules right below this one, each once."""
        return (module for _, module in self.named_children())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their names, each once: one that is used in two places by its first name."""
        return self._all_members(Parameter)

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, in the order of `named_parameters`."""
        for name, parameter in self.named_parameters():
            parameter.name = name  # so that an optimiser, which sees nothing else, can say which one it means
            yield parameter

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """All buffers with their names, each once."""
        return self._all_members(Buffer)

    def buffers(self) -> Iterator[Buffer]:
        """All buffers, in the order of `named_buffers`."""
        return (buffer for _, buffer in self.named_buffers())

    # ---- changing it

    def train(self, mode: bool = True) -> Self:
        """Into training mode: dropout drops, batch norm uses the batch."""
        mode = flag(mode, "mode", "train")
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

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zero."""
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad = None if set_to_none else Tensor(np.zeros_like(parameter.data))

    def float(self) -> Self:
        """All floating-point parameters and buffers to float32."""
        return self._convert(np.float32)

    def double(self) -> Self:
        """All floating-point parameters and buffers to float64."""
        return self._convert(np.float64)

    def _convert(self, dtype: Any) -> Self:
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.dtype.kind == "f" and tensor.dtype != dtype:
                tensor.data = tensor.data.astype(dtype)
                if tensor.grad is not None:
                    tensor.grad = tensor.grad.detach().astype(dtype)
        return self

    # ---- saving it

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of all parameters and buffers by name, without history; what is shared, under all its names.

        >>> from tinygrad_cnn import nn
        >>> {name: value.shape for name, value in nn.Linear(3, 2).state_dict().items()}
        {'weight': (2, 3), 'bias': (2,)}
        """
        return {name: Tensor(tensor.numpy()) for name, tensor in self._state().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Keys:
        """Take over parameters and buffers from Tensors or arrays (PyTorch's as well) by name.

        Raises:
            RuntimeError: naming the keys that are missing, unexpected (both unless strict=False) or of another
                shape or kind of numbers. Nothing has been changed then.
        """
        own = self._state()
        owner = f"{type(self).__name__}.load_state_dict"
        given = {
            name: real_array(value if isinstance(value, np.ndarray) else array(value, name, owner, real=False), name)
            for name, value in mapping(state_dict, "state_dict", owner).items()
        }
        keys = Keys([name for name in own if name not in given], [name for name in given if name not in own])
        common = [name for name in own if name in given]
        problems = [
            f"{name} has shape {given[name].shape}, expected {own[name].shape}"
            for name in common
            if given[name].shape != own[name].shape
        ]
        problems += [
            f"{name} has dtype {given[name].dtype}, expected {own[name].dtype}"
            for name in common
            if not np.can_cast(given[name].dtype, own[name].dtype, "same_kind")
        ]
        if strict:
            problems += [f"missing: {name}" for name in keys.missing_keys]
            problems += [f"unexpected: {name}" for name in keys.unexpected_keys]
        if problems:
            raise RuntimeError("\n  ".join([f"the state does not fit {type(self).__name__}:", *problems]))
        converted = {name: given[name].astype(own[name].dtype) for name in common}
        for name, values in converted.items():
            own[name].data = values
        return keys

    def _state(self) -> dict[str, Tensor]:
        return {name: member for name, member in _walk(self) if not isinstance(member, Module)}

    # ---- showing it

    def extra_repr(self) -> str:
        """The settings, as `repr` shows them."""
        return ""

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        settings = self.extra_repr()
        children = [f"({name}): {child!r}" for name, child in self._members(Module)]
        if not children:
            return f"{type(self).__name__}({settings})"
        lines = "\n".join([settings, *children] if settings else children)
        return f"{type(self).__name__}(\n  " + lines.replace("\n", "\n  ") + "\n)"


def _found(kind: type[Any], name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The value itself if it is of this kind, or what of this kind is in it if it is a container."""
    if isinstance(value, kind):
        yield name, value
    elif isinstance(value, (list, tuple, dict)):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _found(kind, f"{name}.{key}", part)


def _walk(module: Module) -> Iterator[tuple[str, Any]]:
    """The module and all modules, parameters and buffers below it, under every name they have."""
    return _distinct(_below(module, "", ()))


def _below(module: Module, path: str, above: tuple[Module, ...]) -> Iterator[tuple[str, Any]]:
    if any(module is one for one in above):  # a module inside itself
        return
    yield path, module
    for kind in (Parameter, Buffer):
        for name, tensor in module._members(kind):
            yield _joined(path, name), tensor
    for name, child in module._members(Module):
        yield from _below(child, _joined(path, name), (*above, module))


def _distinct(named: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The same; raises ValueError where a name stands for two members, one of which would not be saved."""
    seen: dict[str, Any] = {}
    for name, member in named:
        if seen.setdefault(name, member) is not member:
            raise ValueError(
                f"two members have the name {name!r}: {_described(seen[name])} and {_described(member)}; rename an "
                "attribute, or a key of a dictionary (1 and '1' make the same name)"
            )
        yield name, member


def _described(member: Module | Tensor) -> str:
    settings = member.extra_repr() if isinstance(member, Module) else f"shape={member.shape}"
    return f"{type(member).__name__}({settings})"


def _each_once(named: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    seen = set()
    for name, member in named:
        if id(member) not in seen:  # a module may be a dataclass, and so not hashable
            seen.add(id(member))
            yield name, member


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
