"""Search spaces: ranges of routers and experts, which a sweep may override.

A key is one of a run's configuration; ``layers.0,2-.moe.num_experts`` is that of some layers.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

import experts
import routers
from routers import ConfigError, OptionError
from routers.plugins import Registry, nearest_name
from tasks import Config, LayerSettings, layer_settings

#: Sections whose part a search may choose: ``expert: [mlp, glu]``.
PARTS: dict[str, Registry[Any]] = {"router": routers.ROUTERS, "expert": experts.EXPERTS}

#: Sections of a configuration that a search can vary; of some layers, those of ``LayerSettings``.
SECTIONS = ("task", "router", "expert", "moe", "losses", "optimizer", "trainer")
LAYER_SECTIONS = ("router", "expert", "moe", "losses")

#: Start of the keys of some layers, such as ``layers.0.router.k``.
LAYERS = "layers"

#: Parameter of a joint study that selects the arm.
ARM = "arm"

#: Parameters and the values they must have.
Condition = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Dimension:
    """One parameter of a search space.

    Attributes:
        name, key: of the parameter in the study and in the run's configuration.
        written: a list of choices, or ``low``, ``high`` and so on.
        distribution: the same for Optuna; choices that are not scalars are JSON.
        default: the arm's value, as the distribution represents it.
        when: parameters and values on which this one depends.
    """

    name: str
    key: str
    written: Any
    distribution: BaseDistribution
    default: Any
    when: Condition = ()

    def suggest(self, trial: Trial) -> Any:
        """Suggest the value of a trial."""
        of = self.distribution
        if isinstance(of, CategoricalDistribution):
            return trial.suggest_categorical(self.name, of.choices)
        if isinstance(of, IntDistribution):
            return trial.suggest_int(self.name, of.low, of.high, step=of.step, log=of.log)
        assert isinstance(of, FloatDistribution)
        return trial.suggest_float(self.name, of.low, of.high, step=of.step, log=of.log)

    def overrides(self, value: Any) -> list[str]:
        """Overrides that set a value in a run.

        The part that layers have already is not named again: they would lose its options.
        """
        of_layers, key = split_layers(self.key)
        unchanged = of_layers and key in PARTS and value == self.default
        return [] if unchanged or self.key == ARM else [f"{self.key}={_yaml(value)}"]


Space = Sequence[Dimension]


def read_space(written: Mapping[str, Any], run: Config) -> list[Dimension]:
    """Build the search space of an arm, whose configuration ``run`` holds the defaults.

    The own range of a router or an expert is widened to contain the default: a task may set one
    outside of it.
    Keys of ``written``, the sweep's ``space``, that the arm does not have apply to other arms.

    Raises:
        ConfigError: for ranges that are invalid, or of ``written`` and without the default.
    """
    ranges: dict[str, Any] = {}
    for place in _named_parts(run):
        for option, value in _space_of(place, part_at(run, place)).items():
            key = f"{place}.{option}"
            if key not in written and has_key(run, key):
                value = _widened(value, default_of(run, key))
            ranges[key] = value
    ranges |= written
    places = [key for key, value in ranges.items() if _is_part(key) and isinstance(value, list)]
    places.sort(key=lambda place: [*PARTS].index(split_layers(place)[1]))
    chosen = {place: ranges.pop(place) for place in places}
    found: list[Dimension] = []
    for place, names in chosen.items():
        found += _part_choice(place, names, run, ranges)
    for key, value in ranges.items():
        if value is None or _is_unused(key, run) or not has_key(run, key):
            continue
        found.append(_dimension(key, key, value, default_of(run, key), ()))
    return found


def check_keys(written: Mapping[str, Any], runs: Sequence[Config]) -> None:
    """Raise ``ConfigError`` for a key that none of the runs has."""
    for key in written:
        if _is_part(key) or any(has_key(run, key) for run in runs):
            continue
        section = key.rpartition(".")[0]
        known = {k for run in runs for k in _keys(run, split_layers(key)[0])}
        options = {k for k in known if k.rpartition(".")[0] == section}
        raise ConfigError(
            f"space: {key}: no arm has it; {nearest_name(key, sorted(options or known))}"
        )


def split_layers(key: str) -> tuple[str, str]:
    """The layers for which a key is set, with a dot, and the key in them; empty for all layers.

    >>> split_layers("layers.0,2-.router.k"), split_layers("router.k")
    (('layers.0,2-.', 'router.k'), ('', 'router.k'))
    """
    head, *rest = key.split(".", 2)
    return (f"{head}.{rest[0]}.", rest[1]) if head == LAYERS and len(rest) > 1 else ("", key)


def part_at(run: Config, place: str) -> str:
    """The name of the router or expert at ``router``, ``layers.0.expert`` and so on.

    Raises:
        ConfigError: if the layers have different ones.
    """
    layers, part = split_layers(place)
    if not layers:
        return str(getattr(run, part)["name"])
    return str(_same(place, [getattr(each, part)["name"] for each in _selected(run, layers)]))


def _is_part(key: str) -> bool:
    return split_layers(key)[1] in PARTS


def _named_parts(run: Config) -> Iterator[str]:
    """Places of the routers and experts that a run names, for all layers or some."""
    every = layer_settings(run)
    for part in PARTS:
        if any(f"{part}.name" not in each.sources for each in every):
            yield part
        yield from dict.fromkeys(each.key(part) for each in every if each.key(part) != part)


def _space_of(place: str, name: str) -> Mapping[str, Any]:
    """The search space that a router or an expert defines, by option."""
    return getattr(PARTS[split_layers(place)[1]].get_part(name), "search_space", {})


def _widened(written: Any, default: Any) -> Any:
    """The smallest range that contains another one and a default.

    >>> _widened([2, 4], 1), _widened({"low": 0.5, "high": 2.0}, 3.0)
    ([1, 2, 4], {'low': 0.5, 'high': 3.0})
    """
    if isinstance(written, list | tuple) and written and default not in written:
        return [default, *written]
    is_range = isinstance(written, Mapping) and {"low", "high"} <= written.keys()
    if is_range and isinstance(default, int | float) and (default > 0 or not written.get("log")):
        low, high = min(written["low"], default), max(written["high"], default)
        return {**written, "low": low, "high": high}
    return written


def _is_unused(key: str, run: Config) -> bool:
    """Whether a key has no effect: a dense control has no router and a matched expert width."""
    dense, key = run.moe.control is not None, split_layers(key)[1]
    return dense and (key.startswith(("router.", "moe.", "losses.")) or key == "expert.hidden")


def _part_choice(
    place: str, names: Any, run: Config, ranges: dict[str, Any]
) -> Iterator[Dimension]:
    """The choice of a part, then options of each part under separate names in the study."""
    own, registry = part_at(run, place), PARTS[split_layers(place)[1]]
    yield _dimension(place, place, names, own, ())
    for option in [key for key in ranges if key.startswith(f"{place}.")]:
        if ranges[option] is not None and has_key(run, option):
            value, default = ranges.pop(option), default_of(run, option)
            yield _dimension(f"{own}/{option}", option, value, default, ((place, own),))
    for name in names:
        for option, value in _space_of(place, name).items() if name != own else ():
            key = f"{place}.{option}"
            default = registry.options(name)[option]
            yield _dimension(f"{name}/{key}", key, value, default, ((place, name),))


def _dimension(name: str, key: str, written: Any, default: Any, when: Condition) -> Dimension:
    distribution = _distribution(key, written, default)
    value = _as_choice(default)
    if isinstance(distribution, FloatDistribution) and isinstance(value, int | float):
        value = float(value)
    if not _contains(distribution, value):
        raise ConfigError(
            f"space: {key}={_to_json(written)} excludes the default {default}, which the first "
            f"trial uses; widen the range, or set {key} in run or in the arm"
        )
    return Dimension(name, key, written, distribution, value, when)


def _distribution(key: str, written: Any, default: Any) -> BaseDistribution:
    if isinstance(written, Sequence) and not isinstance(written, str):
        if not written:
            raise OptionError(
                f"space: {key}", "[]", "a list of choices; null removes the key from the space"
            )
        return CategoricalDistribution([_as_choice(choice) for choice in written])
    known = {"low", "high", "log", "step"}
    if not isinstance(written, Mapping) or not {"low", "high"} <= written.keys() <= known:
        raise OptionError(
            f"space: {key}",
            _to_json(written),
            "a list of choices, or {low: …, high: …} with optional log: true or step: …, or null",
        )
    low, high = written["low"], written["high"]
    log, step = written.get("log", False), written.get("step")
    whole = all(isinstance(value, int) for value in (low, high, default))
    try:
        if whole:
            return IntDistribution(low, high, log=log, step=step or 1)
        return FloatDistribution(float(low), float(high), log=log, step=step)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"space: {key}={_to_json(written)}: {error}") from error


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (ValueError, TypeError):
        return False


def _as_choice(value: Any) -> Any:
    """Convert a value to a type that Optuna stores."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return json.dumps(value)


def _to_json(value: Any) -> str:
    return json.dumps(value, default=str)


def suggest(space: Space, trial: Trial) -> dict[str, Any]:
    """Suggest the values of a trial, by parameter names of the study."""
    return _active_values(space, lambda dimension: dimension.suggest(trial))


def defaults(space: Space, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Default values of the active parameters, which ``given`` overrides."""
    known = given or {}
    return _active_values(space, lambda dimension: known.get(dimension.name, dimension.default))


def _active_values(space: Space, value_of: Callable[[Dimension], Any]) -> dict[str, Any]:
    """Values of the parameters whose conditions hold for the values before them."""
    values: dict[str, Any] = {}
    for dimension in space:
        if all(values.get(name) == value for name, value in dimension.when):
            values[dimension.name] = value_of(dimension)
    return values


def as_overrides(space: Space, values: Mapping[str, Any]) -> list[str]:
    """Convert the values of a trial to overrides for ``python -m tasks``.

    Raises:
        ConfigError: for values outside of the space; a storage may contain anything.

    >>> lr = Dimension("optimizer.lr", "optimizer.lr", [], FloatDistribution(0, 1), 0.1)
    >>> as_overrides([lr], {"optimizer.lr": 0.25})
    ['optimizer.lr=0.25']
    """
    active = _active_values(space, lambda dimension: values.get(dimension.name))
    if strange := sorted(active.keys() ^ values.keys()):
        raise ConfigError(f"its parameters differ from the search space in {', '.join(strange)}")
    used = [dimension for dimension in space if dimension.name in active]
    for each in used:
        if not _contains(each.distribution, value := values[each.name]):
            raise OptionError(each.name, value, f"a value in {_to_json(each.written)}")
    return [text for each in used for text in each.overrides(values[each.name])]


def _yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def grid(space: Space) -> list[dict[str, Any]]:
    """Every combination of choices, the defaults first.

    Raises:
        ConfigError: for a range, which has no finite set of points.
    """
    choices = {}
    for dimension in space:
        if not isinstance(dimension.distribution, CategoricalDistribution):
            raise ConfigError(
                f"space: {dimension.key}: sampler=grid needs a list of choices, not a range"
            )
        choices[dimension.name] = dimension.distribution.choices
    points = [defaults(space)]
    for values in product(*choices.values()):
        point = defaults(space, dict(zip(choices, values, strict=True)))
        if point not in points:
            points.append(point)
    return points


def join_spaces(spaces: Mapping[str, Space]) -> list[Dimension]:
    """One space that also selects the arm; names of parameters begin with the arm's label."""
    labels = list(spaces)
    arm = Dimension(ARM, ARM, labels, CategoricalDistribution(labels), labels[0])
    found = [arm]
    for label, space in spaces.items():
        for each in space:
            when = ((ARM, label), *((f"{label}/{name}", value) for name, value in each.when))
            found.append(replace(each, name=f"{label}/{each.name}", when=when))
    return found


def describe(space: Space) -> dict[str, Any]:
    """The space in plain values, to write and to compare."""
    return {
        dimension.name: {
            "range": json.loads(_to_json(dimension.written)),
            "default": dimension.default,
        }
        for dimension in space
    }


def has_key(run: Config, key: str) -> bool:
    """Whether a run's configuration has a key; every known loss has a weight."""
    layers, own = split_layers(key)
    head, _, leaf = own.partition(".")
    return key in _keys(run, layers) or (head == "losses" and leaf in routers.LOSSES.available())


def default_of(run: Config, key: str) -> Any:
    """The value of a run's key; a loss that the run does not use has weight 0.

    Raises:
        ConfigError: if the layers that the key names have different values.
    """
    layers, own = split_layers(key)
    if not layers:
        return _keys(run).get(key, 0.0)
    return _same(
        key, [_values(each, LAYER_SECTIONS).get(own, 0.0) for each in _selected(run, layers)]
    )


def _selected(run: Config, layers: str) -> list[LayerSettings]:
    """The settings of layers that a key names, ``layers.0,2-.``."""
    return layer_settings(run, layers.removeprefix(f"{LAYERS}.").removesuffix("."))


def _same(key: str, values: Sequence[Any]) -> Any:
    """The value that all layers of a key have."""
    if any(value != values[0] for value in values):
        shown = ", ".join(map(_to_json, values))
        raise ConfigError(
            f"space: {key}: its layers have different values in the first trial ({shown}); set "
            "one for them in run or in the arm, name the layers one by one, or give null to leave "
            "it out"
        )
    return values[0]


def _keys(run: Config, layers: str = "") -> dict[str, Any]:
    """Every key of a configuration that a search can vary, with its value; of the first of some
    ``layers``, such as ``layers.0.``, if named.
    """
    if not layers:
        return _values(run, SECTIONS)
    values = _values(_selected(run, layers)[0], LAYER_SECTIONS)
    values.pop("moe.control", None)
    return {f"{layers}{key}": value for key, value in values.items()}


def _values(settings: Config | LayerSettings, sections: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for section in sections:
        values = getattr(settings, section)
        values = values if isinstance(values, dict) else vars(values)
        for name, value in (values or {}).items():
            found |= _flat(f"{section}.{name}", value) if name != "name" else {}
    return found


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    found = {prefix: value}
    for name, inner in value.items() if isinstance(value, Mapping) else ():
        found |= _flat(f"{prefix}.{name}", inner)
    return found
