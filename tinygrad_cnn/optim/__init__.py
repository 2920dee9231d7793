"""Optimisers, schedules of the learning rate, and averages of weights; their steps are PyTorch's."""

from . import lr_scheduler, swa_utils
from .optimizers import SGD, Adadelta, Adagrad, Adam, AdamW, NAdam, Optimizer, RAdam, RMSprop

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "NAdam", "Optimizer", "RAdam", "RMSprop"]
__all__ += ["lr_scheduler", "swa_utils"]
