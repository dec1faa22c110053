"""From settings to results."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from rich.console import Console

from ._bench import Bench
from ._check import check
from ._contestant import Factory
from ._contestants import CONTESTANTS
from ._environment import enter, record
from ._files import make_folder, write_json
from ._over_experts import over_experts
from ._over_shapes import over_shapes
from ._settings import Settings
from ._shapes import GROWTH, SHAPES, Shape

#: What may be varied.
OVER: Mapping[str, Callable[[Bench], None]] = MappingProxyType(
    {"shapes": over_shapes, "experts": over_experts}
)


def bench(
    settings: Settings,
    console: Console,
    *,
    factories: Mapping[str, Factory] = CONTESTANTS,
    shapes: Mapping[int, Shape] = SHAPES,
    growth: Sequence[Shape] = GROWTH,
) -> None:
    """Measure what the settings ask for; writes tables to the console, files to ``out``.

    Sets threads and, where asked, the allocator of the whole process.

    Args:
        settings: of the right types; checked here before anything runs.
        console: where tables go.
        factories: who may take part, by name; ``dense`` and ``topk`` have to be among them.
        shapes: what ``shapes`` numbers.
        growth: the sizes of ``over=experts``; they differ in ``E`` alone.

    Raises:
        ConfigError: for a setting that cannot work.
        FailedError: where the dense layer fails, to which all is compared.
        OSError: where results cannot be written.
    """
    check(settings, shapes, OVER)
    folder = make_folder(settings.out)
    environment = enter(settings)
    torch.manual_seed(settings.seed)
    run = Bench(settings, environment, factories, shapes, growth, folder, console)
    console.print(f"results go to {folder}", markup=False)
    OVER[settings.over](run)
    write_json(folder / f"{run.stem}.json", record(settings, environment))
