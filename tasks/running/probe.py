"""``python -m tasks probe``: causal effects of the experts of a trained run, and a page."""

import csv
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from experts import INTERVENTIONS
from routers import ConfigError, OptionError
from routers.plugins import unknown

from ..assembly.build import routed_layers
from ..config.overrides import parse
from ..config.selectors import Selector
from ..readers.split import SPLITS
from .alternatives import Alternative, load_alternative, read_alternatives
from .run_dir import FORMAT, write_json, write_text, writing
from .trained import load, origin

if TYPE_CHECKING:
    import lightning.pytorch as pl
    from rich.console import Console

    from ..probe.measure import Wanted
    from .run import Run

USAGE = (
    "python -m tasks probe DIR [data=test] [items=N] [checkpoint=best] [layers=0,2-] "
    "[interventions=[drop,mean]] [mask=LABELING] [shapley=20] [alternatives=[router.k=1]] "
    "[out=FOLDER] [key=value …]"
)

#: In a run's folder, the results of the command.
PROBE = "probe"

#: Files in the folder that the command writes.
VALUES, EFFECTS, PAGE = "probe.json", "effects.csv", "page.html"


class Settings(NamedTuple):
    """The command's own keys.

    Attributes:
        data: the split.
        items: the number of its first samples to take; None for all.
        layers: selector of routed layers; None for all with several experts.
        interventions: names; None for all that are possible.
        mask: a labeling, or experts by labeling and label; None for no masks.
        shapley: the number of permutations; 0 for no Shapley values.
        alternatives: other settings to compare with.
    """

    data: str = "test"
    items: int | None = None
    layers: str | None = None
    interventions: Sequence[str] | None = None
    mask: Any = None
    shapley: int = 20
    alternatives: Sequence[tuple[str, ...]] = ()


def write_probe(
    console: "Console", folder: Path, words: Sequence[str], checkpoint: str, out: Path | None
) -> None:
    """Write effects and a page; print what each expert works on and is needed for."""
    settings, overrides = read_settings(words)
    target = _folder(folder, settings, checkpoint) if out is None else out
    run = load(folder, *overrides, checkpoint=checkpoint)
    wanted = _wanted(run, settings)
    others = [
        load_alternative(folder, overrides, each, checkpoint) for each in settings.alternatives
    ]
    from ..probe.page import render

    found = {"format": FORMAT, **origin(run, folder, checkpoint, settings.data)}
    found |= _measure(console, run, settings, wanted, others)
    with writing(f"out={target}"):
        _write(target, found, render(found))
    _print(console, found)
    console.print(f"Effects on {found['samples']:,} samples are in {target}", soft_wrap=True)


def read_settings(words: Sequence[str]) -> tuple[Settings, list[str]]:
    """The command's own keys, and all other words; ``ConfigError`` for invalid values.

    >>> read_settings(["data=val", "shapley=0", "router.k=1"])[1]
    ['router.k=1']
    """
    own, others = dict[str, Any](), list[str]()
    for text in words:
        key = text.partition("=")[0]
        if key in Settings._fields:
            own[key] = parse(text, texts=("layers",), is_name=lambda key: False)[2]
        else:
            others.append(text)
    if "alternatives" in own:
        own["alternatives"] = read_alternatives(own["alternatives"])
    if isinstance(own.get("interventions"), str):
        own["interventions"] = [own["interventions"]]
    settings = Settings(**own)
    if settings.data not in SPLITS:
        raise unknown("data", settings.data, SPLITS)
    if settings.items is not None and not _is_number(settings.items, 1):
        raise OptionError("items", settings.items, "an integer >= 1, the number of samples")
    if not _is_number(settings.shapley, 0) or settings.shapley % 2:
        expected = "an even number of permutations, which come in pairs; 0 for no Shapley values"
        raise OptionError("shapley", settings.shapley, expected)
    names = settings.interventions
    if names is not None and not isinstance(names, list):
        raise OptionError("interventions", names, "a list such as [drop, mean]")
    return settings, others


def _is_number(value: object, least: int) -> bool:
    return type(value) is int and value >= least


def _folder(folder: Path, settings: Settings, checkpoint: str) -> Path:
    """The folder in that of the run that is written by default; ``ConfigError`` if it exists."""
    out = folder / PROBE / f"{settings.data}-{checkpoint}"
    if out.exists():
        raise ConfigError(f"{out}: exists already; give out=FOLDER, or remove it")
    return out


def _wanted(run: "Run", settings: Settings) -> "Wanted":
    """The effects to measure, checked against the run."""
    from ..probe.masks import read_masks
    from ..probe.measure import Wanted

    for name in settings.interventions or ():
        INTERVENTIONS.get_part(name)
    experts = [layer.router.num_experts for layer in routed_layers(run.module.backbone)]
    layers = _layers(settings.layers, experts)
    fewest = min(experts[number] for number in layers)
    masks = read_masks(settings.mask, run.task.kinds(), fewest)
    return Wanted(layers, settings.interventions, masks, settings.shapley)


def _layers(selector: str | None, experts: Sequence[int]) -> list[int]:
    """Numbers of the layers to probe; ``ConfigError`` if one has a single expert, or none exists.

    ``experts`` are the numbers of experts of all layers.
    """
    chosen = list(range(len(experts)))
    if selector is not None:
        try:
            read = Selector.read(selector)
            read.check(len(experts))
        except ConfigError as error:
            raise ConfigError(f"layers={str(error).removeprefix('layers.')}") from error
        chosen = [number for number in chosen if read.selects(number)]
    mixtures = [number for number in chosen if experts[number] > 1]
    if not mixtures or (selector is not None and mixtures != chosen):
        raise ConfigError(
            "probe: a layer with a single expert has no experts to compare; give a run with a "
            "mixture, or make one of it by the edit upcycle"
        )
    return mixtures


def _measure(
    console: "Console",
    run: "Run",
    settings: Settings,
    wanted: "Wanted",
    others: Sequence[Alternative],
) -> dict[str, Any]:
    """Effects in each layer, and of alternatives."""
    from ..probe.measure import Prober

    def evaluate(on: "Run", module: "pl.LightningModule", samples: int | None) -> None:
        on.evaluate(module, settings.data, settings.items if samples is None else samples)

    prober = Prober(run.module, partial(evaluate, run), wanted, console.print)
    layers = prober.of_layers()
    alternatives = []
    for settings_of_other, other, untrained in others:
        other.data = run.data
        alternatives.append(
            {
                "settings": " ".join(settings_of_other),
                "untrained": untrained,
                **prober.of_network(other.module, partial(evaluate, other)),
            }
        )
    score = run.task.score
    return {
        "samples": prober.samples,
        "measure": prober.effects.main,
        "score": {"name": score.name, "direction": score.direction, "value": prober.score},
        "labels": {each.name: list(each.names) for each in run.task.kinds()},
        "layers": layers,
        "alternatives": alternatives,
    }


def _write(out: Path, found: Mapping[str, Any], page: str) -> None:
    """Write the folder, whole or not at all."""
    from ..probe.summary import effect_rows

    out.parent.mkdir(exist_ok=True)
    part = out.with_name(f"{out.name}.part")
    part.mkdir(exist_ok=True)
    write_json(part / VALUES, dict(found))
    with (part / EFFECTS).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(effect_rows(found))
    write_text(part / PAGE, page)
    os.replace(part, out)


def _print(console: "Console", found: Mapping[str, Any]) -> None:
    """A table of the experts of each layer, and one of changes of whole layers."""
    from rich.table import Table as Shown

    from ..probe.summary import tables_of

    for each in tables_of(found):
        table = Shown(title=each.title, title_justify="left", caption=each.caption)
        for number, name in enumerate(each.columns):
            table.add_column(name, justify="left" if number == 0 else "right")
        for row in each.rows:
            table.add_row(*row)
        console.print(table)
