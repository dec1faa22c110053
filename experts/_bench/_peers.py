"""What is common to layers of other packages."""

import importlib
from importlib.metadata import version
from typing import Any

from ._contestant import LeftOutError
from ._shapes import Shape


def import_peer(module: str, install: str) -> Any:
    """A module of another package.

    Args:
        module: its full name.
        install: the command that installs it.

    Raises:
        LeftOutError: where it, or what it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        lacks = error.name or module
        what = "" if module.startswith(lacks) else f"it needs {lacks}, which is "
        raise LeftOutError(f"{what}not installed: {install}") from error


def gated_hidden(shape: Shape) -> int:
    """The hidden width at which three matrices cost what two of ``H`` do, in multiples of 8.

    >>> gated_hidden(Shape(1, 1, 1024, 8, 2))
    680
    """
    return max(8, 8 * round(shape.hidden * 2 / 3 / 8))


def gated_flops(shape: Shape) -> int:
    """FLOPs per token of ``K`` experts with three matrices of ``gated_hidden``."""
    return 6 * shape.k * shape.dim * gated_hidden(shape)


def named(package: str) -> str:
    """A package and the version of it that is installed."""
    return f"{package} {version(package)}"
