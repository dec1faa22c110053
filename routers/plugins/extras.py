"""Optional packages: imported where they are used, and named with their install command."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from .errors import ConfigError


def needed(module: str, extra: str, why: str) -> Any:
    """A module of an optional extra; ``ConfigError`` with the install command if it is missing.

    >>> needed("nowhere.parts", "export", "task.model=odd")
    Traceback (most recent call last):
    routers.plugins.errors.ConfigError: task.model=odd: needs nowhere; pip install 'switchyard-...
    """
    problem = missing(module, extra, why)
    if problem:
        raise ConfigError(problem)
    return import_module(module)


def missing(module: str, extra: str, why: str) -> str:
    """The message about a module that is not installed, with the command; empty if it is there.

    >>> missing("math", "none", "this doctest")
    ''
    """
    package = module.partition(".")[0]
    if find_spec(package) is not None:
        return ""
    return f"{why}: needs {_PACKAGES.get(package, package)}; pip install 'switchyard-moe[{extra}]'"


#: Names of packages that differ from those of their modules.
_PACKAGES = {"PIL": "pillow"}
