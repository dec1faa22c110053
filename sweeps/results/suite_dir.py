"""Reader of a suite's folder: a protocol, and an ordinary sweep for each benchmark."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from routers import ConfigError
from tasks import check_format, overrides

from ..config.objectives import Objective
from .shapes import PROTOCOL_SHAPE, misfit
from .sweep_dir import ArmResults, Sweep, read_sweep

#: File in the folder of a suite that states, before runs are confirmed, how they are compared.
PROTOCOL = "protocol.yaml"


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of a suite: its sweep, and why it has no results of some arms.

    Attributes:
        name: of its folder in that of the suite.
        modality: ``image``, ``text``, ``multi_task`` or ``planted``.
        sweep: its arms; an arm has the same label in every benchmark.
        gaps: the reason for each arm that the benchmark cannot take, by label.
    """

    name: str
    modality: str
    sweep: Sweep
    gaps: Mapping[str, str]


@dataclass(frozen=True)
class Suite:
    """Results of a suite, or of several that were merged.

    Attributes:
        name: of the first suite.
        benchmarks: with the sweep of each.
        protocol: the content of ``protocol.yaml``; of merged suites, with the arms and the
            amendments of all.
        folders: of the suites.
    """

    name: str
    benchmarks: tuple[Benchmark, ...]
    protocol: Mapping[str, Any]
    folders: tuple[Path, ...]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """All arms, in the order of the protocol; controls are last."""
        return tuple(sorted(self.protocol["arms"], key=self.controls.__contains__))

    @cached_property
    def controls(self) -> set[str]:
        """The labels of the arms to beat."""
        arms = self.protocol["arms"].items()
        return {label for label, about in arms if about.get("control")}

    def arm(self, benchmark: str, label: str) -> ArmResults | None:
        """An arm in a benchmark; None for a gap."""
        sweep = next(each.sweep for each in self.benchmarks if each.name == benchmark)
        return next((arm for arm in sweep.arms if arm.label == label), None)

    def scores(self, metric: str = "score.value") -> dict[str, dict[str, dict[int, float]]]:
        """A metric of all confirmed runs: by benchmark, by arm, by seed.

        An arm that a benchmark cannot take, or that has no run with the metric, is missing there.
        """
        return {
            benchmark.name: {
                arm.label: numbers
                for arm in sorted(benchmark.sweep.arms, key=self._order)
                if arm.label in self.protocol["arms"] and (numbers := arm.numbers(metric))
            }
            for benchmark in self.benchmarks
        }

    def objectives(self) -> dict[str, Objective]:
        """The main objective of each benchmark."""
        return {each.name: each.sweep.objectives[0] for each in self.benchmarks}

    def _order(self, arm: ArmResults) -> int:
        return self.labels.index(arm.label) if arm.label in self.labels else len(self.labels)


def is_suite(folder: Path) -> bool:
    """Whether a folder holds a suite."""
    return (folder / PROTOCOL).exists()


def read_protocol(folder: Path) -> dict[str, Any]:
    """Read the ``protocol.yaml`` of a suite.

    Raises:
        ConfigError: for a folder without a suite, or a file that is damaged or of a later format.
    """
    path = folder / PROTOCOL
    if not path.exists():
        raise ConfigError(f"{folder}: not the folder of a suite, as it holds no {PROTOCOL}")
    loaded = OmegaConf.to_container(overrides.load_yaml(path), resolve=False)
    check_format(path, loaded)
    if problem := misfit(loaded, PROTOCOL_SHAPE):
        raise ConfigError(f"{path}: {problem}; the file is damaged")
    assert isinstance(loaded, dict)
    return {str(key): value for key, value in loaded.items()}


def read_suite(folder: Path) -> Suite:
    """Read the results of a suite; if it has not finished, some arms lack runs.

    Raises:
        ConfigError: for a folder without a suite, or a damaged file that it needs.
    """
    folder = Path(folder)
    protocol = read_protocol(folder)
    benchmarks = tuple(
        Benchmark(name, about["modality"], read_sweep(folder / name), about["gaps"])
        for name, about in protocol["benchmarks"].items()
    )
    return Suite(protocol["suite"], benchmarks, protocol, (folder,))
