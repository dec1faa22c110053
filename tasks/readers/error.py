"""Errors of a user's data: which file, which row, and what to do."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from itertools import islice
from typing import Any

from routers import ConfigError
from routers.plugins import missing


class DataError(ConfigError):
    """Data that cannot be used: the message names the file, the row and the cure."""


@contextmanager
def reading(place: object) -> Iterator[None]:
    """Turn any error of a decoder into a ``DataError`` that names the file and the row."""
    try:
        yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(
            f"{place}: does not fit in memory; make it smaller or exclude it"
        ) from error
    except Exception as error:  # decoders of corrupt files raise anything
        lines = str(error).splitlines() or [""]
        raise DataError(
            f"{place}: cannot be read ({type(error).__name__}: {lines[0]}); "
            "the file is corrupt, truncated or has the wrong extension: download it again or "
            "exclude it"
        ) from error


def needed(module: str, extra: str, why: str) -> Any:
    """A module of an optional extra.

    Raises:
        DataError: if it is not installed, with the command that installs it.
    """
    check_installed(module, extra, why)
    return import_module(module)


def check_installed(module: str, extra: str, why: str) -> None:
    """Raise the same error without importing the module."""
    problem = missing(module, extra, why)
    if problem:
        raise DataError(problem)


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: nearest match and known names.

    >>> nearest("txet", ["label", "text"])
    "did you mean 'text'? There are: label, text"
    """
    names = list(known)
    by_lower = {known.lower(): known for known in names}
    near = get_close_matches(name.lower(), by_lower, n=1)
    guess = f"did you mean {by_lower[near[0]]!r}? " if near else ""
    return f"{guess}There are: {listed(names)}"


def listed(names: Sequence[str]) -> str:
    """Names as a message shows them, the first twenty.

    >>> listed([])
    'none'
    """
    more = f", … ({len(names)} in all)" if len(names) > _SHOWN else ""
    return (", ".join(islice(names, _SHOWN)) or "none") + more


_SHOWN = 20
