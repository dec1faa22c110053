"""What the two ways to measure have in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from torch import Tensor

from ._clock import CLOCKS, plain_clock
from ._contestant import Contestant, Factory
from ._contestants import failure
from ._environment import Environment, columns
from ._files import replace_file, write_csv
from ._memory import Peak, measure_peak
from ._place import DTYPES, WAITS
from ._plot import rendered
from ._race import Times, forget_gradients, leaf, race, step
from ._rows import Row
from ._settings import Settings
from ._shapes import Shape

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Bench:
    """One run of the command.

    Args:
        settings: checked.
        environment: what holds in this process.
        factories: who may take part, by name.
        shapes: what is measured with ``over=shapes``, by number.
        growth: what is measured with ``over=experts``, in order.
        folder: where results go.
        console: where tables go.
    """

    settings: Settings
    environment: Environment
    factories: Mapping[str, Factory]
    shapes: Mapping[int, Shape]
    growth: Sequence[Shape]
    folder: Path
    console: Console

    @property
    def device(self) -> torch.device:
        """Where layers and batches are."""
        return torch.device(self.settings.device)

    @property
    def dtype(self) -> torch.dtype:
        """What parameters and batches are of."""
        return DTYPES[self.settings.dtype]

    @property
    def stem(self) -> str:
        """The start of every file's name: other devices and dtypes do not replace each other."""
        return f"{self.settings.over}-{self.settings.device}-{self.settings.dtype}"

    def generator(self) -> torch.Generator:
        """A fresh source of batches; on the CPU, so that devices see the same ones."""
        return torch.Generator().manual_seed(self.settings.seed)

    def drawer(self, shape: Shape, generator: torch.Generator) -> Callable[[], Tensor]:
        """What draws a batch ``(N, D)``, never the same twice."""

        def draw() -> Tensor:
            batch = torch.randn(shape.tokens, shape.dim, generator=generator)
            return batch.to(self.device, self.dtype)

        return draw

    def run(
        self, contestants: Mapping[str, Contestant], shape: Shape
    ) -> tuple[dict[str, Times], dict[str, Peak]]:
        """Times of all, and memory of those that finished."""
        draw = self.drawer(shape, self.generator())
        gradient = draw()
        clock = CLOCKS.get(self.environment.allocator, plain_clock)(WAITS[self.settings.device])
        times = race(contestants, draw, gradient, self.settings.rounds, clock)
        peaks = {}
        for name, contestant in contestants.items():
            if times[name].error is None:
                try:
                    peaks[name] = self._peak(contestant, draw(), gradient)
                except Exception as error:  # as in the race
                    times[name].error = failure(error)
        return times, peaks

    def save(self, rows: Sequence[Row]) -> None:
        """Write all rows there are."""
        path = self.folder / f"{self.stem}.csv"
        write_csv(path, rows, columns(self.settings, self.environment))

    def save_plot(self, plot: Callable[[], "Figure"]) -> None:
        """Draw and write a plot, where matplotlib is installed."""
        try:
            figure = plot()
        except ModuleNotFoundError as error:
            what = f"no plot: {error.name} is not installed; pip install 'switchyard[bench]'"
            self.console.print(what, markup=False)
            return
        for ending, content in rendered(figure).items():
            replace_file(self.folder / f"{self.stem}.{ending}", content)

    def _peak(self, contestant: Contestant, batch: Tensor, gradient: Tensor) -> Peak:
        x = leaf(contestant.prepare(batch))

        def work() -> list[Tensor]:
            step(contestant, x, gradient)
            return [p.grad for p in contestant.module.parameters() if p.grad is not None]

        try:
            return measure_peak(self.device, work)
        finally:
            forget_gradients(contestant)
