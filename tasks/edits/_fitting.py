"""Layers fitted to the outputs that others have for their inputs in passes of a network."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from experts import MoE
from routers import ConfigError, Routing

from .._task import Backbone, Batch


class Call(NamedTuple):
    """The arguments of a layer in a pass, and what it returned."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Tensor
    routing: Routing


class Use(NamedTuple):
    """The use of a layer: its number of items, and load and gate mass of each expert, ``(E,)``."""

    items: int
    load: Tensor
    mass: Tensor


def uses(network: Backbone, layers: Sequence[MoE], batches: Iterable[Batch]) -> list[Use]:
    """The use of the experts of every layer over batches."""
    empty = [torch.zeros(layer.router.num_experts, dtype=torch.float64) for layer in layers]
    found = [Use(0, each, each) for each in empty]
    for calls in _passes(network, layers, batches):
        for place, own in enumerate(calls):
            for _, _, _, routing in own:
                items, load, mass = found[place]
                seen, gates = items + int(routing.num_real), routing.importance.double().cpu()
                found[place] = Use(seen, load + routing.load.cpu(), mass + gates)
    return found


@torch.no_grad()
def errors(
    network: Backbone, layers: Sequence[MoE], students: Sequence[MoE], batches: Iterable[Batch]
) -> list[float]:
    """Squared error of every student over batches, relative to that of the answer 0."""
    sums = torch.zeros(len(layers), 2, dtype=torch.float64)
    for calls in _passes(network, layers, batches):
        for place, (own, student) in enumerate(zip(calls, students, strict=True)):
            sums[place] += _squares(own, student.eval()).double().cpu()
    wrong, whole = sums.unbind(1)
    return (wrong / whole.clamp_min(1e-300)).tolist()


def fit(
    network: Backbone,
    layers: Sequence[MoE],
    students: Sequence[MoE],
    batches: Iterable[Batch],
    steps: int,
    lr: float,
) -> None:
    """Fit students to layers by Adam, with a rate that falls from ``lr`` to 0 in so many batches.

    ``ConfigError`` if an error is not finite.
    """
    learned = [values for student in students for values in student.train().parameters()]
    optimizer = torch.optim.Adam(learned, lr)
    for step, calls in enumerate(_passes(network, layers, islice(batches, steps))):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        pairs = [_squares(*each) for each in zip(calls, students, strict=True)]
        loss = torch.stack([wrong / whole.clamp_min(1e-30) for wrong, whole in pairs]).sum()
        if not torch.isfinite(loss):
            raise ConfigError(f"the error at batch {step} is {loss.item()}; lower lr={lr}")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _squares(calls: Sequence[Call], student: MoE) -> Tensor:
    """Sums of squares over the calls of a layer: of a student's error, and of outputs, ``(2,)``."""
    pairs = [(student(*args, **kwargs)[0] - y, y) for args, kwargs, y, _ in calls]
    sums = [torch.stack([each.square().sum() for each in pair]) for pair in pairs]
    return torch.stack(sums).sum(0)


def _passes(
    network: Backbone, layers: Sequence[MoE], batches: Iterable[Batch]
) -> Iterator[list[list[Call]]]:
    """The calls of every layer in the pass of each batch, in evaluation and without gradients."""
    network.eval()
    with _noted(layers) as calls:
        for batch in batches:
            with torch.no_grad():
                network(batch)
            yield calls
            for own in calls:
                own.clear()


@contextmanager
def _noted(layers: Sequence[MoE]) -> Iterator[list[list[Call]]]:
    calls: list[list[Call]] = [[] for _ in layers]
    with ExitStack() as hooks:
        for layer, own in zip(layers, calls, strict=True):
            note = layer.register_forward_hook(_note(own), with_kwargs=True)
            hooks.callback(note.remove)
        yield calls


def _note(calls: list[Call]) -> Callable[..., None]:
    def note(layer: Any, args: Any, kwargs: Any, output: tuple[Tensor, Routing]) -> None:
        calls.append(Call(args, kwargs, *output))

    return note
