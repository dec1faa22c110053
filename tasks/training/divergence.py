"""Detection of the first place with a number that is not finite."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn

from .._task import Batch


class DivergedError(RuntimeError):
    """Training cannot continue: a loss, a value or a parameter is not finite."""


@torch.no_grad()
def first_bad_place(backbone: nn.Module, batch: Batch, is_whole: bool = True) -> str:
    """The first place, in order of execution, that turns finite values into non-finite ones.

    Layers of a network that is not whole in this process are not searched: its forward pass needs
    all processes.

    >>> first_bad_place(nn.Identity(), {"x": torch.tensor([[1.0], [torch.nan]])})
    "input 'x' of the batch (rows [1] and maybe more)"
    """
    for name, values in batch.items():
        if name != "y" and not _finite(values):  # a label may be missing
            return f"input {name!r} of the batch (rows {_bad_rows(values)} and maybe more)"
    if place := bad_parameter(backbone):
        return place
    if not is_whole:
        return "a layer or the loss (trainer.strategy=ddp finds the layer)"
    bad: list[str] = []

    def watch(name: str, module: nn.Module, inputs: object, output: object) -> None:
        if not bad and not all(map(_finite, _tensors(output))):
            bad.append(name)

    with ExitStack() as hooks:
        for name, module in backbone.named_modules():
            if name:
                hooks.enter_context(module.register_forward_hook(partial(watch, name)))
        backbone(batch)
    if bad:
        return f"layer {bad[0]}"
    if "y" in batch and not _finite(batch["y"]):
        return f"the loss of labels 'y' (rows {_bad_rows(batch['y'])} and maybe more)"
    return "the loss itself (all layers are finite)"


def _bad_rows(values: Tensor) -> list[int]:
    """The first rows with a number that is not finite, at most 5."""
    bad = ~values.reshape(len(values), -1).isfinite().all(1)
    return bad.nonzero().flatten()[:5].tolist()


def bad_parameter(module: nn.Module) -> str | None:
    """The first parameter that is not finite, or None if all are finite."""
    for name, parameter in module.named_parameters():
        if not _finite(parameter):
            layer, _, leaf = name.removeprefix("backbone.").rpartition(".")
            return f"layer {layer} (its parameter {leaf})" if layer else f"parameter {leaf}"
    return None


def _finite(values: Tensor) -> bool:
    own = getattr(values, "to_local", lambda: values)()  # this process's part of a sharded one
    return not own.is_floating_point() or bool(own.isfinite().all())


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)
    elif hasattr(value, "weight") and hasattr(value, "expert"):  # a routing
        yield value.weight
