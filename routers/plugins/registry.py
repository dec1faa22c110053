"""Names for parts: a decorator, plug-in modules, entry points and ``module:Class``."""

import importlib
import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from . import signature
from .errors import ConfigError, OptionError, unknown

C = TypeVar("C", bound=Callable[..., Any])
Part = TypeVar("Part")


class Registry(Mapping[str, Any], Generic[Part]):
    """Parts of one kind, classes or functions, by name; ``build`` constructs one.

    Args:
        key: the config key that names a part (``router``), also used in errors.
        base: the class every part derives from; None if parts are functions.
        group: the entry-point group third parties use (``switchyard.routers``), or None.
        positional: number of leading constructor arguments that are not options.
        adapt: makes a part of an object that is none, such as a class of another library; returns
            anything else as it is.

    >>> shapes: Registry[int] = Registry("shape", base=None)
    >>> @shapes.register("square")
    ... def square(*, side: int = 2) -> int:
    ...     return side**2
    >>> shapes.build("square", side=3)
    9
    """

    def __init__(
        self,
        key: str,
        base: Callable[..., Part] | None,
        group: str | None = None,
        positional: int = 0,
        adapt: Callable[[Any], Any] = lambda part: part,
    ) -> None:
        self.key = key
        self.base = base
        self.group = group
        self.positional = positional
        self.adapt = adapt
        self._parts: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[C], C]:
        """A decorator that registers a part; ``ConfigError`` if the name is taken."""

        def add(part: C) -> C:
            held = self._parts.get(name)
            if held is not None and _home(held) != _home(part):
                raise ConfigError(
                    f"{self.key} {name!r} is already registered by {_home(held)}; "
                    f"choose another name for {_home(part)}"
                )
            self._parts[name] = self._check_kind(name, part)
            return part

        return add

    def available(self) -> list[str]:
        """All names, sorted, including those of installed plug-ins."""
        return sorted({*self._parts, *self._entry_points()})

    def get_part(self, name: str) -> Any:
        """The part registered as ``name``, or the object at ``package.module:Class``."""
        if not isinstance(name, str):
            kind = type(name).__name__
            raise OptionError(
                self.key, name, f"a name, not a value of type {kind}", "Put it in quotes"
            )
        entry = self._entry_points().get(name)
        if name in self._parts:
            self._check_same(name, entry)
            return self._parts[name]
        if ":" in name:
            return self._check_kind(name, _import_object(self.key, name))
        if entry is not None:
            with _importing(self.key, name, _package(entry)):
                part = entry.load()
            return self._check_kind(name, part)
        raise unknown(self.key, name, self.available())

    def build(self, name: str, /, *args: Any, **options: Any) -> Part:
        """Construct the part ``name`` after a check of all ``options``.

        ``ConfigError`` for an unknown name, or an unknown, missing or invalid option.

        Args:
            name: a registered name, or ``package.module:Class``.
            args: the leading arguments, such as ``dim, num_experts``.
            options: keyword arguments of the part's constructor.
        """
        part = self.get_part(name)
        self.check_options(name, options)
        try:
            built: Part = part(*args, **options)
        except OptionError as error:
            if error.name.split(".")[0] not in self.options(name):
                raise  # about one of args
            raise error.under(self.key) from error.__cause__
        return built

    def check_options(self, name: str, options: Mapping[str, Any]) -> None:
        """Raise ``ConfigError`` unless ``options`` match the part's signature."""
        signature.check_options(self.key, self.get_part(name), options, self.positional)

    def options(self, name: str) -> dict[str, Any]:
        """The options of a part with their defaults."""
        return signature.defaults(self.get_part(name), self.positional)

    def _entry_points(self) -> Mapping[str, EntryPoint]:
        return _installed(self.group) if self.group else {}

    def _check_same(self, name: str, entry: EntryPoint | None) -> None:
        """Refuse an entry point with the name of a part defined elsewhere."""
        home = _home(self._parts[name])
        if entry is not None and entry.value.replace(":", ".") != home:
            raise ConfigError(
                f"{self.key} {name!r} names both {home} and the installed plug-in {entry.value}; "
                f"rename or remove the entry point, or use {self.key}={entry.value}"
            )

    def _check_kind(self, name: str, part: Any) -> Any:
        part = self.adapt(part)
        if isinstance(self.base, type) and not (
            isinstance(part, type) and issubclass(part, self.base)
        ):
            raise ConfigError(
                f"{self.key}={name}: {_home(part)} is not a subclass of {_home(self.base)}"
            )
        if inspect.isabstract(part):
            missing = ", ".join(sorted(part.__abstractmethods__))
            raise ConfigError(
                f"{self.key}={name}: {_home(part)} does not implement {missing}; "
                "implement it, or name a subclass that does"
            )
        return part

    __getitem__ = get_part

    def __iter__(self) -> Iterator[str]:
        return iter(self.available())

    def __len__(self) -> int:
        return len(self.available())


def load_plugins(modules: Iterable[str]) -> None:
    """Import modules whose ``@register`` lines add parts (``plugins: [their.module]``)."""
    for module in modules:
        _import_module("plugins", module)


def import_parts(package: str, path: Iterable[str]) -> None:
    """Import every public module of a package, so that its parts register themselves."""
    import pkgutil

    for module in pkgutil.iter_modules(path):
        if not module.ispkg and not module.name.startswith("_"):
            importlib.import_module(f"{package}.{module.name}")


@cache
def _installed(group: str) -> Mapping[str, EntryPoint]:
    """The entry points of a group by name, read once per process."""
    return {entry.name: entry for entry in entry_points(group=group)}


def _import_module(key: str, module: str) -> Any:
    if not all(part.isidentifier() for part in module.split(".")):
        raise OptionError(key, module, "the dotted name of a module, such as their.module")
    with _importing(key, module):
        return importlib.import_module(module)


@contextmanager
def _importing(key: str, name: str, package: str = "") -> Iterator[None]:
    """Convert exceptions raised by an import to a ``ConfigError`` with file and line.

    ``package`` describes the installed package that declares the name, if one does.
    """
    module = name.partition(":")[0]
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # a module may raise anything
        lacks = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        if lacks and (module == lacks or module.startswith(f"{lacks}.")):
            raise ConfigError(
                f"{key}={name}{package}: no such module; run from the folder that holds it "
                "or add that folder to PYTHONPATH"
            ) from error
        raise ConfigError(
            f"{key}={name}{package}: cannot be imported; "
            f"{_place(error)}: {type(error).__name__}: {error}"
        ) from error


def _package(entry: EntryPoint) -> str:
    """The package of an entry point, for errors; empty if it is unknown."""
    package = getattr(entry, "dist", None)
    return "" if package is None else f" (of the installed package {package.name})"


def _place(error: Exception) -> str:
    """File and line where an exception was raised."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "<frozen" not in f.filename]
    return f"{frames[-1].filename}, line {frames[-1].lineno}"


def _import_object(key: str, name: str) -> Any:
    module, _, attribute = name.partition(":")
    found = _import_module(key, module)
    if not hasattr(found, attribute):
        raise unknown(key, name, [f"{module}:{n}" for n in vars(found) if not n.startswith("_")])
    return getattr(found, attribute)


def _home(part: Any) -> str:
    return f"{getattr(part, '__module__', '?')}.{getattr(part, '__qualname__', part)}"
