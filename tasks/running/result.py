"""The tables of a result: a summary on the screen, and which expert worked on what."""

import csv
import io
from statistics import mean
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .._task import Task

if TYPE_CHECKING:
    from rich.console import Console

#: In a run's folder, the table of ``confusion_csv``.
CONFUSION = "confusion.csv"


def print_result(console: "Console", result: dict[str, Any]) -> None:
    """A short table: how accurate, how balanced, how expensive; times only of a training."""
    from rich.table import Table

    score, compute = result["score"], result["compute"]
    title = f"{result['task']} · {result['router']} · {result['expert']} · seed {result['seed']}"
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    active, in_routers = compute["active_parameters"], compute["router_parameters"]
    of_these = f"{active:,.0f} active, {in_routers:,} in routers"
    validation = f"validation {_decimal(score['validation'])}" if "validation" in score else ""
    rows = [
        (f"test {score['name']}", _decimal(score["value"]), validation),
        *_balance(result["load"], result["layers"]),
        ("parameters", f"{compute['parameters']:,}", of_these),
        ("FLOPs per sample", f"{compute['flops_per_item']:,.0f}", "forward, counted"),
    ]
    if "train_seconds" in compute:
        speed = f"{compute['items_per_second']:,.0f} samples per second"
        rows.append(("training time", f"{compute['train_seconds']:.1f} s", speed))
    if (best := score.get("best")) and best["validation"] != score["validation"]:
        about = f"validation {_decimal(best['validation'])}, step {best['step']:,}"
        rows.insert(1, ("at the best validation", _decimal(best["value"]), about))
    if baseline := result.get("baseline"):
        about = f"{baseline['name']}, validation {_decimal(baseline['validation'])}"
        rows.insert(1, ("baseline", _decimal(baseline["value"]), about))
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _decimal(value: float | None) -> str:
    """A score; None is what a NaN has become in ``result.json``."""
    return "nan" if value is None else f"{value:.4f}"


def _balance(load: dict[str, Any], layers: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    if not layers:
        return []
    experts = "of " + " + ".join(str(len(layer["load"])) for layer in layers)
    unrouted = f"{load['unrouted']:.1%} of routed items reach no expert"
    rows = [
        ("load CV", f"{load['cv']:.3f}", "0 is perfect balance"),
        ("MaxVio", f"{load['max_violation']:.3f}", "busiest expert above the mean"),
        ("load entropy", f"{load['entropy']:.3f}", "1 is perfect balance"),
        ("dead experts", f"{load['dead_experts']:.0f}", experts),
        ("dropped", f"{load['dropped']:.1%}", unrouted),
    ]
    for name in layers[0].get("nmi", {}):  # older runs have none
        known = mean(layer["nmi"][name] for layer in layers if name in layer["nmi"])
        rows.append((f"NMI {name}", f"{known:.3f}", f"1 if expert and {name} determine each other"))
    return rows


def confusion_csv(task: Task, layers: list[dict[str, Tensor]]) -> str:
    """A line for each layer, expert and kind of the last evaluation.

    ``rows`` counts what the expert computed for the kind; where ``by`` is ``gate``, it is the
    weight that the task's gate gave the expert. Each layer has tables ``(E, kinds)`` by name.
    """
    names = {kinds.name: kinds.names for kinds in task.kinds()}
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["layer", "expert", "by", "kind", "rows"])
    for number, tables in enumerate(layers):
        for by, table in tables.items():
            # a gate for each output of the task, and maybe one more for all of them
            gates = (*task.outputs, "shared", *map(str, range(table.shape[1])))[: table.shape[1]]
            columns = names.get(by) or gates
            for expert, row in enumerate(table.tolist()):
                for kind, rows in zip(columns, row, strict=True):
                    lines.writerow([number, expert, by, kind, f"{rows:.6g}"])
    return text.getvalue()
