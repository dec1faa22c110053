"""The same work among ever more experts: what should not cost more."""

from functools import partial

from ._bench import Bench
from ._contestant import FailedError
from ._environment import headline
from ._plot import growth_plot
from ._rows import Row, cost_of
from ._tables import growth_table, notes


def over_experts(bench: Bench) -> None:
    """Measure, show and save.

    All sizes are in one race, so that what slows the machine for a while slows them alike.
    """
    title = headline(bench.settings, bench.environment)
    rows = growth_rows(bench)
    bench.save(rows)
    bench.console.print(growth_table(rows, title))
    for line in notes(rows):
        bench.console.print(line, markup=False)
    bench.save_plot(partial(growth_plot, rows, title))


def growth_rows(bench: Bench) -> list[Row]:
    """One row per number of experts."""
    first = bench.growth[0]
    place = (bench.dtype, bench.device)
    layers = {f"E={s.experts}": bench.factories["topk"](s, *place) for s in bench.growth}
    times, peaks = bench.run({"dense": bench.factories["dense"](first, *place), **layers}, first)
    for name, measured in times.items():
        if measured.error is not None:
            raise FailedError(f"{name} {measured.error}")
    rows = []
    for shape, (where, layer) in zip(bench.growth, layers.items(), strict=True):
        cost = cost_of(layer, times[where], times["dense"], shape, peaks[where])
        rows.append(
            Row(where, shape, "topk", layer.label, layer.note, flops=layer.flops, cost=cost)
        )
    return rows
