"""The table that a run prints when it ends."""

from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def print_result(console: "Console", result: dict[str, Any], folder: Path) -> None:
    """A short table: how accurate, how balanced, how expensive."""
    from rich.table import Table

    score, load, compute = result["score"], result["load"], result["compute"]
    table = Table(
        title=f"{result['task']} · {result['router']} · {result['expert']} · seed {result['seed']}",
        show_header=False,
        title_justify="left",
    )
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    table.add_row(
        f"test {score['name']}",
        _decimal(score["value"]),
        f"validation {_decimal(score['validation'])}",
    )
    if result["layers"]:
        _add_balance(table, load, result["layers"])
    table.add_row(
        "parameters",
        f"{compute['parameters']:,}",
        f"{compute['active_parameters']:,.0f} active, {compute['router_parameters']:,} in routers",
    )
    table.add_row("FLOPs per sample", f"{compute['flops_per_item']:,.0f}", "forward, counted")
    table.add_row(
        "training time",
        f"{compute['train_seconds']:.1f} s",
        f"{compute['items_per_second']:,.0f} samples per second",
    )
    console.print(table)
    console.print(f"Everything is in {folder}", soft_wrap=True)


def _decimal(value: float | None) -> str:
    """A score; None is what a NaN has become in ``result.json``."""
    return "nan" if value is None else f"{value:.4f}"


def _add_balance(table: "Table", load: dict[str, Any], layers: list[dict[str, Any]]) -> None:
    table.add_row("load CV", f"{load['cv']:.3f}", "0 is perfect balance")
    table.add_row("MaxVio", f"{load['max_violation']:.3f}", "busiest expert above the mean")
    table.add_row("load entropy", f"{load['entropy']:.3f}", "1 is perfect balance")
    table.add_row("dead experts", f"{load['dead_experts']:.0f}", _experts(layers))
    table.add_row(
        "dropped",
        f"{load['dropped']:.1%}",
        f"{load['unrouted']:.1%} of routed items reach no expert",
    )
    for name in layers[0].get("nmi", {}):  # older runs have none
        known = mean(layer["nmi"][name] for layer in layers if name in layer["nmi"])
        table.add_row(f"NMI {name}", f"{known:.3f}", f"1 if expert and {name} determine each other")


def _experts(layers: list[dict[str, Any]]) -> str:
    return "of " + " + ".join(str(len(layer["load"])) for layer in layers)
