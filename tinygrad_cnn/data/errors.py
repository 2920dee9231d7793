"""The errors a person meets when a dataset cannot be had."""


class DataError(Exception):
    """A dataset is missing, damaged or out of reach; the message says which file and the way out."""


class Unavailable(DataError):
    """The cache folder does not hold the dataset and it could not be downloaded into it.

    `reason` says in a few words what the message tells in full, for the `source` of the sample that
    takes the dataset's place.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
