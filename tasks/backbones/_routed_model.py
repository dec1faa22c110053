"""Models of other libraries with routed layers in place of some of their modules."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

import experts
from experts import MoE, Rows
from routers import ConfigError, OptionError, Routing

from .._task import Layer

T = TypeVar("T")

#: Characters of a message of another library that an error shows.
_LONG = 300


def put_layers(
    model: nn.Module,
    where: str | Sequence[str],
    layer: Layer,
    length: int,
    upcycle: bool,
    example: Any = None,
) -> None:
    """Replace modules of a model by routed layers of the task, in place.

    Args:
        model: the model.
        where: patterns of the names of the modules.
        layer: builds the routed layers.
        length: tokens of the longest sample, where single tokens are routed.
        upcycle: experts are copies of the modules, not those of the configuration.
        example: an input of the model, as ``experts.route`` takes it.

    Raises:
        OptionError: if no module matches ``where``, or one cannot be routed.
    """

    def build(module: nn.Module, rows: Rows) -> MoE:
        shape = (length, rows.dim) if rows.axes[-1] == "D" else (rows.dim, 1, 1)
        copies = partial(experts.copies_of, module, rows=rows) if upcycle else None
        try:
            return layer(shape, bank=copies)
        except ConfigError as error:
            of_layers.append(error)
            raise

    of_layers: list[ConfigError] = []  # each names its own key
    try:
        experts.route(model, where, layer=build, causal=False, example=example)
    except ConfigError as error:
        if of_layers:
            raise of_layers[0] from error
        text = str(error).removeprefix(f"where={where!r}: ")
        raise OptionError.about("where", f"={where}: {text}") from error


def passed(
    model: nn.Module,
    run: Callable[[], T],
    mask: Tensor | None = None,
    ids: Tensor | None = None,
    task: Tensor | None = None,
) -> tuple[T, list[Routing]]:
    """Call a model once, and return its output and the routing of each routed layer.

    ``run`` calls it. ``mask``, ``ids`` and ``task`` are those of the items, as
    ``experts.collect`` takes them.
    """
    with experts.collect(model, mask=mask, ids=ids, task=task) as found:
        output = run()
    for name, routings in found.items():
        if len(routings) != 1:
            raise ConfigError(
                f"task.model.where: module {name!r} runs {len(routings)} times in a pass, and a "
                "task has one routing of each layer; choose modules that run once"
            )
    return output, [routings[0] for routings in found.values()]


@torch.no_grad()
def tried(model: nn.Module, run: Callable[[], T], what: str, cure: str) -> T:
    """Call a model in evaluation by ``run``, and return its output.

    ``ConfigError`` with ``what`` and ``cure`` if it raises anything.
    """
    was_training = model.training
    model.eval()
    try:
        return run()
    except Exception as error:  # of code from outside
        problem = f"{type(error).__name__}: {one_line(error)}"
        raise ConfigError(
            f"{what}: the model does not run on these samples ({problem}); {cure}"
        ) from error
    finally:
        model.train(was_training)


def one_line(error: Exception) -> str:
    """The message of an error, on one line and cut if it is long."""
    text = " ".join(str(error).split())
    return text if len(text) <= _LONG else f"{text[:_LONG]} …"
