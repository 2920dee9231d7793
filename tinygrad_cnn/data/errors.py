"""Errors for datasets that are missing, damaged or out of reach."""


class DataError(Exception):
    """A dataset is missing, damaged or out of reach; the message names the file and says what to do."""


class Unavailable(DataError):
    """The cache folder does not hold the dataset and it could not be downloaded into it.

    `reason` is the message in a few words, for the `source` of the sample that takes the dataset's place.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
