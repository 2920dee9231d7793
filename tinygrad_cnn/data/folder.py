"""Read a dataset from a folder of the user's, where nothing is ever changed."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .catalog import CifarArchive, Collection, IdxFile
from .errors import DataError
from .files import decode, find, shown


def read_folder(collection: Collection, folder: Path) -> tuple[Path, list[NDArray[np.uint8]]]:
    """The arrays of the collection's four files, and the folder at or below `folder` that holds them.

    Raises a `DataError` that names the files that are missing, or the one that is damaged.
    """
    places = [*(folder / name for name in (collection.name, *collection.folders)), folder]
    # The first that has any of the files, so that the message about missing ones is about that place.
    place = next((place for place in places if any(find(place, file) for file in collection.files)), folder)
    paths = {file: find(place, file) for file in collection.files}
    missing = [file.name for file, path in paths.items() if path is None]
    if missing:
        fault = "lacks" if os.path.isdir(place) else "is not a folder that can be read; expected one with"
        gz = "" if isinstance(collection.files[0], CifarArchive) else " (or the same with .gz)"
        raise DataError(
            f"{shown(place)} {fault} {', '.join(missing)}{gz}. Put the files of "
            f"{collection.title} there, or leave out data_dir to have them downloaded into the cache."
        )
    return place, [array for file, path in paths.items() if path is not None for array in _read(path, file)]


def _read(path: Path, file: IdxFile | CifarArchive) -> list[NDArray[np.uint8]]:
    way_out = "Replace the file, or leave out data_dir to use the cache."
    try:
        return decode(path.read_bytes(), file, shown(path))
    except DataError as error:
        raise DataError(f"{error}. {way_out}") from None
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read ({error.strerror}). {way_out}") from error
