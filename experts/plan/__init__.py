"""``python -m experts plan``: the price of a layer on a described cluster, computed on paper."""

import argparse
import sys
from operator import itemgetter
from typing import Any

from rich.console import Console
from rich.table import Table

from routers import ConfigError

from .price import Price, exchanged_bytes, price_of
from .setting import Setting, describe, parse

__all__ = ["Price", "Setting", "add_command", "exchanged_bytes", "parse", "price_of"]


def add_command(commands: Any) -> None:
    """Add ``plan`` to the subcommands of a parser."""
    parser = commands.add_parser(
        "plan",
        help="price a layer on a cluster, on paper",
        description="Price a training step of a routed layer on a described cluster: time, memory\n"
        "and bytes exchanged per device, and the part that takes longest. Nothing runs.",
        epilog=f"keys and their defaults:\n{describe()}\n\n"
        "The defaults of the devices are nominal figures of an H100 server; give the rates that\n"
        "your devices reach.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="see below")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Run the command; the exit code is 2 for invalid settings."""
    try:
        setting = parse(arguments.settings)
        price = price_of(setting)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    _print(setting, price, Console(highlight=False))
    return 0


def _print(setting: Setting, price: Price, console: Console) -> None:
    copies = setting.devices // setting.expert_parallel
    table = Table(
        "part of a step",
        title=f"{setting.layers} x {setting.expert} D={setting.dim} E={setting.experts} on "
        f"{setting.devices} devices, {setting.experts // setting.expert_parallel} experts on each, "
        f"copies of each: {copies}",
    )
    for title in ("ms", "share"):
        table.add_column(title, justify="right")
    for name, seconds in filter(itemgetter(1), price.seconds.items()):
        table.add_row(name, f"{1e3 * seconds:.3f}", f"{seconds / price.total:.0%}")
    table.add_row("step", f"{1e3 * price.total:.3f}", "", style="bold")
    console.print(table)
    memory = Table("memory per device")
    memory.add_column("GB", justify="right")
    for name, size in filter(itemgetter(1), price.memory.items()):
        memory.add_row(name, f"{size / 1e9:.3f}")
    memory.add_row("sum", f"{sum(price.memory.values()) / 1e9:.3f}", style="bold")
    console.print(memory)
    most = max(price.exchanged)
    console.print(
        f"exchanged: {sum(price.exchanged):,.0f} bytes per group of {setting.expert_parallel}, at "
        f"most {most:,.0f} from one device; busiest device: {price.imbalance:.2f} x the mean rows"
    )
    share = price.seconds[price.bottleneck] / price.total
    console.print(f"bottleneck: {price.bottleneck}, {share:.0%} of {1e3 * price.total:.3f} ms")
    if sum(price.memory.values()) > setting.memory:
        console.print(f"does not fit: a device has {setting.memory / 1e9:.1f} GB")
