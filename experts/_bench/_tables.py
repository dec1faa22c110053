"""Results on the screen."""

from collections.abc import Sequence

from rich.table import Table

from ._rows import Cost, Row
from ._shapes import Shape

_MIB = 2**20
_NUMBERS = ("fwd+bwd ms", "ratio", "fwd ms", "ratio", "peak MiB", "working MiB")


def shape_table(rows: Sequence[Row], headline: str) -> Table:
    """All contestants of one shape."""
    where, shape = rows[0].where, rows[0].shape
    table = Table("", "FLOPs", title=f"Shape {where}: {shape}\n{headline}", title_style="")
    for column in _NUMBERS:
        table.add_column(column, justify="right")
    for row in rows:
        if row.cost is not None:
            table.add_row(row.label, f"{work_ratio(row):.2f}", *_numbers(row.cost))
    return table


def growth_table(rows: Sequence[Row], headline: str) -> Table:
    """Cost against the number of experts, with the factor of each doubling."""
    table = Table("E", title=f"topk as E grows; {_fixed(rows[0].shape)}\n{headline}")
    table.title_style = ""
    for column in (*_NUMBERS, "fwd+bwd per doubling", "fwd per doubling"):
        table.add_column(column, justify="right")
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
        *dict.fromkeys(said),
    ]


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
