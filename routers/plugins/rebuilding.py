"""Parts built again with other arguments, and with a selection of the state of the first."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .errors import ConfigError

P = TypeVar("P", bound=nn.Module)

#: Axis and entries of a tensor.
Selection = tuple[int, Sequence[int]]


def arguments_of(part: nn.Module) -> dict[str, Any]:
    """The arguments of the constructor of a ``ShowsArguments``, with values that were set later.

    >>> from routers import build
    >>> arguments_of(build("topk", 8, 4, k=1, weighting="probability"))["k"]
    1
    """
    return dict(vars(part)["_arguments"])


def rebuilt(part: P, **changes: Any) -> P:
    """The same part as its constructor builds it with other arguments.

    Its state is an initial one; random draws outside are as if nothing had been built.
    ``ConfigError`` if the constructor refuses a value.
    """
    with torch.random.fork_rng(devices=[]):
        return type(part)(**{**arguments_of(part), **changes})


def named_state(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by name, with buffers that checkpoints leave out."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def fill(part: P, source: nn.Module, selections: Mapping[str, Selection]) -> P:
    """Give a part the state of another: selected entries of some tensors, the others whole.

    Types, devices, modes and frozen parameters are those of ``source``. Returns ``part``.

    Args:
        part: the part to fill.
        source: a part with tensors of the same names.
        selections: by name of a tensor.

    Raises:
        ConfigError: if the tensors have other names or shapes afterwards.

    >>> one, two = nn.Linear(2, 3, bias=False), nn.Linear(2, 2, bias=False)
    >>> fill(two, one, {"weight": (0, [2, 0])}).weight.equal(one.weight[[2, 0]])
    True
    """
    built, given = dict(named_state(part)), dict(named_state(source))
    if built.keys() != given.keys():
        names = ", ".join(sorted(built.keys() ^ given.keys()))
        raise ConfigError(f"{type(source).__name__}: its tensors change with its size: {names}")
    for name, old in given.items():
        values = old.detach()
        if name in selections:
            axis, entries = selections[name]
            values = values.index_select(axis, torch.tensor(entries, device=values.device))
        if values.shape != built[name].shape:
            raise ConfigError(
                f"{type(source).__name__}: {name} is of shape {tuple(values.shape)}, and of shape "
                f"{tuple(built[name].shape)} in a new part of this size"
            )
        set_tensor(part, name, values.clone(), old)
    for name, module in part.named_modules():
        module.training = source.get_submodule(name).training
    return part


def set_tensor(part: nn.Module, name: str, values: Tensor, like: Tensor) -> None:
    """Put values in the place of a part's tensor, as a parameter or buffer as ``like`` is one.

    Args:
        part: a module that has a tensor of this name, of any shape, type and device.
        name: dotted, as in ``named_state``.
        values: the new tensor, which is not copied.
        like: a parameter, frozen or not, or a buffer.

    >>> part = nn.Linear(2, 3, device="meta")
    >>> set_tensor(part, "bias", torch.ones(3), part.bias)
    >>> part.bias.tolist()
    [1.0, 1.0, 1.0]
    """
    owner, _, last = name.rpartition(".")
    module = part.get_submodule(owner)
    if isinstance(like, nn.Parameter):
        module.register_parameter(last, nn.Parameter(values, requires_grad=like.requires_grad))
    else:
        module._buffers[last] = values
