"""Files in a folder that somebody else may have written: reading without trust, and writing."""

import csv
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from routers import ConfigError
from tasks import read_json

from .shapes import Shape, misfit

_LOGGER = logging.getLogger(__name__)

#: Errors of a file with unexpected content.
_DAMAGE = (OSError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError, csv.Error)


@contextmanager
def leaving_out(path: Path) -> Iterator[None]:
    """Leave out a file that cannot be read, with a warning that names it."""
    try:
        yield
    except ConfigError:  # of a later format
        raise
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        _LOGGER.warning("%r is damaged and left out: %s", str(path), reason)


def read_shaped(path: Path, shape: Shape) -> dict[str, Any] | None:
    """Read a JSON file of a shape; None if it is missing or damaged.

    Raises:
        ConfigError: if it has a later format.
    """
    with leaving_out(path):
        if path.exists():
            value: dict[str, Any] = read_json(path)
            if problem := misfit(value, shape):
                raise ValueError(problem)
            return value
    return None


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all; a link in its place is replaced, not followed."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)  # it may be a link to a file elsewhere
    part.write_bytes(content.encode() if isinstance(content, str) else content)
    part.replace(path)
