"""Measurements, and their presentation as CSV and as tables on the screen."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from .candidates import Shape
from .measuring import Peak, Timings


@dataclass(frozen=True)
class Cost:
    """Time and memory of one candidate, named as in the CSV file.

    Times are the median and quartiles of forward and backward (``step``) and of ``forward``
    alone; their ratios are per active FLOP, relative to the dense layer. Rounds are discarded if
    the heap grows. ``working_mib`` is the peak without the gradients of parameters.
    """

    measured_rounds: int
    discarded_rounds: int
    step_ms: float
    step_ms_q1: float
    step_ms_q3: float
    step_ratio: float
    forward_ms: float
    forward_ms_q1: float
    forward_ms_q3: float
    forward_ratio: float
    peak_mib: float
    working_mib: float

    @classmethod
    def of(cls, timings: Timings, dense: Timings, work: float, peak: Peak) -> "Cost":
        """Summarize timings; ``work`` is the ratio of active FLOPs to those of ``dense``."""
        step = _summarize(timings.step, dense.step, work)
        forward = _summarize(timings.forward, dense.forward, work)
        memory = peak.total / 2**20, peak.working / 2**20
        return cls(len(timings.step), timings.discarded, *step, *forward, *memory)


@dataclass(frozen=True)
class Measurement:
    """Result of one candidate at one shape, named as in the CSV file.

    ``shape`` is the number of the shape ``sizes``, or ``E=…``; ``candidate`` a name, ``label`` and
    ``note`` those of the candidate. ``absent`` is the reason why there is no cost, or empty.
    ``flops_per_token`` are active FLOPs and ``flops_ratio`` the same relative to the dense layer,
    None if the candidate was not built.
    """

    shape: str
    sizes: Shape
    candidate: str
    label: str
    absent: str = ""
    note: str = ""
    flops_per_token: int | None = None
    flops_ratio: float | None = None
    load_ratio: float | None = None
    cost: Cost | None = None

    def columns(self) -> dict[str, Any]:
        """Columns of the CSV file; a missing cost leaves its columns empty."""
        columns = asdict(self)
        cost = columns.pop("cost") or dict.fromkeys(field.name for field in fields(Cost))
        return {"shape": self.shape, **columns.pop("sizes"), **columns, **cost}


def csv_text(rows: Sequence[Measurement], settings: Mapping[str, Any]) -> str:
    """One line per measurement, each with all settings."""
    lines = [{**row.columns(), **settings} for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


#: A heading, and the text of a cell for a measurement and its cost.
_Column = tuple[str, Callable[[Measurement, Cost], str]]

_COSTS: Sequence[_Column] = (
    ("fwd+bwd\nms", lambda _, cost: f"{cost.step_ms:.2f}"),
    ("\nratio", lambda _, cost: f"{cost.step_ratio:.2f}"),
    ("fwd\nms", lambda _, cost: f"{cost.forward_ms:.2f}"),
    ("\nratio", lambda _, cost: f"{cost.forward_ratio:.2f}"),
    ("peak\nMiB", lambda _, cost: f"{cost.peak_mib:.1f}"),
    ("working\nMiB", lambda _, cost: f"{cost.working_mib:.1f}"),
)


def shape_table(rows: Sequence[Measurement], headline: str) -> Table:
    """All candidates at one shape."""
    columns: list[_Column] = [
        ("", lambda row, _: row.label),
        ("\nFLOPs", lambda row, _: f"{row.flops_ratio:.2f}"),
        *_COSTS,
    ]
    return _table(rows, f"Shape {rows[0].shape}: {rows[0].sizes}\n{headline}", columns)


def growth_table(rows: Sequence[Measurement], headline: str) -> Table:
    """Cost of ``topk`` by number of experts, with the factor of each doubling."""
    costs = {row.sizes.num_experts: row.cost for row in rows}

    def factor(row: Measurement, time: Callable[[Cost], float]) -> str:
        cost, half = row.cost, costs.get(row.sizes.num_experts // 2)
        return f"{time(cost) / time(half):.2f}" if cost and half else ""

    columns: list[_Column] = [
        ("\nE", lambda row, _: f"{row.sizes.num_experts}"),
        *_COSTS,
        ("fwd+bwd per\ndoubling", lambda row, _: factor(row, lambda cost: cost.step_ms)),
        ("fwd per\ndoubling", lambda row, _: factor(row, lambda cost: cost.forward_ms)),
    ]
    return _table(rows, f"{growth_title(rows)}\n{headline}", columns)


def growth_title(rows: Sequence[Measurement]) -> str:
    """Title with the sizes that all rows share."""
    shape = rows[0].sizes
    sizes = f"N={shape.tokens} D={shape.dim} H={shape.hidden} K={shape.k}"
    return f"topk by number of experts E: {sizes}"


def remarks(rows: Sequence[Measurement]) -> list[str]:
    """Results of one shape that its table lacks: skew, and candidates without a cost."""
    costs = {row.candidate: row.cost for row in rows}
    base = costs.get("topk")
    skews = [
        f"{row.label}: the busiest expert has {row.load_ratio:.2f} times the mean load; time "
        f"relative to topk without skew: {row.cost.step_ms / base.step_ms:.2f}, "
        f"forward {row.cost.forward_ms / base.forward_ms:.2f}"
        for row in rows
        if row.load_ratio and row.cost and base
    ]
    return [*skews, *(f"{row.label} {row.absent}" for row in rows if row.absent)]


def notes(rows: Sequence[Measurement]) -> list[str]:
    """Explanations of the columns and of the candidates, without repetition."""
    discarded: Counter[str] = Counter()
    for row in rows:
        if row.cost is not None and row.cost.discarded_rounds:
            discarded[row.label] += row.cost.discarded_rounds
    counts = ", ".join(f"{label} {count}" for label, count in discarded.items())
    return [
        "ratio: time per active FLOP relative to the dense layer",
        "FLOPs: active FLOPs per token relative to the dense layer, without routers",
        "working: peak memory of a step without the gradients of parameters",
        *([f"rounds discarded because the heap grew: {counts}"] if counts else []),
        *dict.fromkeys(f"{row.label}: {row.note}" for row in rows if row.note and row.cost),
    ]


def _table(rows: Sequence[Measurement], title: str, columns: Sequence[_Column]) -> Table:
    """A table of all rows with a cost, at most 80 columns wide, the width of files and pipes."""
    table = Table(
        title=title, title_style="", title_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    for index, (heading, _) in enumerate(columns):
        table.add_column(heading, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        if row.cost is not None:
            table.add_row(*(text(row, row.cost) for _, text in columns))
    return table


def _summarize(
    seconds: Sequence[float], dense: Sequence[float], work: float
) -> tuple[float, float, float, float]:
    """Median, first and third quartile in ms; median relative to ``dense`` per unit of work."""
    low, median, high = np.quantile(np.array(seconds) * 1e3, [0.25, 0.5, 0.75]).tolist()
    return median, low, high, median / (np.median(dense).item() * 1e3) / work
