"""Optimisers: rules that change parameters by their gradients, in place and unrecorded."""

from __future__ import annotations

import copy
import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from inspect import Parameter, Signature
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from ..absences import passed_over
from ..autograd import enable_grad
from ..autograd.detached import take_cuts
from ..engine.versions import note_change
from ..kernels.blas import add_scaled, one_thread
from ..kernels.updates import Updates, one_by_one
from ..settings import array, bound, flag, instance, mapping, number, numbers
from ..tensor import Tensor

State = dict[str, Any]

FLAGS = ("nesterov", "maximize", "amsgrad", "centered", "decoupled_weight_decay")
NOT_NEGATIVE = ("lr", "initial_lr", "weight_decay", "eps", "momentum", "alpha", "lr_decay", "momentum_decay")


class Optimizer:
    """What all optimisers share: groups of parameters with their settings, and a state for each parameter.

    `params` holds Tensors, or dictionaries {"params": Tensors, ...settings of this group}. A class of one's own names
    its settings with their defaults, and writes `update`:

    >>> class SignSGD(Optimizer, lr=0.1):
    ...     def update(self, p, grad, state, s):
    ...         p -= s.lr * np.sign(grad)
    >>> _one_step(SignSGD)
    0.9

    The settings weight_decay, decoupled_weight_decay and maximize have been applied to the gradient before.
    """

    #: how each setting is checked, wherever it comes from: an argument, a group, or a state that is loaded
    settings: ClassVar[Mapping[str, Callable[[Any, str, str], Any]]] = {
        **dict.fromkeys(NOT_NEGATIVE, partial(number, least=0)),
        **dict.fromkeys(FLAGS, flag),
        "betas": partial(numbers, count=2, least=0, below=1),
        "rho": partial(number, least=0, most=1),
        "initial_accumulator_value": partial(number, least=0),
        "dampening": number,
    }

    _name: ClassVar[str] = "Optimizer"
    _own_settings: ClassVar[dict[str, Any]] = {}
    __signature__: ClassVar[Signature]

    def __init_subclass__(cls, **settings: Any) -> None:
        cls._name = cls.__name__
        cls._own_settings = {**cls._own_settings, **settings}
        params = Parameter("params", Parameter.POSITIONAL_OR_KEYWORD)
        named = [params.replace(name=name, default=value) for name, value in cls._own_settings.items()]
        last = [params.replace(name="maximize", default=False), Parameter("others", Parameter.VAR_KEYWORD)]
        cls.__signature__ = Signature([params, *named, *last])

    def __init__(self, params: Iterable[Any], *settings: Any, **named: Any) -> None:
        if len(settings) == 1 and isinstance(settings[0], Mapping):  # the defaults, from the __init__ of a subclass
            self.defaults = dict(settings[0])
        else:
            self.defaults = bound(self.__signature__, self._name, params, *settings, **named)
            # what PyTorch has beside these are other ways to compute the same numbers
            passed_over(self.defaults.pop("others"), self._name, ignored=("foreach", "fused", "capturable"))
            del self.defaults["params"]
        self.param_groups: list[dict[str, Any]] = []
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self._updates = defaultdict[int, Updates](Updates)  # of each group
        #: the parameters that no gradient has reached so far, with their names for the warning
        self._unreached: dict[Tensor, str] = {}
        groups = self._listed(params)
        if not any(isinstance(group, Mapping) for group in groups):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)
        if not self._unreached:
            raise ValueError(f"{self._name} got no parameters: pass model.parameters()")
        take_cuts()  # earlier cuts do not concern this optimiser

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Train more parameters, {"params": Tensors, ...their settings}; the settings not given are the defaults."""
        if not isinstance(param_group, Mapping) or "params" not in param_group:
            raise TypeError(f'{self._name} expects Tensors, or dictionaries with "params", got {param_group!r}')
        tensors = self._listed(param_group["params"])
        known = {tensor for group in self.param_groups for tensor in group["params"]}
        for tensor in tensors:
            if not isinstance(tensor, Tensor) or not tensor.is_leaf:
                raise TypeError(f"{self._name} changes leaf Tensors, got {tensor!r}")
            if tensor in known:
                raise ValueError(f"a parameter of shape {tensor.shape} was given to {self._name} twice")
            known.add(tensor)
        self.param_groups.append(self._checked({**self.defaults, **param_group, "params": tensors}))
        for tensor in tensors:
            self._unreached[tensor] = f"{getattr(tensor, 'name', 'a parameter of shape')} {tensor.shape}"

    def _listed(self, params: Any) -> list[Any]:
        if not isinstance(params, Iterable):
            raise TypeError(f"{self._name} expects Tensors, got {type(params).__name__}: pass model.parameters()")
        return [params] if isinstance(params, Tensor) else list(params)

    def _checked(self, group: Mapping[str, Any]) -> dict[str, Any]:
        checks = ((name, check) for name, check in self.settings.items() if name in group)
        group = {**group, **{name: check(group[name], name, self._name) for name, check in checks}}
        if group.get("nesterov") and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(f"{self._name} with nesterov expects a momentum above 0 and no dampening")
        return group

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or set them to zero."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad = None if set_to_none else Tensor(np.zeros_like(parameter._array))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient, in place; a graph recorded before can then no longer be used.

        A `closure` is called first, to compute the loss, which is returned, and the gradients. Parameters that never
        had a gradient are named in a warning, once.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = instance(closure, "closure", f"{self._name}.step", Callable)()
        if self._unreached:
            self._warn_of_unreached()
        with one_thread():  # BLAS's other threads would look out for more work for long
            for i, group in enumerate(self.param_groups):
                trained = [(one, grad) for one in group["params"] if (grad := one.grad) is not None]
                jobs = [(one._array, grad._array, self.state[one]) for one, grad in trained]
                for array, _, _ in jobs:
                    note_change(array)
                settings = SimpleNamespace(**{name: one for name, one in group.items() if name != "params"})
                # the rules below treat each number by itself, and depend on nothing but their arguments
                make = self._updates[i].make if type(self).__module__ == __name__ else one_by_one
                make(self._change, [settings], jobs)
        return loss

    def _change(self, s: SimpleNamespace, p: np.ndarray, grad: np.ndarray, state: State) -> None:
        decay = getattr(s, "weight_decay", 0)
        if getattr(s, "maximize", False):
            grad = -grad
        if decay and getattr(s, "decoupled_weight_decay", False):
            p *= 1 - s.lr * decay
        elif decay:
            grad = grad + decay * p
        self.update(p, grad, state, s)

    def _warn_of_unreached(self) -> None:
        without = [name for tensor, name in self._unreached.items() if tensor.requires_grad and tensor.grad is None]
        everything, cuts = len(without) == len(self._unreached), dict.fromkeys(map(str, take_cuts()))
        self._unreached = {}
        hint = ": the loss does not depend on them by recorded operations, and they are not trained; "
        if everything:
            hint = ", that is for no parameter at all: was loss.backward() called before it?"
        elif cuts:
            hint += "the path may have been cut by " + ", or by ".join(cuts)
        else:
            hint += "are they used in forward(), and is the path cut by no_grad(), .detach(), .data or .numpy()?"
        if without:
            warnings.warn(f"{self._name}.step() found no gradient for {', '.join(without)}{hint}", stacklevel=3)

    def update(self, p: np.ndarray, grad: np.ndarray, state: State, s: SimpleNamespace) -> None:
        """Change the values p in place by their gradient, which is not written to.

        `state` holds what is kept for these values from step to step, `s.lr` is the setting lr.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """{"state": {position: arrays and numbers}, "param_groups": [settings, with positions for parameters]}."""
        tensors = [tensor for group in self.param_groups for tensor in group["params"]]
        position = {tensor: i for i, tensor in enumerate(tensors)}
        groups = [{**group, "params": [position[one] for one in group["params"]]} for group in self.param_groups]
        state = {position[tensor]: copy.deepcopy(kept) for tensor, kept in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state that `state_dict` returned, for parameters of the same number and shapes.

        If it is of another kind of optimiser, of other parameters or damaged, it is refused and nothing changed.
        """
        owner = f"{self._name}.load_state_dict"
        state_dict = mapping(state_dict, "state_dict", owner, ["state", "param_groups"])
        groups = instance(state_dict["param_groups"], "param_groups", owner, list)
        given = [mapping(group, "each of the param_groups", owner, ["params"]) for group in groups]
        sizes = [len(instance(group["params"], "params", owner, list)) for group in given]
        own_sizes = [len(group["params"]) for group in self.param_groups]
        if sizes != own_sizes:
            raise ValueError(f"the state is of groups of {sizes} parameters, {self._name} has {own_sizes}")
        for group in given:
            if lacking := [name for name in self.defaults if name not in (*group, *FLAGS)]:
                raise ValueError(f"the state is not of {self._name}: it has no {', '.join(lacking)}")
        given = [self._checked({**self.defaults, **group}) for group in given]  # a flag may be younger than the state
        owned: dict[str, tuple[Tensor, Any]] = {
            str(position): (tensor, new)  # JSON makes strings of keys
            for new, group in zip(given, self.param_groups, strict=True)
            for position, tensor in zip(new["params"], group["params"], strict=True)
        }
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for position, values in mapping(state_dict["state"], "state", owner).items():
            if str(position) not in owned:
                raise ValueError(f"the state has a parameter {position}, {self._name} has {len(owned)}")
            tensor, settings = owned[str(position)]
            name = f"state of parameter {position}"
            state[tensor] = self._checked_state(mapping(values, name, owner), tensor, settings, name)
        self.state = state
        for new, group in zip(given, self.param_groups, strict=True):
            group.update({name: value for name, value in new.items() if name != "params"})

    def _checked_state(self, given: Mapping[str, Any], tensor: Tensor, group: Any, where: str) -> dict[str, Any]:
        """A copy of what was kept for a parameter: numbers and arrays of its shape, such as a first step leaves."""
        owner, fresh, state = f"{self._name}.load_state_dict", dict[str, Any](), dict[str, Any]()
        with np.errstate(all="ignore"):
            self.update(np.zeros_like(tensor._array), np.zeros_like(tensor._array), fresh, SimpleNamespace(**group))
        if given and (lacking := [name for name in fresh if name not in given]):
            raise ValueError(f"the {where} is not of {self._name}: it has no {', '.join(lacking)}")
        for name, value in given.items():
            place = f"{name} in the {where}"
            if isinstance(fresh.get(name, value), np.ndarray):
                state[name] = np.array(array(value, place, owner), tensor.dtype)
                if state[name].shape != tensor.shape:
                    raise ValueError(f"{place} is of shape {state[name].shape}, and the parameter of {tensor.shape}")
            else:
                state[name] = number(value, place, owner, least=0 if name == "step" else -math.inf)
        return state


def _one_step(make: Any, **settings: Any) -> float:
    """Where a step leads from w = 1 when the loss is w², so that the gradient is 2."""
    w = Tensor([1.0], requires_grad=True)
    (w * w).sum().backward()
    make([w], **settings).step()
    return float(round(w.item(), 6))


def _mean(state: State, p: np.ndarray, name: str, rate: float, new: Any, share: float | None = None) -> np.ndarray:
    """A running mean, which the state keeps under a name: rate · before + share · new, the share being 1 - rate."""
    if name not in state:
        state[name] = np.zeros_like(p)
    kept: np.ndarray = state[name]
    add_scaled(kept, rate, 1 - rate if share is None else share, new)
    return kept


class SGD(Optimizer, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    """Gradient descent: p ← p - lr · d, with d = grad + weight_decay · p.

    With momentum, v ← momentum · v + (1 - dampening) · d (at first v = d) takes the place of d; with nesterov,
    d + momentum · v does (Sutskever et al., 2013, in PyTorch's form).

    >>> _one_step(SGD, lr=0.25)
    0.5
    """

    def update(self, p: np.ndarray, grad: np.ndarray, state: State, s: SimpleNamespace) -> None:
        direction = grad
        if s.momentum:
            share = 1 - s.dampening if "momentum_buffer" in state else 1.0
            velocity = _mean(state, p, "momentum_buffer", s.momentum, grad, share)
            direction = grad + s.momentum * velocity if s.nesterov else velocity
        add_scaled(p, 1.0, -s.lr, direction)


class _Moments(Optimizer, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    """An optimiser that keeps a running mean of the gradients and one of their squares, as Adam does."""

    def moments(self, p: np.ndarray, grad: np.ndarray, state: State, betas: Any) -> tuple[int, np.ndarray, np.ndarray]:
        """The number of this step, and both means with its gradient."""
        state["step"] = state.get("step", 0) + 1
        mean = _mean(state, p, "exp_avg", betas[0], grad)
        return state["step"], mean, _mean(state, p, "exp_avg_sq", betas[1], np.square(grad))


class Adam(_Moments, amsgrad=False, decoupled_weight_decay=False):
    """The gradient's running mean, divided by the root of its running mean square (Kingma and Ba, 2015).

    m ← β₁ m + (1 - β₁) g, v ← β₂ v + (1 - β₂) g², p ← p - lr · m̂ / (√v̂ + eps), where m̂ = m / (1 - β₁ᵗ) and
    v̂ = v / (1 - β₂ᵗ) after t steps, and g = grad + weight_decay · p. With amsgrad, the largest v so far takes the
    place of v (Reddi et al., 2018).

    >>> _one_step(Adam, lr=0.25)
    0.75
    """

    def update(self, p: np.ndarray, grad: np.ndarray, state: State, s: SimpleNamespace) -> None:
        step, mean, square = self.moments(p, grad, state, s.betas)
        if s.amsgrad:
            largest = state.setdefault("max_exp_avg_sq", np.zeros_like(p))
            square = np.maximum(largest, square, out=largest)
        root = math.sqrt(1 - s.betas[1] ** step)
        scale = np.asarray(np.sqrt(square))
        scale += s.eps * root
        add_scaled(p, 1.0, -s.lr * root / (1 - s.betas[0] ** step), np.divide(mean, scale, out=scale))


class AdamW(Adam, weight_decay=1e-2, decoupled_weight_decay=True):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): before each step p ← p · (1 - lr · weight_decay).

    >>> _one_step(AdamW, lr=0.25, weight_decay=0.4)
    0.65
    """


class NAdam(_Moments, lr=2e-3, momentum_decay=4e-3, decoupled_weight_decay=False):
    """Adam with Nesterov's momentum (Dozat, 2016): the step looks one gradient ahead.

    With μₜ = β₁ (1 - 0.96^(t · momentum_decay) / 2), m and v as Adam's and v̂ = v / (1 - β₂ᵗ),
    p ← p - lr · ((1 - μₜ) g / (1 - ∏μ₁…μₜ) + μₜ₊₁ m / (1 - ∏μ₁…μₜ₊₁)) / (√v̂ + eps).

    >>> _one_step(NAdam, lr=0.25)
    0.735887
    """

    def update(self, p: np.ndarray, grad: np.ndarray, state: State, s: SimpleNamespace) -> None:
        step, mean, square = self.moments(p, grad, state, s.betas)
        now, ahead = (s.betas[0] * (1 - 0.5 * 0.96 ** (t * s.momentum_decay)) for t in (step, step + 1))
        product = state["mu_product"] = state.get("mu_product", 1.0) * now
        direction = (1 - now) / (1 - product) * grad + ahead / (1 - product * ahead) * mean
        p -= s.lr * direction / (np.sqrt(square / (1 - s.betas[1] ** step)) + s.eps)


class RAdam(_Moments, decoupled_weight_decay=False):
    """Adam that trusts its running square only once it rests on enough gradients (Liu et al., 2020).

    With ρ∞ = 2 / (1 - β₂) - 1 and ρ = ρ∞ - 2t β₂ᵗ / (1 - β₂ᵗ): while ρ ≤ 5, p ← p - lr · m̂; from then on Adam's step
    (with eps added to √v) times √((ρ - 4)(ρ - 2)ρ∞ / ((ρ∞ - 4)(ρ∞ - 2)ρ)).

    >>> _one_step(RAdam, lr=0.25)
    0.5
    """

    def update(self, p: np.ndarray, grad: np.ndarray, state: State, s: SimpleNamespace) -> None:
        step, mean, square = self.moments(p, grad, state, s.betas)
        left = 1 - s.betas[1] ** step
        limit = 2 / (1 - s.betas[1]) - 1
        length = limit - 2 * step * s.betas[1] ** step / left
        direction = s.lr / (1 - s.betas[0] ** step) * mean
        if length > 5:
            trust = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
            direction = direction * math.sqrt(left * trust) / (np.sqrt(square) + s.eps)
        p -= direction


class RMSprop(Optimizer, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
    """Steps of the gradient over the root of its running square (Tieleman and Hinton, 2012).

    v ← alpha · v + (1 - alpha) g² and p ← p - lr · g / (√v + eps), with g = grad + weight_decay · p. If centered, the
    square of the running mean of g is taken from v before the root (Graves, 2013). With momentum,
    b ← momentum · b + g / (√v + eps) takes the place of the quotient.

    >>> _one_step(RMSprop, lr=0.025)
    0.75
    """

    def update(self, p: np.ndarray, grad: np.ndarray, state: State, s: SimpleNamespace) -> None:
        state["step"] = state.get("step", 0) + 1
        square = _mean(state, p, "square_avg", s.alpha, np.square(grad))
        if s.centered:
            square = square - _mean(state, p, "grad_avg", s.alpha, grad) ** 2
        direction = grad / (np.sqrt(square) + s.eps)
        if s.momentum:
            direction = _mean(state, p, "momentum_buffer", s.momentum, direction, share=1.0)
        p -= s.lr * direction


class Adagrad(Optimizer, lr=1e-2, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10):
    """Steps of the gradient over the root of the sum of all its squares (Duchi et al., 2011).

    s ← s + g² and p ← p - lr / (1 + (t - 1) · lr_decay) · g / (√s + eps) in step t, with g = grad + weight_decay · p.

    >>> _one_step(Adagrad, lr=0.25)
    0.75
    """

    def update(self, p: np.ndarray, grad: np.ndarray, state: State, s: SimpleNamespace) -> None:
        before = state.get("step", 0)
        state["step"] = before + 1
        if "sum" not in state:
            state["sum"] = np.full_like(p, s.initial_accumulator_value)
        total = state["sum"]
        total += grad * grad
        p -= s.lr / (1 + before * s.lr_decay) * grad / (np.sqrt(total) + s.eps)


class Adadelta(Optimizer, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0):
    """Steps as long as the last ones were, for gradients as large as the last ones were (Zeiler, 2012).

    v ← rho · v + (1 - rho) g², d = g √(u + eps) / √(v + eps), u ← rho · u + (1 - rho) d² and p ← p - lr · d, with
    g = grad + weight_decay · p.

    >>> _one_step(Adadelta, eps=1.0)
    -0.690308
    """

    def update(self, p: np.ndarray, grad: np.ndarray, state: State, s: SimpleNamespace) -> None:
        state["step"] = state.get("step", 0) + 1
        square = _mean(state, p, "square_avg", s.rho, grad * grad)
        step = np.sqrt(state.setdefault("acc_delta", np.zeros_like(p)) + s.eps) / np.sqrt(square + s.eps) * grad
        _mean(state, p, "acc_delta", s.rho, step * step)
        p -= s.lr * step
