"""Module: a function with state, whose parameters and buffers are found, named and ordered."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import numpy as np

from ..absences import absent
from ..autograd.arrays import real_array
from ..autograd.hooks import Hooked
from ..engine.calls import Call
from ..engine.recording import here
from ..settings import array, flag, instance, mapping, optional
from ..tensor import Tensor
from ..tensor.parameter import Buffer as Buffer
from ..tensor.parameter import Parameter as Parameter

PACKAGE = __name__.partition(".")[0] + "."


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


class Module(Hooked):
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
    unbuilt = False  # whether it waits for its first input, from which it will know its sizes
    _not_saved: frozenset[str] = frozenset()

    def __call__(self, *args: Any, **settings: Any) -> Any:
        for before, _ in self._hooks:
            if before is not None and (changed := before(self, args)) is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        if here.watcher is not None:
            here.watcher.module(self)
        kind = type(self)
        call = Call(kind.__name__, self, closed=kind.__module__.startswith(PACKAGE))  # what it records is its own
        result = call.run(self.forward, args, settings)
        for _, after in self._hooks:
            if after is not None and (changed := after(self, args, result)) is not None:
                result = changed
        return result

    def forward(self, *args: Any, **settings: Any) -> Any:
        """Compute the output; each kind of module writes its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward method yet: define forward(self, ...)")

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Set an attribute that is saved with the module (unless persistent=False), but not trained."""
        setattr(self, instance(name, "name", "register_buffer", str), None if tensor is None else Buffer(tensor))
        saved = flag(persistent, "persistent", "register_buffer")
        self._not_saved = self._not_saved - {name} if saved else self._not_saved | {name}

    def register_parameter(self, name: str, param: Any) -> None:
        """Set an attribute that is trained, or None."""
        optional(param, "param", "register_parameter", check=partial(instance, kind=Parameter))
        setattr(self, instance(name, "name", "register_parameter", str), param)

    def add_module(self, name: str, module: Any) -> None:
        """Set an attribute that is a module, or None."""
        optional(module, "module", "add_module", check=partial(instance, kind=Module))
        setattr(self, instance(name, "name", "add_module", str), module)

    register_module = add_module

    def __setattr__(self, name: str, value: Any) -> None:
        # layer.weight = 0.5 * layer.weight would make a Tensor of it, which is neither trained nor saved
        before = vars(self).get(name)
        if isinstance(before, Buffer) and type(value) is Tensor and not value.requires_grad:
            value, given = Buffer.__new__(Buffer), value
            value._array, value.node = given._array, None
        for kind in (Parameter, Buffer):
            if isinstance(before, kind) and not (value is None or isinstance(value, kind)):
                raise TypeError(
                    f"{type(self).__name__}.{name} is a {kind.__name__}, a {type(value).__name__} would not be: "
                    f"assign an array to .{name}.data, or wrap the new value in nn.{kind.__name__}(...)"
                )
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        """What is asked for by `module.__getattr__(name)`; Python itself comes here for what there is not."""
        if name not in vars(self):
            raise absent(f"{type(self).__name__!r} object", name, ())
        return vars(self)[name]

    # ---- what it holds

    def _members(self, kind: type[Any]) -> Iterator[tuple[str, Any]]:
        """Attributes of this type, and what of it is in lists, tuples and dictionaries, with their names."""
        return (member for name, value in vars(self).items() for member in _found(kind, name, value))

    def _all_members(self, kind: type[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Those of this module and of the modules below it, each once."""
        named = _distinct(_walk(self, prefix))
        return _each_once((name, member) for name, member in named if isinstance(member, kind))

    # those of this module itself, to be read; one is set as an attribute
    _modules = property(lambda self: MappingProxyType(dict(self._members(Module))))
    _parameters = property(lambda self: MappingProxyType(dict(self._members(Parameter))))
    _buffers = property(lambda self: MappingProxyType(dict(self._members(Buffer))))

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module (its name is empty, or the prefix) and all modules below it, each once."""
        return self._all_members(Module, prefix)

    def modules(self) -> Iterator[Module]:
        """This module and all modules below it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules right below this one, each once, with their names."""
        return _each_once(_distinct(self._members(Module)))

    def children(self) -> Iterator[Module]:
        """The modules right below this one, each once."""
        return (module for _, module in self.named_children())

    def get_submodule(self, target: str) -> Module:
        """The module of this name: `"layers.0"`; this one for the empty name."""
        found = {name: one for name, one in _distinct(_walk(self)) if isinstance(one, Module)}
        if target not in found:
            raise AttributeError(f"{type(self).__name__} has no module {target!r}, but {[*found][1:]}")
        return found[target]

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call fn with each module, those inside first, this one last: to set initial weights, say."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their names, each once: one that is used in two places by its first name.

        Without `recurse` only those of this module itself.
        """
        for name, one in _each_once(_distinct(_walk(self, prefix, recurse))):
            if isinstance(one, Parameter):
                yield name, one
            elif isinstance(one, Module) and one.unbuilt:
                raise RuntimeError(
                    f"{type(one).__name__} {name!r} has no parameters before its first call: call the model once, "
                    "with an input of the right shape, before an optimiser is made"
                )

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, in the order of `named_parameters`."""
        for name, parameter in self.named_parameters(recurse=recurse):
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
                parameter.grad = None if set_to_none else Tensor(np.zeros_like(parameter._array))

    def float(self) -> Self:
        """All floating-point parameters and buffers to float32."""
        return self._convert(np.float32)

    def double(self) -> Self:
        """All floating-point parameters and buffers to float64."""
        return self._convert(np.float64)

    def to(self, *args: Any, dtype: Any = None, device: Any = None, **ignored: Any) -> Self:
        """The parameters and buffers in another dtype; the device can only be "cpu"."""
        like = Tensor(np.zeros((), np.float32)).to(*args, dtype=dtype, device=device, **ignored)
        given = dtype is not None or any(not isinstance(one, (str, type(like.device), bool)) for one in args)
        return self._convert(like.dtype) if given else self

    def cpu(self) -> Self:
        """This module, as it is where NumPy computes."""
        return self

    def cuda(self, *_: Any) -> Self:
        """An error: NumPy computes on the CPU."""
        raise RuntimeError("NumPy computes on the CPU: leave .cuda() out, or ask cuda.is_available() first")

    def _convert(self, dtype: Any) -> Self:
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.dtype.kind == "f" and tensor.dtype != dtype:
                tensor.data = tensor._array.astype(dtype)
                if tensor.grad is not None:
                    tensor.grad = tensor.grad.detach().astype(dtype)
        return self

    # ---- saving it

    def state_dict(self) -> dict[str, Tensor]:
        """All parameters and buffers by name, detached; what is shared, under all its names.

        They share the module's memory, as in PyTorch: to keep what they are now, `copy.deepcopy` the dictionary.

        >>> from tinygrad_cnn import nn
        >>> {name: value.shape for name, value in nn.Linear(3, 2).state_dict().items()}
        {'weight': (2, 3), 'bias': (2,)}
        """
        return {name: Tensor.wrap(tensor._array, None) for name, tensor in self._state().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Keys:
        """Take over parameters and buffers from Tensors or arrays (PyTorch's as well) by name.

        Raises:
            RuntimeError: naming the keys that are missing, unexpected (both unless strict=False) or of another
                shape or kind of numbers. Nothing has been changed then.
        """
        own, owner = self._state(), f"{type(self).__name__}.load_state_dict"
        given = {
            name: real_array(value if isinstance(value, np.ndarray) else array(value, name, owner, real=False), name)
            for name, value in mapping(state_dict, "state_dict", owner).items()
        }
        keys = Keys([name for name in own if name not in given], [name for name in given if name not in own])
        problems = [f"missing: {name}" for name in keys.missing_keys if strict]
        problems += [f"unexpected: {name}" for name in keys.unexpected_keys if strict]
        pairs = [(name, old, given[name]) for name, old in own.items() if name in given]
        for name, old, new in pairs:
            if new.shape != old.shape:
                problems.append(f"{name} has shape {new.shape}, expected {old.shape}")
            if not np.can_cast(new.dtype, old.dtype, "same_kind"):
                problems.append(f"{name} has dtype {new.dtype}, expected {old.dtype}")
        if problems:
            raise RuntimeError("\n  ".join([f"the state does not fit {type(self).__name__}:", *problems]))
        for _, old, new in pairs:
            old.data.copy_(new)
        return keys

    def _state(self) -> dict[str, Tensor]:
        members = dict(_distinct(_walk(self)))
        hidden = {_joined(path, name) for path, one in members.items() for name in getattr(one, "_not_saved", ())}
        return {n: one for n, one in members.items() if not isinstance(one, Module) and n not in hidden}

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


def _walk(
    module: Module, path: str = "", recurse: bool = True, above: tuple[Module, ...] = ()
) -> Iterator[tuple[str, Any]]:
    """The module, what it holds, and all modules below it and what they hold, under every name they have."""
    if any(module is one for one in above):  # a module inside itself
        return
    yield path, module
    for kind in (Parameter, Buffer):
        yield from ((_joined(path, name), tensor) for name, tensor in module._members(kind))
    for name, child in module._members(Module) if recurse else ():
        yield from _walk(child, _joined(path, name), recurse, (*above, module))


def _distinct(named: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The same; raises ValueError where a name stands for two members, one of which would not be saved."""
    seen: dict[str, Any] = {}
    for name, member in named:
        if seen.setdefault(name, member) is not member:
            raise ValueError(
                f"two members have the name {name!r}: {_told(seen[name])} and {_told(member)}; rename an attribute, "
                "or a key of a dictionary (1 and '1' make the same name)"
            )
        yield name, member


def _told(member: Any) -> str:
    return f"{type(member).__name__}({member.extra_repr() if isinstance(member, Module) else f'shape={member.shape}'})"


def _each_once(named: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    first: dict[int, tuple[str, Any]] = {}  # by id, as a module may be a dataclass, and so not hashable
    for name, member in named:
        first.setdefault(id(member), (name, member))
    return iter(first.values())


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
