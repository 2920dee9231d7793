"""States in one file: nested ones as `.npz`, without pickle; weights as safetensors. Written atomically."""

from .files import CheckpointError, atomic_write, file_errors
from .states import load, load_checkpoint, save, save_checkpoint
from .weights import load_safetensors, save_safetensors

__all__ = [
    "CheckpointError",
    "atomic_write",
    "file_errors",
    "load",
    "load_checkpoint",
    "load_safetensors",
    "save",
    "save_checkpoint",
    "save_safetensors",
]
