"""Optimisers, schedules of the learning rate, and averages of weights; their steps are PyTorch's."""

from . import lr_scheduler, swa_utils
from .optimizers import SGD, Adam, AdamW, Optimizer

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler", "swa_utils"]
