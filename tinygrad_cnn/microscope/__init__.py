"""Readers of the graph: they explain, show, check and watch what the engine records. The engine knows none of them."""

from .anomaly import AnomalyError, detect_anomaly
from .diagnosis.check_graph import GraphReport, check_graph
from .diagnosis.gradcheck import GradcheckError, gradcheck
from .explain import Explanation, explain
from .primitives import describe
from .profile import Profile, profile
from .show import show
from .summary import summary

__all__ = [
    "AnomalyError",
    "Explanation",
    "GradcheckError",
    "GraphReport",
    "Profile",
    "check_graph",
    "describe",
    "detect_anomaly",
    "explain",
    "gradcheck",
    "profile",
    "show",
    "summary",
]
