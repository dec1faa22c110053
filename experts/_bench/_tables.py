"""Results on the screen."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ._rows import Cost, Row
from ._shapes import Shape

_MIB = 2**20
_NUMBERS = ("fwd+bwd\nms", "\nratio", "fwd\nms", "\nratio", "peak\nMiB", "working\nMiB")


def shape_table(rows: Sequence[Row], headline: str) -> Table:
    """All contestants of one shape."""
    where, shape = rows[0].where, rows[0].shape
    table = _table("", f"Shape {where}: {shape}\n{headline}", ("\nFLOPs", *_NUMBERS))
    for row in rows:
        if row.cost is not None:
            table.add_row(row.label, f"{work_ratio(row):.2f}", *_numbers(row.cost))
    return table


def growth_table(rows: Sequence[Row], headline: str) -> Table:
    """Cost against the number of experts, with the factor of each doubling."""
    title = f"topk as E grows; {_fixed(rows[0].shape)}\n{headline}"
    table = _table("\nE", title, (*_NUMBERS, "fwd+bwd per\ndoubling", "fwd per\ndoubling"))
    before: Cost | None = None
    for row in rows:
        if row.cost is not None:
            table.add_row(str(row.shape.experts), *_numbers(row.cost), *_factors(row.cost, before))
        before = row.cost
    return table


def work_ratio(row: Row) -> float:
    """Active FLOPs relative to the dense layer's."""
    return (row.flops or 0) / row.shape.flops


def absences(rows: Sequence[Row]) -> list[str]:
    """Who did not run, and why."""
    return [f"{row.label} {row.absent}" for row in rows if row.absent]


def notes(rows: Sequence[Row]) -> list[str]:
    """What a reader has to know about the numbers, each once."""
    said = [f"{row.label}: {row.note}" for row in rows if row.note and row.cost is not None]
    return [
        "ratio: time per active FLOP relative to the dense layer",
        "FLOPs: active ones per token relative to the dense layer, routers not counted",
        "working: peak memory of a step beside the gradients of parameters",
        *_set_aside(rows),
        *dict.fromkeys(said),
    ]


def _set_aside(rows: Sequence[Row]) -> list[str]:
    counts = {row.label: 0 for row in rows}
    for row in rows:
        counts[row.label] += row.cost.set_aside if row.cost is not None else 0
    said = ", ".join(f"{label} {count}" for label, count in counts.items() if count)
    return [f"rounds set aside because the heap grew in them: {said}"] if said else []


def _table(first: str, title: str, numbers: Sequence[str]) -> Table:
    """An empty table, narrow enough for a file or a pipe, which have 80 columns."""
    table = Table(
        title=title, title_style="", title_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    table.add_column(first, no_wrap=True)
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _numbers(cost: Cost) -> tuple[str, ...]:
    return (
        f"{cost.step.median:.2f}",
        f"{cost.step_ratio:.2f}",
        f"{cost.forward.median:.2f}",
        f"{cost.forward_ratio:.2f}",
        f"{cost.peak.total / _MIB:.1f}",
        f"{cost.peak.working / _MIB:.1f}",
    )


def _factors(cost: Cost, before: Cost | None) -> tuple[str, ...]:
    """Times relative to those at half as many experts."""
    if before is None:
        return "", ""
    return (
        f"{cost.step.median / before.step.median:.2f}",
        f"{cost.forward.median / before.forward.median:.2f}",
    )


def _fixed(shape: Shape) -> str:
    return f"N={shape.tokens} D={shape.dim} H={shape.hidden} K={shape.k}"
