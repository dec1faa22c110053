"""Rows of a module: their width, and whether single tokens or whole samples are routed."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from routers import ConfigError

#: Attribute with the width and axes of a row, by the type of the first layer of a module.
_WIDTHS: dict[type[nn.Module], tuple[str, tuple[str, ...]]] = {
    nn.Linear: ("in_features", ("D",)),
    nn.Conv1d: ("in_channels", ("D", "L")),
    nn.Conv2d: ("in_channels", ("D", "H", "W")),
}

#: Length of each inner axis of the random input of a module.
_SIDE = {"L": 16, "H": 16, "W": 16}


class Rows(NamedTuple):
    """Width ``D`` and axes of the rows of a module, as ``Bank.row_axes``."""

    dim: int
    axes: tuple[str, ...]


def rows_of(module: nn.Module, dim: int | None, inputs: Tensor | None) -> Rows:
    """The rows of a module that maps one tensor to one of the same shape.

    The width is that of its first linear or convolutional layer, unless ``dim`` or ``inputs``
    gives it. Tokens are routed if the module processes each alone, else whole samples. It runs
    once or twice, in evaluation and without gradients.

    Raises:
        ConfigError: if the module takes more than one tensor, does not run, returns anything else
            than a tensor of the same shape, or the width is unknown.

    >>> rows_of(nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4)), None, None)
    Rows(dim=4, axes=('D',))
    >>> rows_of(nn.Conv2d(3, 3, 3, padding=1), None, None)
    Rows(dim=3, axes=('D', 'H', 'W'))
    """
    _check_signature(module)
    found = _first_layer(module)
    if inputs is not None:
        axes = ("D",) if found is None else found.axes
        width = inputs.shape[-1 if axes == ("D",) else 1]
        found = Rows(width, axes)
    elif dim is not None:
        found = Rows(dim, ("D",) if found is None else found.axes)
    if found is None:
        raise ConfigError(
            f"{type(module).__name__} has no linear or convolutional layer whose width is that of "
            "its input; give dim=, or an input of the model as example="
        )
    x = _random_input(module, found) if inputs is None else inputs
    try:
        y = _run(module, x)
    except Exception as error:  # a module may raise anything
        raise ConfigError(
            f"{type(module).__name__} does not run on shape {tuple(x.shape)} ({error}); give an "
            "input of the model as example=, which shows what the module gets"
        ) from error
    if not isinstance(y, Tensor):
        raise ConfigError(f"{type(module).__name__} returns {_describe(y)}: expected one tensor")
    if y.shape != x.shape:
        raise ConfigError(
            f"{type(module).__name__} maps shape {tuple(x.shape)} to {tuple(y.shape)}: expected "
            "the same shape; route a module that keeps it"
        )
    if found.axes == ("D",) and x.dim() > 2 and not _takes_tokens(module, x, y):
        if x.dim() != 3:
            raise ConfigError(
                f"{type(module).__name__} does not process vectors along the last axis of "
                f"{tuple(x.shape)} alone; route a module that does, or one with (N, L, D)"
            )
        return Rows(found.dim, ("L", "D"))
    return found


@torch.no_grad()
def example_inputs(
    model: nn.Module, modules: Mapping[str, nn.Module], example: Any
) -> dict[str, Tensor]:
    """The input of each module in a pass of a model over ``example``.

    Args:
        model: runs in evaluation.
        modules: by name.
        example: the argument of the model; a tuple of several, or a mapping of named ones.

    Raises:
        ConfigError: if a module does not run, or is not called with one tensor alone.
    """
    found: dict[str, Tensor] = {}

    def noting(name: str) -> Any:
        def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = [*args, *(value for value in kwargs.values() if value is not None)]
            if len(given) != 1 or not isinstance(given[0], Tensor):
                shown = ", ".join(map(_describe, given))
                raise ConfigError(f"module {name!r} is called with {shown}: expected one tensor")
            found.setdefault(name, given[0].clone())

        return note

    with ExitStack() as hooks, modes_kept(model):
        model.eval()
        for name, module in modules.items():
            hook = module.register_forward_pre_hook(noting(name), with_kwargs=True)
            hooks.callback(hook.remove)
        if isinstance(example, Mapping):
            model(**example)
        else:
            model(*(example if isinstance(example, tuple) else (example,)))
    if missing := [name for name in modules if name not in found]:
        raise ConfigError(
            f"module {missing[0]!r} does not run in a pass over example; choose another module or "
            "another example"
        )
    return found


def _check_signature(module: nn.Module) -> None:
    required = [
        name
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if len(required) > 1:
        raise ConfigError(
            f"{type(module).__name__}.forward takes {', '.join(required)}: expected one tensor"
        )


def _first_layer(module: nn.Module) -> Rows | None:
    for each in module.modules():
        for kind, (attribute, axes) in _WIDTHS.items():
            if isinstance(each, kind):
                return Rows(getattr(each, attribute), axes)
        if type(each).__name__ == "Conv1D":  # a linear layer of transformers
            return Rows(len(each.get_parameter("weight")), ("D",))
    return None


def _random_input(module: nn.Module, rows: Rows) -> Tensor:
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    lead = (2, 3) if rows.axes == ("D",) else (2,)
    shape = (*lead, *(_SIDE.get(axis, rows.dim) for axis in rows.axes))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return x.to(like.device, like.dtype)


def _takes_tokens(module: nn.Module, x: Tensor, y: Tensor) -> bool:
    """Whether the output for a vector does not depend on the others."""
    try:
        alone = _run(module, x.flatten(0, -2))
    except Exception:  # a module may raise anything about two axes
        return False
    if not isinstance(alone, Tensor) or alone.is_meta:
        return isinstance(alone, Tensor)
    y = y.flatten(0, -2)
    return alone.shape == y.shape and torch.allclose(alone, y, rtol=1e-2, atol=1e-2 * _scale(y))


def _scale(y: Tensor) -> float:
    return float(y.abs().max()) if y.numel() else 0.0


@torch.no_grad()
def _run(module: nn.Module, x: Tensor) -> Any:
    with modes_kept(module), torch.random.fork_rng(devices=[]):
        return module.eval()(x)


@contextmanager
def modes_kept(module: nn.Module) -> Iterator[None]:
    """Context manager: modes of a module and all in it are as before afterwards."""
    before = [(each, each.training) for each in module.modules()]
    try:
        yield
    finally:
        for each, training in before:
            each.training = training


def _describe(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
