"""``python -m tasks routes``: the routes of a trained run, their measures, and a page."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from routers import ConfigError, OptionError
from routers.plugins import unknown

from ..config.compose import user_path
from ..loading.batches import num_rows
from ..readers import check_installed
from ..readers.split import SPLITS
from .run_dir import FORMAT, write_json, write_text, writing
from .stored import check_same_data
from .trained import load, origin

if TYPE_CHECKING:
    from rich.console import Console

    from ..routes import RouteTable
    from .run import Run

USAGE = (
    "python -m tasks routes DIR [data=test] [items=N] [checkpoint=best] [against=DIR2] "
    "[out=FOLDER] [key=value …]"
)

#: Files in the folder that the command writes.
TABLE, MEASURES, PAGE = "routes.parquet", "measures.json", "page.html"


class Settings(NamedTuple):
    """The command's own keys.

    Attributes:
        data: the split.
        items: the number of its first samples to take; None for all.
        against: the folder of a run to compare with.
    """

    data: str = "test"
    items: int | None = None
    against: Path | None = None


def write_routes(
    console: "Console", folder: Path, words: Sequence[str], checkpoint: str, out: Path | None
) -> None:
    """Write a table, measures and a page; print the measures."""
    settings, overrides = read_settings(words)
    check_installed("pyarrow", "data", f"routes {folder}")
    target = _folder(folder, settings, checkpoint) if out is None else out
    run = load(folder, *overrides, checkpoint=checkpoint)
    from ..routes.measures import compare, measures_of
    from ..routes.page import render

    other = None if settings.against is None else _other(run, settings.against)
    table, sensitivity = _collect(run, folder, settings, checkpoint)
    measures = measures_of(table, sensitivity)
    if other is not None:
        collected = other.collect_routes(settings.data, settings.items).collection
        for layer, found in zip(measures, compare(table, collected.table({})), strict=True):
            layer["against"] = found
    page = render(table, measures, _pictures(run, settings))
    with writing(f"out={target}"):
        _write(target, table, {"format": FORMAT, **table.about, "layers": measures}, page)
    _print(console, measures)
    console.print(f"Routes of {_counted(table)} are in {target}", soft_wrap=True)


def read_settings(words: Sequence[str]) -> tuple[Settings, list[str]]:
    """The command's own keys, and all other words; ``ConfigError`` for invalid values.

    >>> read_settings(["data=val", "router.k=1"])
    (Settings(data='val', items=None, against=None), ['router.k=1'])
    """
    own, others = dict[str, str](), list[str]()
    for text in words:
        key, _, value = text.partition("=")
        if key in Settings._fields:
            own[key] = value
        else:
            others.append(text)
    data, items = own.get("data", "test"), own.get("items")
    if data not in SPLITS:
        raise unknown("data", data, SPLITS)
    if items is not None and not (items.isdecimal() and int(items) >= 1):
        raise OptionError("items", items, "an integer >= 1, the number of samples")
    against = own.get("against")
    settings = Settings(
        data, None if items is None else int(items), None if against is None else user_path(against)
    )
    return settings, others


def _folder(folder: Path, settings: Settings, checkpoint: str) -> Path:
    """The folder in that of the run that is written by default; ``ConfigError`` if it exists."""
    from ..routes.history import ROUTES

    out = folder / ROUTES / f"{settings.data}-{checkpoint}"
    if out.exists():
        raise ConfigError(f"{out}: exists already; give out=FOLDER, or remove it")
    return out


def _collect(
    run: "Run", folder: Path, settings: Settings, checkpoint: str
) -> tuple["RouteTable", Mapping[str, Mapping[str, float]]]:
    """The routes of a run, and the sensitivity of each layer."""
    collected = run.collect_routes(settings.data, settings.items)
    about = {
        **origin(run, folder, checkpoint, settings.data),
        "samples": collected.collection.samples,
    }
    return collected.collection.table(about), collected.sensitivity


def _other(run: "Run", against: Path) -> "Run":
    """The run to compare with; ``ConfigError`` if it has other data."""
    other = load(against)
    try:
        check_same_data(other.data, run.data, "give a run on the same data")
    except ConfigError as error:
        raise ConfigError(f"against={against}: {error}") from error
    return other


def _pictures(run: "Run", settings: Settings) -> Sequence[Any]:
    """Pictures of the first samples, if the task has any."""
    from ..routes.collection import few
    from ..routes.page import MAX_SAMPLES

    split = few(getattr(run.data, settings.data), settings.items)
    shown = few(split, min(MAX_SAMPLES, num_rows(split)))
    return run.task.pictures(run.task.collate(shown))


def _write(out: Path, table: "RouteTable", measures: Mapping[str, Any], page: str) -> None:
    """Write the folder, whole or not at all."""
    out.parent.mkdir(exist_ok=True)
    part = out.with_name(f"{out.name}.part")
    part.mkdir(exist_ok=True)
    table.write(part / TABLE)
    write_json(part / MEASURES, dict(measures))
    write_text(part / PAGE, page)
    os.replace(part, out)


def _counted(table: "RouteTable") -> str:
    items = len(table.layers[0])
    return f"{table.about['samples']:,} samples, {items:,} items in {len(table.layers)} layers"


def _print(console: "Console", measures: Sequence[Mapping[str, Any]]) -> None:
    """A table with a column for each layer."""
    from rich.table import Table

    from ..routes.summary import rows_of

    table = Table(title="Routes", title_justify="left")
    table.add_column("", style="bold")
    for layer in measures:
        table.add_column(layer["name"] or "layer", justify="right")
    table.add_column("", style="dim")
    for name, values, meaning in rows_of(measures):
        table.add_row(name, *values, meaning)
    console.print(table)
