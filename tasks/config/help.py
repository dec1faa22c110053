"""Text for ``--help`` and ``--list``."""

import inspect
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile
from typing import Any

import routers
from routers import ConfigError
from routers.plugins import Registry, check_type, load_plugins

from ..readers import DATA
from .compose import CONF, PARTS, TASK_PARTS, experiments, to_yaml
from .overrides import parse
from .schema import Config

_NONE = "  none by name; module:Class is any\n"

USAGE = """\
Train one model with a router of your choice, and use it.

  python -m tasks task=NAME router=NAME expert=NAME [key=value …]
  python -m tasks resume=DIR              resume a stopped run
  python -m tasks … out=DIR resume=auto   start it, or continue it: one command for a queue
  torchrun --nproc-per-node=N -m tasks … trainer.devices=N trainer.num_nodes=M
                              one of M machines (docs/several_devices.md); srun works as well

  python -m tasks test DIR [key=value …] [checkpoint=best] [out=FILE.json]
                              evaluate a trained run: as it is, with other settings such as
                              router.k=1, or on other data by task.data.path=…
  python -m tasks predict DIR [key=value …] [checkpoint=best] out=FILE.csv|jsonl|parquet
                              predictions for the test split, or for other data
  python -m tasks edit DIR 'edits=[{prune: {keep: 4}}]' [checkpoint=best] out=FOLDER
                              a new run folder with experts pruned, merged, added and so on
  python -m tasks routes DIR [data=test] [items=N] [checkpoint=best] [against=DIR2] [out=FOLDER]
                              experts of every item in every layer as a table, measures of
                              them, and a page; compared with those of another run
  python -m tasks probe DIR [data=test] [items=N] [checkpoint=best] [layers=0,2-]
                        [interventions=[drop,mean]] [mask=LABELING] [shapley=20]
                        [alternatives=[router.k=1]] [out=FOLDER]
                              effects of experts: the score without each, by label, next to
                              what it works on; Shapley values; other settings and routers
  python -m tasks export DIR [checkpoint=best] out=FOLDER
                              weights as safetensors, configuration and result

  python -m tasks new KIND NAME [out=FOLDER]
                              write a part and its test: a router, gate, expert, loss,
                              metric, backbone, data set (data) or task
  python -m tasks check NAME [key=value …]
                              run the conformance checks on a task and its backbone

  key=value   set a key           +key=value  add a key that is not there
  ~key        remove a key        experiment=NAME  start from conf/experiment/NAME.yaml, or
                                  from any file: experiment=runs/…/config.yaml runs it again

  --list      all tasks, routers, experts, gates, losses, metrics, optimizers,
              schedules, callbacks, loggers, edits, interventions and experiments
  --cfg       check all that a run checks, print its configuration, and stop
  --help      this text; with router=NAME and the like, also their options

Exit codes: 0 done, 1 training or a check failed, 2 the configuration cannot work,
130 and 143 stopped by a signal (resume=DIR continues).
"""


def help_text(config: Config, keys: Collection[str]) -> str:
    """Usage, the options of the parts in the sections among ``keys``, all keys, what would run."""
    sections = {key: (PARTS[key], getattr(config, key)["name"]) for key in PARTS}
    for layer, settings in config.layers.items():
        sections |= {
            f"layers.{layer}.{key}": (PARTS[key], settings[key]["name"])
            for key in PARTS.keys() & settings.keys()
        }
    parts = [
        f"{key}={name}\n{_options(registry, name)}"
        for key, (registry, name) in sections.items()
        if key in keys
    ]
    base = (CONF / "base.yaml").read_text("utf-8")
    of_task = config.task["name"]
    heading = f"All keys (conf/base.yaml; conf/task/{of_task}.yaml overrides it):\n"
    return "\n".join([USAGE, *parts, heading, base, "What would run:\n", to_yaml(config)])


def list_text(overrides: Sequence[str], further: Mapping[str, Registry[Any]]) -> str:
    """Every name that a configuration can use, with a line on each, ``further`` parts included.

    Of ``overrides`` only ``plugins=[…]`` counts.
    """
    for module in _plugins(overrides):
        try:
            load_plugins([module])
        except ConfigError as error:  # all others are still listed
            _warn(error)
    registries = {
        **PARTS,
        **{f"task.{option}": registry for option, registry in TASK_PARTS.items()},
        "task.data.name": DATA,
        "router.gate": routers.GATES,
        "losses": routers.LOSSES,
        "metrics": routers.METRICS,
        **further,
    }
    sections = [
        f"{key}\n" + ("".join(_line(registry, name) for name in registry) or _NONE)
        for key, registry in registries.items()
    ]
    names = "".join(f"  {name:20} {_summary(name)}.\n" for name in experiments()) or "  none\n"
    return "\n".join([*sections, f"experiment\n{names}"])


def _plugins(overrides: Sequence[str]) -> list[str]:
    """The modules that the last ``plugins=`` names."""
    given = [text for text in overrides if text.startswith("plugins=")][-1:]
    modules = [parse(text, texts=(), is_name=lambda key: False)[2] for text in given]
    for each in modules:
        check_type("plugins", each, list[str])
    return [module for each in modules for module in each]


def _warn(error: ConfigError) -> None:
    print(f"warning: {error}", file=sys.stderr)


def _summary(experiment: str) -> str:
    """The first clause of the opening comment of an experiment's file."""
    lines = (CONF / "experiment" / f"{experiment}.yaml").read_text("utf-8").splitlines()
    opening = takewhile(lambda line: line.startswith("#"), lines)
    comment = " ".join(line.lstrip("# ") for line in opening)
    return re.split(r"[.:;] ", comment, maxsplit=1)[0].rstrip(".")


def _line(registry: Registry[Any], name: str) -> str:
    try:
        part = registry[name]
    except ConfigError as error:  # an installed plug-in; all others are still listed
        _warn(error)
        return f"  {name:20} cannot be used: see the warning\n"
    summary = (inspect.getdoc(part) or "").partition("\n")[0]
    return f"  {name:20} {summary}\n"


def _options(registry: Registry[Any], name: str) -> str:
    doc = inspect.getdoc(registry.get_part(name)) or ""
    options = "".join(f"  {key}={value}\n" for key, value in registry.options(name).items())
    return f"{doc.partition('>>>')[0].strip()}\n\nOptions and defaults:\n{options or '  none'}"
