"""Composing a run's configuration: files, then the command line, then checks."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

import experts
import routers
from routers import ConfigError
from routers.losses import read_losses, written_losses
from routers.plugins import (
    Registry,
    check_type,
    load_plugins,
    nearest_name,
    option_errors_under,
    unknown,
    unknown_option,
)

from .._task import TASKS, Backbone, Task, complete_part, fits
from ..augmentations import AUGMENTATIONS
from ..backbones import BACKBONES
from ..multi_target.sharings import SHARINGS
from ..multi_target.weightings import WEIGHTINGS
from . import overrides as grammar
from .auto import AUTO, auto_parts, hold_places
from .init import init_of, open_init, read_init, spread_init, written_init
from .layers import (
    LAYERS,
    Layers,
    add_entries,
    change_layers,
    check_layer_losses,
    check_layers,
    errors_in,
    key_in_layer,
)
from .layers import PARTS as LAYER_PARTS
from .losses import with_loss
from .open_sections import flatten_options, nest_options
from .overrides import Change, explained, load_yaml
from .schema import Config
from .trainer_options import check_trainer_options

CONF = Path(__file__).resolve().parents[2] / "conf"

#: The configuration in a run's folder.
CONFIG = "config.yaml"

#: Sections that name a part; ``router=topk`` is short for ``router.name=topk``.
PARTS: dict[str, Registry[Any]] = {"task": TASKS, **LAYER_PARTS}

#: Options of a task that name a part; ``task.model=vit`` is short for ``task.model.name=vit``.
TASK_PARTS: dict[str, Registry[Any]] = {
    "model": BACKBONES,
    "augmentation": AUGMENTATIONS,
    "sharing": SHARINGS,
    "weighting": WEIGHTINGS,
}

_TASK_KEYS = {f"task.{option}": registry for option, registry in TASK_PARTS.items()}

#: All keys that name a part, outer ones first.
PART_KEYS = (*PARTS, *_TASK_KEYS, "task.data")

#: Keys whose value is text whatever YAML makes of it: ``out=12345`` is a folder.
TEXT = ("out", "resume", "experiment", "init.from", "distil.of")

#: Sections that a run with ``init.edits`` has from the run that it edits.
EDITED = ("task", "router", "expert", "moe", "layers")


def compose(overrides: Sequence[str], base: DictConfig | None = None) -> Config:
    """The configuration of a run.

    Args:
        overrides: ``key=value``, ``+new=value`` and ``~key``, as on the command line;
            ``ConfigError`` for anything that cannot work, before anything is built.
        base: the configuration they apply to; None for the files under ``conf/``.

    >>> compose(["router=hash", "optimizer.lr=1e-3"]).router["table"]
    'random'
    """
    # a part's name starts its options afresh, so names come first, wherever they were written
    parsed = [grammar.parse(text, TEXT, _is_name) for text in overrides]
    changes = sorted((each for one in parsed for each in spread_init(one)), key=_order)
    config = base if base is not None else _from_files(changes)
    of_losses = [change for change in changes if _head(change[1]) == "losses"]
    of_layers = [change for change in changes if _head(change[1]) == LAYERS]
    for change in changes:
        if change[1] != "experiment" and change not in (*of_losses, *of_layers):
            _apply(config, *change)
    config[LAYERS] = change_layers(add_entries({}, _pop_layers(config)), of_layers)
    nest_options(config)
    if "auto" in config:
        raise _unknown_key("auto")
    auto = hold_places(config, lambda: load_yaml(CONF / "base.yaml"))
    typed = grammar.typed(config, Config, "conf/base.yaml", _unknown_key)
    typed.init = written_init(read_init(typed.init))
    check_trainer_options(typed.trainer.lightning)
    load_plugins(typed.plugins)
    task = TASKS.get_part(typed.task["name"]) if "name" in typed.task else Task
    typed.auto = [*auto_parts(task, typed.task, typed.expert), *auto]
    if not any(_head(key) == "expert" for _, key, _ in changes):
        _bring_expert(typed, {key.removesuffix(".name") for _, key, _ in changes})
    complete(typed)
    typed.losses = _losses(config, of_losses, typed.router["name"])
    for selector, entry in typed.layers.items():
        with errors_in(selector):
            _complete_layer_losses(entry, config, of_losses)
    check_layer_losses(typed)
    return typed


def complete(config: Config) -> None:
    """Check the options of all parts and add their defaults, except where they are ``auto``."""
    for key, registry in PARTS.items():
        if key not in config.auto:
            section = getattr(config, key)
            held = {o: v for o, v in section.items() if f"{key}.{o}" in config.auto}
            for option in held:
                del section[option]
            _complete(key, registry, section)
            section.update(held)
    for key, registry in {"expert": experts.EXPERTS, **_TASK_KEYS}.items():
        if key in config.auto:
            _check_any_has(key, registry, _written(config, key))
    task: Any = TASKS.get_part(config.task["name"])
    for option, registry in TASK_PARTS.items():
        if option in config.task and f"task.{option}" not in config.auto:
            with option_errors_under("task"):
                name, options = complete_part(task, option, registry, config.task[option])
            config.task[option] = {"name": name, **options}
    _complete_layers(config)
    _check_expert_fits(config)


def to_yaml(config: Config) -> str:
    """The configuration as YAML, keys in their order."""
    return OmegaConf.to_yaml(OmegaConf.create(to_values(config)))


def to_values(config: Config) -> dict[str, Any]:
    """The configuration as plain values, as its file holds them."""
    values = asdict(config)
    for key in values.pop("auto"):
        section, _, name = key.partition(".")
        if section in ("moe", "optimizer", "trainer"):
            values[section][name] = AUTO
    flatten_options(values)
    return values


def experiments() -> list[str]:
    """Names under ``conf/experiment``."""
    return sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def user_path(text: str) -> Path:
    """A path as it was written, with ``~`` as the home folder.

    >>> user_path("runs/x").as_posix()
    'runs/x'
    """
    return Path(os.path.expanduser(text))


@contextmanager
def path_errors(setting: str) -> Iterator[None]:
    """Turn an ``OSError``, such as that of a name that is too long, into a ``ConfigError``."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{setting}: cannot be read ({error.strerror})") from error


def _is_name(key: str) -> bool:
    """Whether the value of a key is text, unless it is a mapping."""
    return _names_part(key) or key == "init"


def _names_part(key: str) -> bool:
    inner = key_in_layer(key)
    known: Sequence[str] = PART_KEYS if inner == key else [*LAYER_PARTS]
    return inner.removesuffix(".name") in known


def _order(change: Change) -> int:
    """Position of a change: a part is named before its options are set, a task before its parts."""
    key = change[1].removesuffix(".name")
    return PART_KEYS.index(key) if key in PART_KEYS else len(PART_KEYS)


def _from_files(changes: Sequence[Change]) -> DictConfig:
    chosen = {key: value for _, key, value in changes}
    files = [load_yaml(CONF / "base.yaml")]
    if chosen.get("experiment") is not None:
        files += _experiment(chosen["experiment"])
    files += _edited_run(files, chosen)
    task = chosen.get("task", chosen.get("task.name"))
    for file in reversed(files):
        task = task or OmegaConf.select(file, "task.name")
    path = CONF / "task" / f"{task}.yaml"
    if path in (CONF / "task").iterdir():
        files.insert(1, load_yaml(path))
    routed: Layers = {}
    for file in files:
        _expand_names(file)
        routed = add_entries(routed, _pop_layers(file))
    config = files[0]
    for file in files[1:]:
        for key in PART_KEYS:
            _forget_options(config, key, OmegaConf.select(file, f"{key}.name"))
        config.merge_with(file)
    config[LAYERS] = routed
    return config


def _pop_layers(config: DictConfig) -> Any:
    """Remove ``layers`` from a configuration; returns it as plain values."""
    written = config.pop(LAYERS, {})
    return OmegaConf.to_container(written) if OmegaConf.is_config(written) else written


def _experiment(name: str, derived: Sequence[Path] = ()) -> list[DictConfig]:
    """Load a file under ``conf/experiment`` by name, or any file by its path, after its ``base``.

    The configuration in a run's folder is such a file too: it repeats the run elsewhere.
    """
    path = user_path(name)
    with path_errors(f"experiment={name}"):
        is_file = path.suffix == ".yaml" and path.is_file()
    if not is_file:
        if name not in experiments():
            raise unknown("experiment", name, [*experiments(), "a path ending in .yaml"])
        path = CONF / "experiment" / f"{name}.yaml"
    layer = load_yaml(path)
    if path.name == CONFIG:
        layer.pop("out", None)
    if resume := layer.pop("resume", None):
        raise ConfigError(
            f"{path}: resume={resume} in an experiment; an experiment is a new run: "
            f"remove it, or continue the run with python -m tasks resume={resume}"
        )
    base = layer.pop("base", None)
    if path in derived:
        raise ConfigError(f"{path}: base leads back to this file; remove it here or there")
    return [*(_experiment(base, [*derived, path]) if base else ()), layer]


def _edited_run(files: list[DictConfig], changes: dict[str, Any]) -> list[DictConfig]:
    """The sections ``EDITED`` of the run that ``init.edits`` changes; [] without edits."""
    init = init_of(files, changes)
    if init is None or not init.edits:
        return []
    path = user_path(init.place) / CONFIG
    with path_errors(f"init.from={init.place}"):
        exists = path.is_file()
    if not exists:
        raise ConfigError(
            f"init.from={init.place}: no run is there (no {CONFIG} in it), and init.edits needs "
            "its configuration; give the folder of a run or of its export"
        )
    run = load_yaml(path)
    return [OmegaConf.create({key: run[key] for key in EDITED if key in run})]


def _forget_options(config: DictConfig, key: str, name: Any) -> None:
    """Options belong to the part they were set for: another name starts afresh."""
    if name is not None and OmegaConf.select(config, f"{key}.name") != name:
        OmegaConf.update(config, key, {"name": name}, merge=False, force_add=True)


def _expand_names(config: DictConfig) -> None:
    """Write every ``part: NAME`` of a file as ``part: {name: NAME}``."""
    for key in PART_KEYS:
        value = OmegaConf.select(config, key)
        if isinstance(value, str):
            OmegaConf.update(config, key, {"name": value}, merge=False)


def _head(key: str) -> str:
    return key.partition(".")[0]


def _apply(config: DictConfig, sign: str, key: str, value: Any) -> None:
    if _head(key) not in Config.__dataclass_fields__:
        raise _unknown_key(key)
    if _head(key) in TEXT and _head(key) != key:
        raise ConfigError(f"{key}: {_head(key)} is a text and has no keys")
    if key.startswith("init."):
        open_init(config)
    with explained(f"{sign}{key}={value}"):
        if sign != "~" and key in PART_KEYS and not isinstance(value, dict):
            key = f"{key}.name"
        if sign != "~" and _names_part(key):
            _forget_options(config, key.removesuffix(".name"), value)
        grammar.change(config, sign, key, value)


def _unknown_key(key: str) -> ConfigError:
    allowed = [*(name for name in Config.__dataclass_fields__ if name != "auto"), "experiment"]
    return ConfigError(f"{key}: {nearest_name(_head(key), allowed)}")


def _complete(key: str, registry: Registry[Any], section: dict[str, Any]) -> None:
    """Check the options of a part and add its defaults."""
    if "name" not in section:
        raise ConfigError(f"{key}.name: required; allowed: {', '.join(registry.available())}")
    name = section["name"]
    given = {option: value for option, value in section.items() if option != "name"}
    registry.get_part(name)
    options = registry.options(name)
    if key == "task":
        _refuse_moved(options, given)
    registry.check_options(name, given)
    section.update({**options, **given})


def _complete_layers(config: Config) -> None:
    """Check the options of the parts in ``layers`` and add the defaults of those with a name."""
    for selector, entry in config.layers.items():
        for key, registry in LAYER_PARTS.items():
            if "name" in entry.get(key, {}):
                with errors_in(selector):
                    _complete(key, registry, entry[key])
    check_layers(config)


def _complete_layer_losses(
    entry: dict[str, Any], config: DictConfig, changes: Sequence[Change]
) -> None:
    """Store the losses of an entry of ``layers`` with a router: that router's own unless named."""
    losses: Any = entry.get("losses")
    if losses is None and "name" in entry.get("router", {}):
        losses = _losses(config, changes, entry["router"]["name"])
    if losses is None:  # those of its layers, and single ones in addition
        return
    for key in [key for key in entry if _head(key) == "losses" and key != "losses"]:
        losses = with_loss(losses, key, entry.pop(key))
    entry["losses"] = written_losses(read_losses(losses))


def _written(config: Config, key: str) -> Any:
    return config.expert if key == "expert" else config.task[key.removeprefix("task.")]


def _check_any_has(key: str, registry: Registry[Any], written: Any) -> None:
    """Refuse options of a part that the data chooses which no part has."""
    known = {option for name in registry for option in registry.options(name)}
    for option in written if isinstance(written, dict) else ():
        if option not in {"name", *known}:
            raise unknown_option(key, option, sorted(known))


def _model(config: Config) -> type[Backbone] | None:
    """The class of the backbone that ``task.model`` names, if it is known already."""
    model = config.task.get("model")
    if "task.model" in config.auto or model is None:
        return None
    name = model.get("name") if isinstance(model, dict) else model
    with option_errors_under("task"):
        part: Any = BACKBONES.get_part(name) if isinstance(name, str) else None
    return part


def _bring_expert(config: Config, named: set[str]) -> None:
    """Choose the expert of a backbone that the command line names, if the present one is unfit."""
    model = _model(config) if "task.model" in named else None
    name = config.expert.get("name")
    if model is None or "expert" in config.auto or not isinstance(name, str):
        return
    if not fits(model, experts.EXPERTS.get_part(name)):
        config.expert = {"name": model.expert}


def _check_expert_fits(config: Config) -> None:
    """Refuse experts whose rows a backbone does not give, before any data is read."""
    if (model := _model(config)) is None:
        return
    named = {} if "expert" in config.auto else {"expert": config.expert}
    for selector, entry in config.layers.items():
        if "name" in (expert := entry.get("expert", {})):
            named[f"{LAYERS}.{selector}.expert"] = expert
    for key, expert in named.items():
        _check_fits(key, expert["name"], model, config.task["model"]["name"])


def _check_fits(key: str, expert: str, model: type[Backbone], name: str) -> None:
    bank = experts.EXPERTS.get_part(expert)
    if fits(model, bank):
        return
    fitting = [name for name in experts.EXPERTS if fits(model, experts.EXPERTS.get_part(name))]
    models = [name for name in BACKBONES if _swaps(model, BACKBONES.get_part(name), bank)]
    raise ConfigError(
        f"{key}={expert}: its rows are ({', '.join(bank.row_axes)}), but "
        f"task.model={name} gives samples of shape "
        f"({', '.join(model.sample_axes)}); choose an expert that fits ({', '.join(fitting)}), or "
        f"a task.model for this one ({', '.join(models) or 'none'})"
    )


def _swaps(model: type[Backbone], other: Any, bank: Any) -> bool:
    return other.reads == model.reads and fits(other, bank)


def _refuse_moved(options: dict[str, Any], given: dict[str, Any]) -> None:
    """Refuse an option of the task that belongs to one of its parts, and name its new key."""
    for option in given.keys() - options.keys():
        for part, registry in TASK_PARTS.items():
            if part in options and any(option in registry.options(name) for name in registry):
                raise ConfigError(
                    f"task.{option}: unknown; did you mean 'task.{part}.{option}'? "
                    f"Write task.{part}.{option}={given[option]}"
                )


def _losses(config: DictConfig, changes: Sequence[Change], router: str) -> dict[str, Any]:
    """The auxiliary losses: the router's own unless any are named, then the changes in order."""
    own: Any = getattr(routers.ROUTERS.get_part(router), "default_losses", {})
    config = deepcopy(config) if changes else config
    for sign, key, value in changes:
        if config.get("losses") is None:
            config["losses"] = dict(own)
        if (sign, key) == ("~", "losses"):
            sign, value = "", {}
        loss = ".".join(key.split(".")[:2])
        weight = OmegaConf.select(config, loss)
        if key.startswith(f"{loss}.") and isinstance(weight, int | float):
            OmegaConf.update(config, loss, {"weight": weight})  # key is an option of that loss
        _apply(config, sign, key, value)
    losses = OmegaConf.to_container(config).get("losses")  # type: ignore[union-attr]
    losses = dict(own) if losses is None else losses
    check_type("losses", losses, dict)
    return written_losses(read_losses(losses))
