"""Names for parts: a decorator, plug-in modules, entry points and ``module:Class``."""

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar

from . import _options
from ._errors import ConfigError, unknown

C = TypeVar("C", bound=Callable[..., Any])


class Registry(Mapping[str, Callable[..., Any]]):
    """Parts of one kind by name.

    Args:
        key: the config key that chooses among them (``router``); it also names errors.
        base: the class every part derives from, or None where parts are functions.
        group: the entry-point group third parties use (``switchyard.routers``), or None.
        positional: how many leading constructor arguments are not options.

    >>> shapes = Registry("shape", base=None)
    >>> @shapes.register("square")
    ... def square(*, side: int = 2) -> int:
    ...     return side**2
    >>> shapes.build("square", side=3)
    9
    """

    def __init__(
        self, key: str, base: type | None, group: str | None = None, positional: int = 0
    ) -> None:
        self.key = key
        self.base = base
        self.group = group
        self.positional = positional
        self._parts: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[C], C]:
        """Decorate a part to give it a name; a name that is taken raises ``ConfigError``."""

        def add(part: C) -> C:
            held = self._parts.get(name)
            if held is not None and _home(held) != _home(part):
                raise ConfigError(
                    f"{self.key} {name!r} is already registered by {_home(held)}; "
                    f"choose another name for {_home(part)}"
                )
            self._check_kind(name, part)
            self._parts[name] = part
            return part

        return add

    def available(self) -> list[str]:
        """All names, sorted, those of installed plug-ins included."""
        return sorted({*self._parts, *self._entry_points()})

    def get_part(self, name: str) -> Callable[..., Any]:
        """The part called ``name``, or the object at ``package.module:Class``."""
        if name in self._parts:
            return self._parts[name]
        if ":" in name:
            return self._check_kind(name, _import_object(self.key, name))
        entries = self._entry_points()
        if name in entries:
            return self._check_kind(name, entries[name].load())
        raise unknown(self.key, name, self.available())

    def build(self, name: str, /, *args: Any, **options: Any) -> Any:
        """Construct the part called ``name`` after checking every option."""
        part = self.get_part(name)
        self.check_options(name, options)
        return part(*args, **options)

    def check_options(self, name: str, options: Mapping[str, Any]) -> None:
        """Raise ``ConfigError`` where ``options`` do not fit the part's signature."""
        _options.check(self.key, self.get_part(name), options, self.positional)

    def options(self, name: str) -> dict[str, Any]:
        """The options of a part with their defaults."""
        return _options.defaults(self.get_part(name), self.positional)

    def _entry_points(self) -> dict[str, Any]:
        return {e.name: e for e in entry_points(group=self.group)} if self.group else {}

    def _check_kind(self, name: str, part: Any) -> Any:
        if self.base and not (isinstance(part, type) and issubclass(part, self.base)):
            raise ConfigError(
                f"{self.key}={name}: {_home(part)} is not a subclass of {_home(self.base)}"
            )
        return part

    def __getitem__(self, name: str) -> Callable[..., Any]:
        return self.get_part(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.available())

    def __len__(self) -> int:
        return len(self.available())


def load_plugins(modules: Iterable[str]) -> None:
    """Import each module so that its ``@register`` lines run (``plugins: [their.module]``)."""
    for module in modules:
        _import_module("plugins", module)


def import_parts(package: str, path: Iterable[str]) -> None:
    """Import every public module of a package: the folder listing is the catalogue."""
    import pkgutil

    for module in pkgutil.iter_modules(path):
        if not module.name.startswith("_"):
            importlib.import_module(f"{package}.{module.name}")


def _import_module(key: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name):
            raise  # the module exists; something it imports does not
        raise ConfigError(
            f"{key}={module}: no such module; run from the folder that holds it "
            "or add that folder to PYTHONPATH"
        ) from error


def _import_object(key: str, name: str) -> Any:
    module, _, attribute = name.partition(":")
    found = _import_module(key, module)
    if not hasattr(found, attribute):
        raise unknown(key, name, [f"{module}:{n}" for n in vars(found) if not n.startswith("_")])
    return getattr(found, attribute)


def _home(part: Any) -> str:
    return f"{getattr(part, '__module__', '?')}.{getattr(part, '__qualname__', part)}"
