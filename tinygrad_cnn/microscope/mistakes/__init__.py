"""What kind of mistake a wrong gradient looks like, told from the numbers alone."""

from .diagnosis import Diagnosis, diagnose
from .kinks import check_kinks, is_one_of_the_neighbours, is_right_nearby, sides
from .probe import Array, Subject, is_float, scales
from .rounding import find_rounding

__all__ = [
    "Array",
    "Diagnosis",
    "Subject",
    "check_kinks",
    "diagnose",
    "find_rounding",
    "is_float",
    "is_one_of_the_neighbours",
    "is_right_nearby",
    "scales",
    "sides",
]
