"""Optimisers: rules that change parameters by their gradients, in place and unrecorded."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from inspect import Parameter, Signature
from typing import Any, ClassVar

import numpy as np

from ..engine.detached import take_cuts
from ..engine.recording import enable_grad
from ..settings import array, flag, instance, mapping, number, numbers, passed_over
from ..tensor import Tensor

FLAGS = ("nesterov", "maximize", "amsgrad", "centered", "decoupled_weight_decay")
NOT_NEGATIVE = ("lr", "initial_lr", "weight_decay", "eps", "momentum", "alpha", "lr_decay", "momentum_decay")


class Optimizer:
    """What all optimisers share: groups of parameters with their settings, and a state for each parameter.

    `params` holds Tensors, or dictionaries {"params": Tensors, ...settings of this group}.
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

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
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
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._change(parameter, parameter.grad.numpy(), group)
        return loss

    def _change(self, parameter: Tensor, grad: np.ndarray, group: dict[str, Any]) -> None:
        values, state = parameter.data, self.state.setdefault(parameter, {})
        if group.get("maximize"):
            grad = -grad
        if (decay := group.get("weight_decay")) and group.get("decoupled_weight_decay"):
            values *= 1 - group["lr"] * decay
        elif decay:
            grad = grad + decay * values
        if not state:
            state.update(self._begin(values, group))
        if "step" in state:
            state["step"] += 1
        self._update(values, grad, state, group)
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

    def _begin(self, values: np.ndarray, group: dict[str, Any]) -> dict[str, Any]:
        """What is kept for a parameter, before its first step: numbers, and arrays of its shape (None: not yet made).

        A number `step` counts the steps.
        """
        return {}

    def _update(self, values: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change `values` in place; `grad`, in which maximize and weight_decay already are, is not written to."""
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
        flags = {name: self.defaults[name] for name in self.defaults if name in FLAGS}
        given = [{**flags, **group} for group in given]  # there may be flags that are younger than the state
        for group in given:
            lacking = [name for name in self.defaults if name not in group]
            if lacking:
                raise ValueError(f"the state is not of {self._name}: it has no {', '.join(lacking)}")
        given = [self._checked(group) for group in given]
        owned: dict[str, tuple[Tensor, Any]] = {
            str(position): (tensor, new)  # JSON makes strings of keys
            for new, group in zip(given, self.param_groups, strict=True)
            for position, tensor in zip(new["params"], group["params"], strict=True)
        }
        state = {}
        for position, values in mapping(state_dict["state"], "state", owner).items():
            if str(position) not in owned:
                raise ValueError(f"the state has a parameter {position}, {self._name} has {len(owned)}")
            tensor, settings = owned[str(position)]
            name = f"state of parameter {position}"
            state[tensor] = self._checked_state(mapping(values, name, owner), tensor, settings, name)
        self.state = state
        for new, group in zip(given, self.param_groups, strict=True):
            group.update({name: value for name, value in new.items() if name != "params"})

    def _checked_state(
        self, given: Mapping[str, Any], tensor: Tensor, group: dict[str, Any], where: str
    ) -> dict[str, Any]:
        """A copy of what was kept for a parameter, if it is such as `_begin` makes it."""
        owner = f"{self._name}.load_state_dict"
        fresh = self._begin(tensor.data, group)
        lacking = [name for name, value in fresh.items() if value is not None and name not in given]
        if given and lacking:
            raise ValueError(f"the {where} is not of {self._name}: it has no {', '.join(lacking)}")
        state: dict[str, Any] = {}
        for name, value in given.items():
            expected, place = fresh.get(name, value), f"{name} in the {where}"
            if expected is None or isinstance(expected, np.ndarray):
                found = array(value, place, owner)
                if found.shape != tensor.shape:
                    raise ValueError(f"{place} is of shape {found.shape}, and the parameter of {tensor.shape}")
                state[name] = np.array(found, tensor.dtype)
            else:
                state[name] = number(value, place, owner, least=0 if name in fresh else -math.inf)
        return state


class Rule(Optimizer):
    """An optimiser that is one formula; its settings and their defaults are in the head of its class."""

    __signature__: ClassVar[Signature] = Signature()
    _defaults: ClassVar[dict[str, Any]] = {}

    #: the arrays that are kept for each parameter, at first 0, beside the number of its steps
    keeps: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **defaults: Any) -> None:
        cls._defaults = {**cls._defaults, **defaults, "maximize": False}
        params, *named = (Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("params", *cls._defaults))
        named = [one.replace(default=cls._defaults[one.name]) for one in named]
        others = Parameter("others", Parameter.VAR_KEYWORD)
        cls.__signature__ = Signature([params, *named, others])

    def __init__(self, *args: Any, **settings: Any) -> None:
        try:
            given = self.__signature__.bind(*args, **settings)
        except TypeError as error:
            raise TypeError(f"{self._name}: {error}") from None
        given.apply_defaults()
        # what PyTorch has beside these are other ways to compute the same numbers
        passed_over(given.arguments.pop("others"), self._name, ignored=("foreach", "fused", "capturable"))
        super().__init__(given.arguments.pop("params"), given.arguments)

    def _begin(self, values: np.ndarray, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": 0, **{name: np.zeros_like(values) for name in self.keeps}}


def _copied(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: np.array(value) if isinstance(value, np.ndarray) else value for name, value in state.items()}


def _one_step(make: Any, **settings: Any) -> float:
    """Where a step leads from w = 1 when the loss is w², so that the gradient is 2."""
    w = Tensor([1.0], requires_grad=True)
    (w * w).sum().backward()
    make([w], **settings).step()
    return float(round(w.item(), 6))


class SGD(Rule, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    """Gradient descent: p ← p - lr · d, with d = grad + weight_decay · p.

    With momentum, v ← momentum · v + (1 - dampening) · d (at first v = d) takes the place of d; with nesterov,
    d + momentum · v does (Sutskever et al., 2013, in PyTorch's form).

    >>> w = Tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> SGD([w], lr=0.25).step()
    >>> w.item()
    0.5
    """

    def _checked(self, group: Mapping[str, Any]) -> dict[str, Any]:
        group = super()._checked(group)
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError("SGD with nesterov expects a momentum above 0 and no dampening")
        return group

    def _begin(self, values: np.ndarray, group: dict[str, Any]) -> dict[str, Any]:
        return {"momentum_buffer": None} if group["momentum"] else {}

    def _update(self, values: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: dict[str, Any]) -> None:
        direction, momentum = grad, group["momentum"]
        if momentum:
            velocity = state.get("momentum_buffer")
            if velocity is None:
                velocity = state["momentum_buffer"] = np.array(grad)  # a sum of 0-d arrays is not an array
            else:
                velocity *= momentum
                velocity += (1 - group["dampening"]) * grad
            direction = grad + momentum * velocity if group["nesterov"] else velocity
        values -= group["lr"] * direction


def _moments(grad: np.ndarray, state: dict[str, Any], group: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The running mean of the gradient, and the root of its running square, with this gradient in them."""
    mean, square = state["exp_avg"], state["exp_avg_sq"]
    beta1, beta2 = group["betas"]
    mean += (1 - beta1) * (grad - mean)
    square *= beta2
    square += (1 - beta2) * grad * grad
    return mean, np.asarray(np.sqrt(square))


class Adam(Rule, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, decoupled_weight_decay=False):
    """The gradient's running mean, divided by the root of its running mean square (Kingma and Ba, 2015).

    m ← β₁ m + (1 - β₁) g, v ← β₂ v + (1 - β₂) g², p ← p - lr · m̂ / (√v̂ + eps), where m̂ = m / (1 - β₁ᵗ) and
    v̂ = v / (1 - β₂ᵗ) after t steps, and g = grad + weight_decay · p. With amsgrad, the largest v so far takes the
    place of v (Reddi et al., 2018).

    >>> _one_step(Adam, lr=0.25)
    0.75
    """

    keeps = ("exp_avg", "exp_avg_sq")

    def _begin(self, values: np.ndarray, group: dict[str, Any]) -> dict[str, Any]:
        state = super()._begin(values, group)
        return {**state, "max_exp_avg_sq": np.zeros_like(values)} if group["amsgrad"] else state

    def _update(self, values: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: dict[str, Any]) -> None:
        mean, scale = _moments(grad, state, group)
        beta1, beta2 = group["betas"]
        if group["amsgrad"]:
            scale = np.sqrt(np.maximum(state["max_exp_avg_sq"], state["exp_avg_sq"], out=state["max_exp_avg_sq"]))
        scale /= math.sqrt(1 - beta2 ** state["step"])
        scale += group["eps"]
        values -= group["lr"] / (1 - beta1 ** state["step"]) * mean / scale


class AdamW(Adam, weight_decay=1e-2, decoupled_weight_decay=True):
    """Adam with decoupled weight decay: p ← p · (1 - lr · weight_decay) before each step.

    (Loshchilov and Hutter, 2019.)

    >>> _one_step(AdamW, lr=0.25, weight_decay=0.4)
    0.65
    """


class NAdam(
    Rule, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum_decay=4e-3, decoupled_weight_decay=False
):
    """Adam with Nesterov's momentum (Dozat, 2016): the step looks one gradient ahead.

    With μₜ = β₁ (1 - 0.96^(t · momentum_decay) / 2), m and v as Adam's and v̂ = v / (1 - β₂ᵗ),
    p ← p - lr · ((1 - μₜ) g / (1 - ∏μ₁…μₜ) + μₜ₊₁ m / (1 - ∏μ₁…μₜ₊₁)) / (√v̂ + eps).

    >>> _one_step(NAdam, lr=0.25)
    0.735887
    """

    keeps = ("exp_avg", "exp_avg_sq")

    def _begin(self, values: np.ndarray, group: dict[str, Any]) -> dict[str, Any]:
        return {**super()._begin(values, group), "mu_product": 1.0}

    def _update(self, values: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: dict[str, Any]) -> None:
        mean, scale = _moments(grad, state, group)
        step, (beta1, beta2) = state["step"], group["betas"]
        now, ahead = (beta1 * (1 - 0.5 * 0.96 ** (t * group["momentum_decay"])) for t in (step, step + 1))
        state["mu_product"] *= now
        scale /= math.sqrt(1 - beta2**step)
        scale += group["eps"]
        direction = (1 - now) / (1 - state["mu_product"]) * grad + ahead / (1 - state["mu_product"] * ahead) * mean
        values -= group["lr"] * direction / scale


class RAdam(Rule, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled_weight_decay=False):
    """Adam that trusts its running square only once it rests on enough gradients (Liu et al., 2020).

    With ρ∞ = 2 / (1 - β₂) - 1 and ρ = ρ∞ - 2t β₂ᵗ / (1 - β₂ᵗ): while ρ ≤ 5, p ← p - lr · m̂; from then on Adam's step
    (with eps added to √v) times √((ρ - 4)(ρ - 2)ρ∞ / ((ρ∞ - 4)(ρ∞ - 2)ρ)).

    >>> _one_step(RAdam, lr=0.25)
    0.5
    """

    keeps = ("exp_avg", "exp_avg_sq")

    def _update(self, values: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: dict[str, Any]) -> None:
        mean, scale = _moments(grad, state, group)
        step, (beta1, beta2) = state["step"], group["betas"]
        left = 1 - beta2**step
        limit = 2 / (1 - beta2) - 1
        length = limit - 2 * step * beta2**step / left
        direction = group["lr"] / (1 - beta1**step) * mean
        if length > 5:
            trust = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
            direction = direction * math.sqrt(left * trust) / (scale + group["eps"])
        values -= direction


class RMSprop(Rule, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
    """Steps of the gradient over the root of its running square (Tieleman and Hinton, 2012).

    v ← alpha · v + (1 - alpha) g² and p ← p - lr · g / (√v + eps), with g = grad + weight_decay · p. If centered, the
    square of the running mean of g is taken from v before the root (Graves, 2013). With momentum,
    b ← momentum · b + g / (√v + eps) takes the place of the quotient.

    >>> _one_step(RMSprop, lr=0.025)
    0.75
    """

    def _begin(self, values: np.ndarray, group: dict[str, Any]) -> dict[str, Any]:
        more = [name for name, on in (("momentum_buffer", "momentum"), ("grad_avg", "centered")) if group[on]]
        return {"step": 0, **{name: np.zeros_like(values) for name in ("square_avg", *more)}}

    def _update(self, values: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: dict[str, Any]) -> None:
        square, alpha = state["square_avg"], group["alpha"]
        square *= alpha
        square += (1 - alpha) * grad * grad
        if group["centered"]:
            mean = state["grad_avg"]
            mean += (1 - alpha) * (grad - mean)
            square = square - mean * mean
        direction = grad / (np.sqrt(square) + group["eps"])
        if group["momentum"]:
            velocity = state["momentum_buffer"]
            velocity *= group["momentum"]
            velocity += direction
            direction = velocity
        values -= group["lr"] * direction


class Adagrad(Rule, lr=1e-2, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10):
    """Steps of the gradient over the root of the sum of all its squares (Duchi et al., 2011).

    s ← s + g² and p ← p - lr / (1 + (t - 1) · lr_decay) · g / (√s + eps) in step t, with g = grad + weight_decay · p.

    >>> _one_step(Adagrad, lr=0.25)
    0.75
    """

    def _begin(self, values: np.ndarray, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": 0, "sum": np.full_like(values, group["initial_accumulator_value"])}

    def _update(self, values: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: dict[str, Any]) -> None:
        total = state["sum"]
        total += grad * grad
        rate = group["lr"] / (1 + (state["step"] - 1) * group["lr_decay"])
        values -= rate * grad / (np.sqrt(total) + group["eps"])


class Adadelta(Rule, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0):
    """Steps as long as the last ones were, for gradients as large as the last ones were (Zeiler, 2012).

    v ← rho · v + (1 - rho) g², d = g √(u + eps) / √(v + eps), u ← rho · u + (1 - rho) d² and p ← p - lr · d, with
    g = grad + weight_decay · p.

    >>> _one_step(Adadelta, eps=1.0)
    -0.690308
    """

    keeps = ("square_avg", "acc_delta")

    def _update(self, values: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: dict[str, Any]) -> None:
        square, moved = state["square_avg"], state["acc_delta"]
        rho, eps = group["rho"], group["eps"]
        square *= rho
        square += (1 - rho) * grad * grad
        step = np.sqrt(moved + eps) / np.sqrt(square + eps) * grad
        moved *= rho
        moved += (1 - rho) * step * step
        values -= group["lr"] * step
