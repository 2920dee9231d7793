"""Readers of the graph: they explain, check and watch what the engine records. The engine knows none of them."""

from .diagnosis.check_graph import GraphReport, check_graph
from .diagnosis.gradcheck import GradcheckError, gradcheck
from .reading.explain import Explanation, explain
from .reading.primitives import describe
from .watching.anomaly import AnomalyError, detect_anomaly
from .watching.profile import Profile, profile
from .watching.summary import summary

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
    "summary",
]
