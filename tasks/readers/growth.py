"""Limits on what a compressed file may grow to, so that a small one cannot fill the memory."""

from .error import DataError

#: Largest growth of a compressed file, and the size up to which any growth is accepted.
MAX_GROWTH = 200
ALWAYS_ACCEPTED = 2**26


def check_growth(place: object, packed: int, unpacked: int, cure: str) -> None:
    """Raise ``DataError`` if so many bytes of a compressed file unpack to too many.

    >>> check_growth("a.gz", 2**20, 200 * 2**20, cure="decompress it")
    >>> check_growth("a.gz", 2**20, 201 * 2**20, cure="decompress it")
    Traceback (most recent call last):
    tasks.readers.error.DataError: a.gz: its 1048576 bytes unpack to 210763776 or more, over 200 ...
    """
    if unpacked > max(MAX_GROWTH * packed, ALWAYS_ACCEPTED):
        raise DataError(
            f"{place}: its {packed} bytes unpack to {unpacked} or more, over {MAX_GROWTH} times "
            f"as many; exclude it or, if you trust it, {cure}"
        )
