"""Optimisers: rules that change parameters by their gradients, in place and unrecorded."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ..engine.detached import take_cuts
from ..settings import flag, instance, mapping, number, numbers
from ..tensor import Tensor


class Optimizer:
    """What all optimisers share: groups of parameters with their settings, and a state for each parameter.

    `params` holds Tensors, or dictionaries {"params": Tensors, ...settings of this group}.
    """

    #: how each setting is checked, wherever it comes from: an argument, a group, or a state that is loaded
    settings: ClassVar[Mapping[str, Callable[[Any, str, str], Any]]] = {
        **dict.fromkeys(["lr", "initial_lr", "momentum", "weight_decay", "eps"], partial(number, least=0)),
        "betas": partial(numbers, count=2, least=0, below=1),
        "dampening": number,
        "nesterov": flag,
    }

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        known: set[Tensor] = set()
        groups = self._listed(params)
        if not any(isinstance(group, Mapping) for group in groups):
            groups = [{"params": groups}]
        for group in groups:
            if not isinstance(group, Mapping) or "params" not in group:
                raise TypeError(f'{self._name} expects Tensors, or dictionaries with "params", got {group!r}')
            tensors = self._listed(group["params"])
            for tensor in tensors:
                if not isinstance(tensor, Tensor) or not tensor.is_leaf:
                    raise TypeError(f"{self._name} changes leaf Tensors, got {tensor!r}")
                if tensor in known:
                    raise ValueError(f"a parameter of shape {tensor.shape} was given to {self._name} twice")
                known.add(tensor)
            self.param_groups.append(self._checked({**defaults, **group, "params": tensors}))
        if not known:
            raise ValueError(f"{self._name} got no parameters: pass model.parameters()")
        #: the parameters that no gradient has reached so far, with their names for the warning
        self._unreached = {
            tensor: f"{getattr(tensor, 'name', 'a parameter of shape')} {tensor.shape}"
            for group in self.param_groups
            for tensor in group["params"]
        }
        take_cuts()  # earlier cuts do not concern this optimiser

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _listed(self, params: Any) -> list[Any]:
        if not isinstance(params, Iterable):
            raise TypeError(f"{self._name} expects Tensors, got {type(params).__name__}: pass model.parameters()")
        return [params] if isinstance(params, Tensor) else list(params)

    def _checked(self, group: Mapping[str, Any]) -> dict[str, Any]:
        checks = ((name, check) for name, check in self.settings.items() if name in group)
        return {**group, **{name: check(group[name], name, self._name) for name, check in checks}}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or set them to zero."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad = None if set_to_none else Tensor(np.zeros_like(parameter.data))

    def step(self) -> None:
        """Update every parameter that has a gradient, in place; a graph recorded before can then no longer be used.

        Parameters that never had a gradient are named in a warning, once.
        """
        if self._unreached:
            self._warn_of_unreached()
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is not None:
                    values = parameter.data
                    self._update(values, gradient.numpy(), self.state.setdefault(parameter, {}), group)
                    parameter.data = values  # tells graphs recorded before that their input has changed

    def _warn_of_unreached(self) -> None:
        without = [name for tensor, name in self._unreached.items() if tensor.requires_grad and tensor.grad is None]
        everything = len(without) == len(self._unreached)
        cuts = take_cuts()
        self._unreached = {}
        if not without:
            return
        message = f"{self._name}.step() found no gradient for {', '.join(without)}"
        if everything:
            message += ", that is for no parameter at all: was loss.backward() called before it?"
        else:
            message += ": the loss does not depend on them by recorded operations, and they are not trained"
        if cuts and not everything:
            message += "; the path may have been cut by " + ", or by ".join(dict.fromkeys(map(str, cuts)))
        elif not everything:
            message += "; are they used in forward(), and is the path cut by no_grad(), .detach(), .data or .numpy()?"
        warnings.warn(message, stacklevel=3)

    def _update(self, values: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change `values` in place; `grad` is not written to."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """{"state": {position: arrays and numbers}, "param_groups": [settings, with positions for parameters]}."""
        tensors = [tensor for group in self.param_groups for tensor in group["params"]]
        position = {tensor: i for i, tensor in enumerate(tensors)}
        return {
            "state": {position[tensor]: _copied(state) for tensor, state in self.state.items()},
            "param_groups": [
                {**group, "params": [position[tensor] for tensor in group["params"]]} for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state that `state_dict` returned, for parameters of the same number and shapes.

        Raises:
            ValueError: if the state is of another kind of optimiser, or of other parameters. Nothing has been
                changed then.
        """
        owner = f"{self._name}.load_state_dict"
        state_dict = mapping(state_dict, "state_dict", owner, ["state", "param_groups"])
        given = [
            mapping(group, "each of the param_groups", owner, ["params"])
            for group in instance(state_dict["param_groups"], "param_groups", owner, list)
        ]
        sizes = [len(instance(group["params"], "params", owner, list)) for group in given]
        own_sizes = [len(group["params"]) for group in self.param_groups]
        if sizes != own_sizes:
            raise ValueError(f"the state is of groups of {sizes} parameters, {self._name} has {own_sizes}")
        for group in given:
            lacking = [name for name in self.defaults if name not in group]
            if lacking:
                raise ValueError(f"the state is not of {self._name}: it has no {', '.join(lacking)}")
        given = [self._checked(group) for group in given]
        tensors = {
            str(position): tensor  # JSON makes strings of keys
            for new, group in zip(given, self.param_groups, strict=True)
            for position, tensor in zip(new["params"], group["params"], strict=True)
        }
        state = {}
        for position, values in mapping(state_dict["state"], "state", owner).items():
            tensor = tensors.get(str(position))
            if tensor is None:
                raise ValueError(f"the state has a parameter {position}, {self._name} has {len(tensors)}")
            for name, value in mapping(values, f"state of parameter {position}", owner).items():
                if isinstance(value, np.ndarray) and value.shape != tensor.shape:
                    raise ValueError(
                        f"the state has {name} of shape {value.shape} for parameter {position}, of shape {tensor.shape}"
                    )
            state[tensor] = _copied(values, tensor.dtype)
        self.state = state
        for new, group in zip(given, self.param_groups, strict=True):
            group.update({name: value for name, value in new.items() if name != "params"})


def _copied(state: Mapping[str, Any], dtype: Any = None) -> dict[str, Any]:
    return {name: np.array(value, dtype) if isinstance(value, np.ndarray) else value for name, value in state.items()}


class SGD(Optimizer):
    """Gradient descent: p ← p - lr · d, with d = grad + weight_decay · p.

    With momentum, v ← momentum · v + (1 - dampening) · d (at first v = d) takes the place of d; with nesterov,
    d + momentum · v does (Sutskever et al., 2013, in PyTorch's form).

    >>> w = Tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> SGD([w], lr=0.25).step()
    >>> w.item()
    0.5
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        settings = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**settings, "nesterov": nesterov})

    def _checked(self, group: Mapping[str, Any]) -> dict[str, Any]:
        group = super()._checked(group)
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError("SGD with nesterov expects a momentum above 0 and no dampening")
        return group

    def _update(self, values: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: dict[str, Any]) -> None:
        direction = grad + group["weight_decay"] * values if group["weight_decay"] else grad
        momentum = group["momentum"]
        if momentum:
            velocity = state.get("momentum_buffer")
            if velocity is None:
                velocity = state["momentum_buffer"] = np.array(direction)  # a sum of 0-d arrays is not an array
            else:
                velocity *= momentum
                velocity += (1 - group["dampening"]) * direction
            direction = direction + momentum * velocity if group["nesterov"] else velocity
        values -= group["lr"] * direction


class Adam(Optimizer):
    """The gradient's running mean, divided by the root of its running mean square (Kingma and Ba, 2015).

    m ← β₁ m + (1 - β₁) g, v ← β₂ v + (1 - β₂) g², p ← p - lr · m̂ / (√v̂ + eps), where m̂ = m / (1 - β₁ᵗ) and
    v̂ = v / (1 - β₂ᵗ) after t steps, and g = grad + weight_decay · p.

    >>> w = Tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> Adam([w], lr=0.25).step()
    >>> round(w.item(), 6)
    0.75
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _update(self, values: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: dict[str, Any]) -> None:
        if group["weight_decay"]:
            grad = grad + group["weight_decay"] * values
        if not state:
            state.update(step=0, exp_avg=np.zeros_like(values), exp_avg_sq=np.zeros_like(values))
        state["step"] += 1
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        beta1, beta2 = group["betas"]
        mean += (1 - beta1) * (grad - mean)
        square *= beta2
        square += (1 - beta2) * grad * grad
        scale = np.sqrt(square)
        scale /= math.sqrt(1 - beta2 ** state["step"])
        scale += group["eps"]
        values -= group["lr"] / (1 - beta1 ** state["step"]) * mean / scale


class AdamW(Adam):
    """Adam with decoupled weight decay: p ← p · (1 - lr · weight_decay) before each step.

    (Loshchilov and Hutter, 2019.)

    >>> w = Tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> AdamW([w], lr=0.25, weight_decay=0.4).step()
    >>> round(w.item(), 6)
    0.65
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def _update(self, values: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: dict[str, Any]) -> None:
        values *= 1 - group["lr"] * group["weight_decay"]
        super()._update(values, grad, state, {**group, "weight_decay": 0.0})
