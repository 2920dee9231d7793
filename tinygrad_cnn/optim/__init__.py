"""Optimisers, schedules of the learning rate, and averages of weights; their steps are PyTorch's."""

from typing import TYPE_CHECKING

from ..settings import absences
from . import lr_scheduler, swa_utils
from .optimizers import SGD, Adadelta, Adagrad, Adam, AdamW, NAdam, Optimizer, RAdam, RMSprop

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "NAdam", "Optimizer", "RAdam", "RMSprop"]
__all__ += ["lr_scheduler", "swa_utils"]

if not TYPE_CHECKING:  # which would believe that there is any name
    __getattr__ = absences(__name__, __all__)
