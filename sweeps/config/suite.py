"""A suite's configuration: benchmarks, each a sweep, that share arms and settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from routers import ConfigError, OptionError
from routers.plugins import unknown, unknown_option
from tasks import CONF, overrides

from .compose import ENGINE, TEXT_KEYS, SweepConfig, changed, file_of, typed

MODALITIES = ("image", "text", "multi_task", "planted")

#: How the settings of an arm are found.
TUNINGS = ("none", "per_benchmark", "shared")

#: Samplers whose points depend on no score, so that they are the same in all benchmarks.
SAME_POINTS = ("random", "grid")

#: Keys of a suite that a sweep does not have.
SUITE_KEYS = ("benchmarks", "tuning", "suite")

#: Keys of a sweep that a benchmark may set for itself.
BENCHMARK_KEYS = (
    *("run", "objectives", "constraints", "margin", "trials", "seeds", "space", "pruner"),
    "patience",
)


@dataclass(frozen=True)
class SuiteConfig:
    """A suite as written; `make_suite_plan` resolves it.

    Attributes:
        name: of the file.
        tuning: one of `TUNINGS`.
        shared: settings of all benchmarks.
        sweeps: the sweep of each benchmark by name.
        modalities: of each benchmark.
    """

    name: str
    tuning: str
    shared: SweepConfig
    sweeps: Mapping[str, SweepConfig]
    modalities: Mapping[str, str]


def compose_suite(arguments: Sequence[str]) -> SuiteConfig:
    """Compose the configuration of a suite from ``key=value``, ``+new=value`` and ``~key``.

    Raises:
        ConfigError: for an unknown suite, benchmark or key, or an invalid value.

    >>> compose_suite(["suite=quick", "benchmarks=[planted]"]).modalities
    {'planted': 'planted'}
    """
    texts = (*TEXT_KEYS, "suite")
    changes = [overrides.parse(text, texts, ENGINE.__eq__) for text in arguments]
    if any(key == "sweep" for _, key, _ in changes):
        raise ConfigError("sweep and suite: expected one of them; a suite has its own sweeps")
    path = file_of("suite", str({key: value for _, key, value in changes}["suite"]))
    own = overrides.load_yaml(path)
    files = [overrides.load_yaml(CONF / name) for name in ("sweep.yaml", "suite.yaml")]
    merged = OmegaConf.merge(*files, own, {"suite": path.stem})
    assert isinstance(merged, DictConfig)
    changes, chosen = _selection(changes)
    known = (*SUITE_KEYS, *SweepConfig.__dataclass_fields__)
    config = changed(merged, changes, ("suite",), known)
    if config.tuning not in TUNINGS:
        raise unknown("tuning", config.tuning, TUNINGS)
    benchmarks = _benchmarks(path, config, chosen)
    shared = OmegaConf.masked_copy(config, list(SweepConfig.__dataclass_fields__))
    searches = any("trials" in (*own, *each) for each in benchmarks.values())
    searches |= any(key == "trials" for _, key, _ in changes)
    if config.tuning == "none" and not searches:
        shared.trials = 0
    sweeps = {name: _sweep(name, shared, each) for name, each in benchmarks.items()}
    if config.study != "per_arm":
        raise OptionError("study", config.study, "per_arm, as arms may be added to a suite")
    if config.tuning == "shared" and config.sampler not in SAME_POINTS:
        expected = f"{' or '.join(SAME_POINTS)}, as tuning=shared tries the same in all benchmarks"
        raise OptionError("sampler", config.sampler, expected)
    for name, sweep in sweeps.items():
        if (sweep.trials == 0) != (config.tuning == "none"):
            expected = "0, as tuning=none" if sweep.trials else "an integer >= 1"
            cure = "Set tuning=per_benchmark or shared to search, tuning=none to search nothing"
            raise OptionError(f"benchmarks.{name}.trials", sweep.trials, expected, cure)
    modalities = {name: each["modality"] for name, each in benchmarks.items()}
    return SuiteConfig(path.stem, config.tuning, typed(shared), sweeps, modalities)


def _selection(
    changes: Sequence[overrides.Change],
) -> tuple[list[overrides.Change], Sequence[str] | None]:
    """The changes without ``benchmarks=[…]``, and the names that it selects."""
    lists = [value for _, key, value in changes if key == "benchmarks" and isinstance(value, list)]
    rest = [each for each in changes if each[1] != "benchmarks" or not isinstance(each[2], list)]
    return rest, lists[-1] if lists else None


def _benchmarks(
    path: Path, config: DictConfig, chosen: Sequence[str] | None
) -> dict[str, dict[str, Any]]:
    """The benchmarks as written, checked; those that are chosen if any are."""
    written = OmegaConf.to_container(config.benchmarks)
    if not isinstance(written, dict) or not written:
        raise OptionError("benchmarks", written, "{name: {run: [task=…], modality: image}, …}")
    for name in chosen or ():
        if name not in written:
            raise unknown("benchmarks", name, map(str, written))
    found = {str(name): about for name, about in written.items() if not chosen or name in chosen}
    for name, about in found.items():
        key = f"benchmarks.{name}"
        if not isinstance(about, dict) or "run" not in about or "modality" not in about:
            raise OptionError(key, about, "{run: [task=…], modality: image}")
        if about["modality"] not in MODALITIES:
            raise unknown(f"{key}.modality", about["modality"], MODALITIES)
        for own in about:
            if own not in (*BENCHMARK_KEYS, "modality"):
                raise unknown_option(key, str(own), (*BENCHMARK_KEYS, "modality"))
        if not name.replace("_", "a").isalnum() or name != name.lower():
            raise OptionError(key, name, "lower-case letters, digits and _, as it names a folder")
    return found


def _sweep(name: str, shared: DictConfig, about: Mapping[str, Any]) -> SweepConfig:
    """The sweep of a benchmark: the settings of the suite, then its own."""
    own = {key: value for key, value in about.items() if key != "modality"}
    merged = OmegaConf.merge(shared, own)
    assert isinstance(merged, DictConfig)
    merged.run = [*shared.run, *about["run"]]
    try:
        return typed(merged)
    except ConfigError as error:
        raise ConfigError(f"benchmarks.{name}: {error}") from error
