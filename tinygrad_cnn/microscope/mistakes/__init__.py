"""What kind of mistake a wrong gradient looks like, told from the numbers alone."""

from .diagnosis import Diagnosis, diagnose
from .kinks import check_kinks, sides
from .probe import Array, Subject, is_float, scales

__all__ = ["Array", "Diagnosis", "Subject", "check_kinks", "diagnose", "is_float", "scales", "sides"]
