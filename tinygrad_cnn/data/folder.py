"""Read a dataset from a user's folder, without changing anything there."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .catalog import DataFile, DatasetSpec
from .errors import DataError
from .files import decode, find, shown


def read_folder(spec: DatasetSpec, folder: Path) -> tuple[Path, list[NDArray[np.uint8]]]:
    """The arrays of the dataset's four files, and the folder at or below `folder` that holds them.

    Raises a `DataError` that names the files that are missing, or the one that is damaged.
    """
    places = [*(folder / name for name in (spec.name, *spec.folders)), folder]
    # the first place with any of the files, so that a message about missing ones names it
    place = next((place for place in places if any(find(place, file) for file in spec.files)), folder)
    paths = {file: find(place, file) for file in spec.files}
    missing = [file.name for file, path in paths.items() if path is None]
    if missing:
        readable = os.path.isdir(place) and os.access(place, os.R_OK | os.X_OK)
        problem = "lacks" if readable else "is not a folder that can be read; expected one with"
        gz = "" if spec.files[0].is_archive else " (or the same with .gz)"
        raise DataError(
            f"{shown(place)} {problem} {', '.join(missing)}{gz}. Put the files of "
            f"{spec.title} there, or name no folder, and they are downloaded into the cache."
        )
    return place, [array for file, path in paths.items() if path is not None for array in _read(path, file)]


def _read(path: Path, file: DataFile) -> list[NDArray[np.uint8]]:
    way_out = "Replace the file, or name no folder, and the cache is used."
    try:
        return decode(path.read_bytes(), file, shown(path))
    except DataError as error:
        raise DataError(f"{error}. {way_out}") from None
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read ({error.strerror}). {way_out}") from error
