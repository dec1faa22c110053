"""Contestants side by side, one shape after another."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from statistics import median

from ._bench import Bench
from ._contestant import Contestant, FailedError
from ._contestants import build, chosen
from ._environment import headline
from ._plot import ratio_plot
from ._rows import Row, cost_of
from ._shapes import Shape
from ._skew import find_skew, load_ratio
from ._tables import absences, notes, shape_table

SKEWED = "topk_skewed"
_BATCHES = 5  # fresh ones, on which the load that was reached is looked at


def over_shapes(bench: Bench) -> None:
    """Measure, show and save; each shape is saved when it is done."""
    rows: list[Row] = []
    title = headline(bench.settings, bench.environment)
    for number in bench.settings.shapes:
        shape = bench.shapes[number]
        # a line, and no progress bar: what redraws a bar takes time from what is measured
        bench.console.print(f"measuring shape {number} …")
        found = shape_rows(bench, str(number), shape)
        rows += found
        bench.save(rows)
        bench.console.print(shape_table(found, title))
        for line in (*_skew_lines(found), *absences(found)):
            bench.console.print(line, markup=False)
    for line in notes(rows):
        bench.console.print(line, markup=False)
    bench.save_plot(partial(ratio_plot, rows, title))


def shape_rows(bench: Bench, where: str, shape: Shape) -> list[Row]:
    """One row per contestant, in the order of ``CONTESTANTS``."""
    settings = bench.settings
    factories = {n: bench.factories[n] for n in chosen(settings.contestants, bench.factories)}
    built, absent = build(factories, shape, bench.dtype, bench.device, settings.seed)
    ratios = {}
    if settings.skew is not None and "topk" in built:
        built[SKEWED], ratios[SKEWED] = _skewed(bench, shape, settings.skew, built["topk"])
    times, peaks = bench.run(built, shape)
    absent |= {name: t.error for name, t in times.items() if t.error is not None}
    if "dense" in absent:
        raise FailedError(f"shape {where}: dense {absent['dense']}; nothing to compare with")
    rows = []
    for name in (name for name in _with_skewed(factories) if name in built or name in absent):
        row = _row(where, shape, name, built.get(name), absent.get(name, ""))
        if not row.absent:
            cost = cost_of(built[name], times[name], times["dense"], shape, peaks[name])
            row = replace(row, cost=cost, load_ratio=ratios.get(name))
        rows.append(row)
    return rows


def _skewed(
    bench: Bench, shape: Shape, target: float, topk: Contestant
) -> tuple[Contestant, float]:
    """The same layer on skewed batches, and the load they reach."""
    generator = bench.generator()
    draw = bench.drawer(shape, generator)
    router = topk.module.get_submodule("router")
    skew = find_skew(router, draw(), target, generator)
    reached = median(load_ratio(router, skew(draw())) for _ in range(_BATCHES))
    return replace(topk, label=f"topk, skew {target:g}", prepare=skew), reached


def _with_skewed(names: Iterable[str]) -> list[str]:
    """The names with the skewed one after the layer it is compared with."""
    return [each for name in names for each in ((name, SKEWED) if name == "topk" else (name,))]


def _skew_lines(rows: Sequence[Row]) -> list[str]:
    """What skew costs: the same layer on balanced batches is the measure."""
    costs = {row.name: row.cost for row in rows if row.cost is not None}
    lines = []
    for row in rows:
        if row.name == SKEWED and row.cost is not None and "topk" in costs:
            step = row.cost.step.median / costs["topk"].step.median
            forward = row.cost.forward.median / costs["topk"].forward.median
            lines.append(
                f"{row.label}: the busiest expert has {row.load_ratio:.2f} times the mean load; "
                f"{step:.2f} times topk on the batches as drawn, {forward:.2f} forward"
            )
    return lines


def _row(where: str, shape: Shape, name: str, contestant: Contestant | None, absent: str) -> Row:
    if contestant is None:
        return Row(where, shape, name, name, absent=absent)
    c = contestant
    return Row(where, shape, name, c.label, c.note, c.flops, absent=absent)
