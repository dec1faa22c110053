"""Routings of a model with gradients, and the masks and ids that its routed layers read."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from routers import ConfigError

from .collection import _OPEN, Collection, Given
from .routed import Routed

#: Names that wrappers add to those of the modules in them.
_WRAPPERS = {"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"}


@contextmanager
def collect(
    model: nn.Module,
    *,
    mask: Tensor | None = None,
    ids: Tensor | None = None,
    task: Tensor | None = None,
) -> Iterator[Collection]:
    """Context manager: collect the routings of a model's routed layers, with gradients.

    The value maps the name of each layer that ``experts.route`` put in to a list of routings, one
    for each call; ``loss()`` is the sum of their auxiliary losses. Mask, ids and tasks reach every
    routed layer of the model. Nothing is kept in the model, so threads do not interfere with each
    other, with one model or several. Of nested contexts the inner one has the passes of the
    layers that it shares with the outer one.

    With activation checkpointing call ``backward`` inside of the context, since layers read the
    mask again when they are computed again; an error is raised otherwise. For that, the backward
    pass runs in the thread that calls it, on every device.

    Args:
        model: the model, also as DDP, FSDP2 or ``torch.compile`` wrap it; or a part of it.
        mask: bool, False at padding, in the shape of the items: ``(B, L)`` for ``(B, L, D)``.
        ids: integers that identify the content of the items, for routers such as ``hash``.
        task: integers that identify the tasks of the items, or of each sample, ``(B,)``.

    Raises:
        ConfigError: if the model has no routed layer, or the mask is not bool; while the model
            runs, if shapes do not match.

    >>> import experts
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 8), nn.ReLU()))
    >>> handle = experts.route(model, "1")
    >>> with collect(model) as routings:
    ...     y = model(torch.randn(3, 4))
    ...     (y.sum() + routings.loss({"switch": 0.01})).backward()
    >>> [(name, len(found), found[0].num_assignments) for name, found in routings.items()]
    [('1', 1, 6)]
    """
    names = routed_layers(model)
    if not names:
        raise ConfigError("the model has no routed layer; put some in with experts.route")
    for key, value in (("mask", mask), ("ids", ids), ("task", task)):
        if value is not None and not isinstance(value, Tensor):
            raise ConfigError(f"{key} is a {type(value).__name__}: expected a tensor")
    if mask is not None and mask.dtype != torch.bool:
        raise ConfigError(f"mask is of type {mask.dtype}: expected torch.bool; give mask.bool()")
    layers = {name: layer.moe for layer, name in names.items()}
    collection = Collection(names, layers, Given(mask, ids, task))
    before = _OPEN.set((*_OPEN.get(), collection))
    try:
        with torch.autograd.set_multithreading_enabled(False):
            yield collection
    finally:
        _OPEN.reset(before)


def routed_layers(model: nn.Module) -> dict[Routed, str]:
    """The routed layers of a model with their names, without those that wrappers add."""
    if isinstance(model, DataParallel):
        raise ConfigError("DataParallel copies layers in every pass; use DistributedDataParallel")
    while isinstance(model, DistributedDataParallel) or "_orig_mod" in model._modules:
        inner = "module" if isinstance(model, DistributedDataParallel) else "_orig_mod"
        model = model.get_submodule(inner)
    return {
        module: ".".join(part for part in name.split(".") if part not in _WRAPPERS)
        for name, module in model.named_modules()
        if isinstance(module, Routed)
    }
