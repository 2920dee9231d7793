"""Gradients with a planted mistake, each with its kind: what diagnosis, check_graph and gradcheck are tested with."""

from dataclasses import dataclass

import numpy as np
from test_gradcheck import with_rules

from tinygrad_cnn.microscope.diagnosis.claim import Claim

generator = np.random.default_rng(0)

normal = generator.standard_normal


@dataclass
class Planted:
    """A subject, the argument whose gradient is wrong in it, the kind of mistake, and a part of the reason."""

    claim: Claim
    argnum: int
    kind: str
    reason: str = ""


def planted(kind, function, rules, *arrays, argnum=0, reason="", **settings):
    """`rules`: one for each array, or a function that gives a list of all gradients."""
    rules = rules if callable(rules) else tuple(rules)

    def vjp(g, *arrays, **settings):
        if callable(rules):
            return list(rules(g, *arrays, **settings))
        return [rule and rule(g, *arrays, **settings) for rule in rules]

    return Planted(Claim(function, vjp, arrays, settings), argnum, kind, reason)


def of_primitive(right, rules, args, settings, argnum, kind, reason=""):
    primitive = with_rules(right, *rules) if isinstance(rules, list) else with_rules(right, rules)

    def vjp(g, *args, **settings):
        out = primitive(*args, **settings)
        count = range(len(args))
        return [primitive.rule(i)(g, out, *args, **settings) if i == argnum else None for i in count]

    return Planted(Claim(primitive.function, vjp, tuple(args), settings), argnum, kind, reason)


positive = lambda *shape: 0.5 + generator.random(shape)  # noqa: E731


def closed(case, **settings):
    """The same without settings: a function of the user's."""
    s = case.claim
    return Planted(
        Claim(lambda *a: s.function(*a, **s.settings), lambda g, *a: s.vjp(g, *a, **s.settings), s.arrays, {}),
        case.argnum,
        case.kind,
    )
