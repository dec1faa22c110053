"""Settings of single routed layers: ``layers`` in a configuration, and what holds for a layer."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any

import experts
import routers
from routers import ConfigError, OptionError
from routers.losses import read_losses
from routers.plugins import Registry, check_options, check_type, unknown_option

from .losses import with_loss
from .overrides import Change
from .schema import Config, MoEConfig
from .selectors import Selector, first_layers

#: The section of a configuration.
LAYERS = "layers"

#: Settings by selector: the sections that hold in the layers, parts and ``moe`` as mappings, and
#: ``losses``, or single losses such as ``losses.z``, which are added to those of the layers.
Layers = dict[str, dict[str, Any]]

#: Sections that name a part.
PARTS: dict[str, Registry[Any]] = {"router": routers.ROUTERS, "expert": experts.EXPERTS}

SECTIONS = (*PARTS, "moe", "losses")

_EXAMPLE = "settings such as {router: hash, moe.num_experts: 16}"


@dataclass(frozen=True)
class LayerSettings:
    """The settings of a routed layer: those of all layers, changed by ``layers``.

    Attributes:
        layer: its number.
        router, expert: name and options.
        moe: its other settings.
        losses: its auxiliary losses.
        sources: the key of ``layers`` that sets a key, such as ``layers.0.router.k`` by
            ``router.k``, for each that one sets.
    """

    layer: int
    router: dict[str, Any]
    expert: dict[str, Any]
    moe: MoEConfig
    losses: dict[str, Any]
    sources: Mapping[str, str]

    def key(self, key: str) -> str:
        """The key that sets a key; ``router`` and ``expert`` stand for their names."""
        name = f"{key}.name" if key in PARTS else key
        return self.sources.get(name, name).removesuffix(".name")

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Name in an ``OptionError`` the key that sets the option, or else the layer."""
        try:
            yield
        except OptionError as error:
            for key, source in self.sources.items():
                if f"{error.name}.".startswith(f"{key}."):
                    name = source + error.name.removeprefix(key)
                    raise OptionError.about(name, error.problem) from error.__cause__
            if not self.sources:
                raise
            raise ConfigError(f"layer {self.layer}: {error}") from error


def settings_of(config: Config, layer: int) -> LayerSettings:
    """The settings of the routed layer with this number, from 0, in a complete configuration.

    >>> from tasks import compose
    >>> config = compose(["router=topk", "layers.1-.router.k=1", "layers.2.moe.num_experts=16"])
    >>> [settings_of(config, layer).router["k"] for layer in range(3)]
    [2, 1, 1]
    >>> [settings_of(config, layer).moe.num_experts for layer in range(3)]
    [8, 8, 16]
    """
    found: dict[str, Any] = {
        "router": config.router,
        "expert": config.expert,
        "moe": asdict(config.moe),
        "losses": dict(config.losses or {}),
    }
    sources: dict[str, str] = {}
    for text, entry in config.layers.items():
        if not Selector.read(text).selects(layer):
            continue
        for key, value in entry.items():
            section, _, loss = key.partition(".")
            place = f"{LAYERS}.{text}.{key}"
            if loss:
                found[section] = with_loss(found[section], key, value)
                sources[key] = place
                continue
            if "name" in value or section == "losses":  # starts afresh
                sources = {old: of for old, of in sources.items() if not _is_in(old, section)}
                found[section] = dict(value)
            else:
                found[section] = _merged(found[section], value)
            sources |= {f"{section}.{option}": f"{place}.{option}" for option in value}
    moe = MoEConfig(**found["moe"])
    return LayerSettings(layer, found["router"], found["expert"], moe, found["losses"], sources)


def layer_settings(config: Config, selector: str = "0-") -> list[LayerSettings]:
    """The different settings that layers of a selection can have: of one layer for each.

    How many layers the network has does not matter, so the last ones may not exist.

    >>> from tasks import compose
    >>> found = layer_settings(compose(["layers.1-3.moe.num_experts=16"]), "2-")
    >>> [(each.layer, each.moe.num_experts) for each in found]
    [(2, 16), (4, 8)]
    """
    chosen = Selector.read(selector)
    layers = first_layers([*map(Selector.read, config.layers), chosen])
    return [settings_of(config, layer) for layer in layers if chosen.selects(layer)]


def part_name(config: Config, section: str) -> str:
    """The name of the router, or of the expert; names of several in the order of their layers.

    >>> from tasks import compose
    >>> part_name(compose(["router=topk", "layers.0.router=hash"]), "router")
    'hash+topk'
    """
    return "+".join(
        dict.fromkeys(getattr(each, section)["name"] for each in layer_settings(config))
    )


def arm_name(config: Config) -> str:
    """The arm of a run: its router, or the dense control matched to it."""
    if config.moe.control is not None:
        return f"dense_{config.moe.control}"
    return part_name(config, "router")


def check_selectors(config: Config, layers: int) -> None:
    """Raise ``ConfigError`` for a selector without a layer in a network of ``layers`` layers."""
    for text in config.layers:
        Selector.read(text).check(layers)


def check_layers(config: Config) -> None:
    """Raise ``ConfigError`` for options that a layer's part does not have, or of a wrong type."""
    for settings in layer_settings(config) if config.layers else ():
        with settings.errors():
            for section, registry in PARTS.items():
                options = dict(getattr(settings, section))
                name = options.pop("name")
                if section not in config.auto or f"{section}.name" in settings.sources:
                    registry.check_options(name, options)
            check_options("moe", MoEConfig, asdict(settings.moe), skip=0)


def check_layer_losses(config: Config) -> None:
    """Raise ``ConfigError`` for auxiliary losses of a layer that cannot be read."""
    for settings in layer_settings(config) if config.layers else ():
        with settings.errors():
            read_losses(settings.losses)


@contextmanager
def errors_in(selector: str) -> Iterator[None]:
    """Prepend the entry of ``layers`` to errors, which begin with the key of a section."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{LAYERS}.{selector}.{error}") from error


def key_in_layer(key: str) -> str:
    """A key without the layers for which it is set; other keys are returned unchanged.

    >>> key_in_layer("layers.0,2-.router.k"), key_in_layer("layers.0"), key_in_layer("router.k")
    ('router.k', 'layers', 'router.k')
    """
    head, *rest = key.split(".", 2)
    return key if head != LAYERS else rest[1] if len(rest) > 1 else head


def of_experts(layers: Layers) -> Layers:
    """Entries reduced to what experts cost: without router, losses and capacity."""
    without: Layers = {}
    for selector, entry in layers.items():
        kept = {key: value for key, value in entry.items() if key in ("expert", "moe")}
        moe = kept.get("moe", {})
        without[selector] = {**kept, "moe": {k: v for k, v in moe.items() if k != "capacity"}}
    return without


def add_entries(layers: Layers, written: Any) -> Layers:
    """Layers after those of a file.

    >>> add_entries({"0": {"moe": {"shared": 1}}, "1": {}}, {0: {"router.k": 4, "router": "topk"}})
    {'0': {'router': {'name': 'topk', 'k': 4}, 'moe': {'shared': 1}}, '1': {}}
    """
    check_type(LAYERS, written, dict)
    for key, entry in written.items():
        selector = Selector.read(str(key))
        layers = _with_settings(layers, selector, _entry_changes(selector, entry))
    return layers


def change_layers(layers: Layers, changes: Sequence[Change]) -> Layers:
    """Layers after changes of ``layers…`` on the command line."""
    for sign, key, value in _names_first(changes):
        _, *rest = key.split(".", 2)
        if not rest:
            layers = {} if sign == "~" else add_entries({}, value)
            continue
        selector = Selector.read(rest[0])
        if len(rest) > 1:
            layers = _with_settings(layers, selector, [(sign, rest[1], value)])
            continue
        if sign == "~" and selector.text not in layers:
            raise ConfigError(f"~{key}: there is no such key to remove")
        layers = {text: entry for text, entry in layers.items() if text != selector.text}
        if sign != "~":
            layers = _with_settings(layers, selector, _entry_changes(selector, value))
    return layers


def _names_first(changes: Sequence[Change]) -> list[Change]:
    """The changes, with names of parts before their options, wherever they were written."""

    def names(change: Change) -> bool:
        return key_in_layer(change[1]).removesuffix(".name") in PARTS

    def place(number: int) -> tuple[int, bool]:
        change = changes[number]
        if not names(change):
            return number, True
        section = change[1].removesuffix(".name")
        return next(i for i, each in enumerate(changes) if _is_in(each[1], section)), False

    return [changes[number] for number in sorted(range(len(changes)), key=place)]


def _with_settings(layers: Layers, selector: Selector, changes: Sequence[Change]) -> Layers:
    """Layers with changes of an entry, which win over all that is there.

    The entry moves to the end if a later one has the same settings for some of its layers;
    ``ConfigError`` if other settings of it would then win too.
    """
    text, texts = selector.text, list(layers)
    old = layers.get(text, {})
    new = _changed_entry(selector, old, changes)
    given = [change for change in changes if change[0] != "~"]
    now = _keys(_changed_entry(selector, {}, [("", *change[1:]) for change in given]))
    later = [] if text not in layers else texts[texts.index(text) + 1 :]
    later = [each for each in later if selector.overlaps(Selector.read(each))]
    rivals = [(each, key) for each in later for key in _keys(layers[each])]
    if not any(_overlap(key, rival) for key in now for _, rival in rivals):
        return {**layers, text: new}
    kept = [key for key in _keys(new) if not any(_is_in(key, each) for each in now)]
    for each, rival in rivals:
        if shadowed := [key for key in kept if _overlap(key, rival)]:
            raise ConfigError(
                f"{LAYERS}.{text}.{now[0]}: cannot win over the later {LAYERS}.{each} without "
                f"{LAYERS}.{text}.{shadowed[0]}, which then would too; write all as {LAYERS}={{…}}"
            )
    return {**{each: layers[each] for each in texts if each != text}, text: new}


def _keys(entry: Mapping[str, Any]) -> list[str]:
    """Keys that an entry sets; a part with a name, or losses, as a whole."""
    found = []
    for key, value in entry.items():
        whole = key not in SECTIONS or key == "losses" or "name" in value
        found += [key] if whole else [f"{key}.{option}" for option in value]
    return found


def _overlap(one: str, other: str) -> bool:
    return _is_in(one, other) or _is_in(other, one)


def _entry_changes(selector: Selector, entry: Any) -> list[Change]:
    if not isinstance(entry, Mapping):
        raise OptionError(f"{LAYERS}.{selector.text}", entry, _EXAMPLE)
    return [("", str(key), value) for key, value in entry.items()]


def _changed_entry(
    selector: Selector, entry: dict[str, Any], changes: Sequence[Change]
) -> dict[str, Any]:
    """An entry after changes, names of parts first: a name starts its options afresh."""
    place = f"{LAYERS}.{selector.text}"
    for sign, key, value in sorted(changes, key=lambda c: c[1].removesuffix(".name") not in PARTS):
        if (section := key.partition(".")[0]) not in SECTIONS:
            raise unknown_option(place, section, SECTIONS)
        if sign == "+" and _has(entry, key):
            setting = f"{place}.{key}"
            raise ConfigError(f"+{setting}: exists already; write {setting}={value} to change it")
        if sign == "~" and not _has(entry, key):
            raise ConfigError(f"~{place}.{key}: there is no such key to remove")
        if sign == "~":
            entry = _without(entry, key)
        elif section == "losses":
            entry = _with_losses(place, entry, key, value)
        else:
            entry = _with_section(place, entry, key, value)
    order = [(SECTIONS.index(key.partition(".")[0]), key) for key in entry]
    return {key: entry[key] for _, key in sorted(order, key=lambda each: each[0])}


def _with_losses(place: str, entry: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """An entry with ``losses`` replaced, or with one more."""
    if key == "losses":
        check_type(f"{place}.losses", value, dict)
        return {**{k: v for k, v in entry.items() if not _is_in(k, key)}, key: dict(value)}
    if "losses" in entry:
        return {**entry, "losses": with_loss(entry["losses"], key, value)}
    return {**{k: v for k, v in entry.items() if k != key}, key: value}


def _with_section(place: str, entry: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """An entry with a part, an option of it, or a setting of ``moe``."""
    section, *path = key.split(".")
    if not path and section in PARTS and not isinstance(value, Mapping):
        path = ["name"]
    for name in reversed(path):
        value = {name: value}
    check_type(f"{place}.{section}", value, dict)
    changed = _merged(entry.get(section, {}), value)
    if section == "moe":
        _check_moe(place, changed)
    return {**entry, section: changed}


def _check_moe(place: str, settings: Mapping[str, Any]) -> None:
    if "control" in settings:
        raise ConfigError(
            f"{place}.moe.control: a control replaces all routed layers, each by one that is "
            "matched to it; set moe.control"
        )
    allowed = [field.name for field in fields(MoEConfig) if field.name != "control"]
    for name in settings:
        if name not in allowed:
            raise unknown_option(f"{place}.moe", name, allowed)


def _merged(old: Any, new: Any) -> Any:
    """Settings over earlier ones; a mapping that names another part replaces it."""
    both = isinstance(old, Mapping) and isinstance(new, Mapping)
    if not both or new.get("name", old.get("name")) != old.get("name"):
        return dict(new) if isinstance(new, Mapping) else new
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}


def _is_in(key: str, section: str) -> bool:
    return f"{key}.".startswith(f"{section}.")


def _has(entry: Any, key: str) -> bool:
    """Whether an entry has a key, written as it is or as keys in keys."""
    if not isinstance(entry, Mapping) or not key:
        return not key
    head, _, rest = key.partition(".")
    return key in entry or (head in entry and _has(entry[head], rest))


def _without(entry: dict[str, Any], key: str) -> dict[str, Any]:
    """An entry without a key that it has."""
    if key in entry:
        return {name: value for name, value in entry.items() if name != key}
    head, _, rest = key.partition(".")
    return {**entry, head: _without(entry[head], rest)}
