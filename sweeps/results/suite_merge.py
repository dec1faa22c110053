"""Several suites as one: which are comparable, and how labels and runs of arms merge."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from routers import ConfigError

from .suite_dir import Benchmark, Suite, read_suite
from .sweep_dir import ArmResults, folder_names


def read_suites(folders: Sequence[Path]) -> Suite:
    """Read several suites as one, with the arms of all.

    An arm that two suites have with equal settings in every benchmark is one arm with the runs of
    both; of a seed that both have, the first suite's run counts. The names of the folders are
    appended to other labels that two suites use.

    Raises:
        ConfigError: if benchmarks, their data, their runs or their objectives differ, so that
            results are not comparable.
    """
    if not folders:
        raise ConfigError("report: expected at least one folder of a suite")
    unique = {Path(folder).resolve(): Path(folder) for folder in folders}
    first, *others = suites = [read_suite(folder) for folder in unique.values()]
    for other in others:
        _check_comparable(first, other)
    if not others:
        return first
    renamed = _renamed(suites)
    named = [_with_labels(suite, labels) for suite, labels in zip(suites, renamed, strict=True)]
    protocol = {
        **first.protocol,
        "arms": {k: v for suite in reversed(named) for k, v in suite.protocol["arms"].items()},
        "amendments": [each for suite in named for each in suite.protocol["amendments"]],
    }
    order = [label for suite in named for label in suite.protocol["arms"]]
    protocol["arms"] = {label: protocol["arms"][label] for label in dict.fromkeys(order)}
    benchmarks = tuple(map(_joined, zip(*(suite.benchmarks for suite in named), strict=True)))
    return Suite(first.name, benchmarks, protocol, tuple(unique.values()))


def _check_comparable(one: Suite, other: Suite) -> None:
    """Raise ``ConfigError`` that names the first difference that makes suites incomparable."""
    where = f"{one.folders[0]} and {other.folders[0]}"
    names, others = ([each.name for each in suite.benchmarks] for suite in (one, other))
    if set(names) != set(others):
        raise ConfigError(
            f"{where}: their benchmarks differ ({', '.join(names)}; {', '.join(others)}), so they "
            "do not merge; run the missing ones, or report each suite separately"
        )
    for name in names:
        a, b = (_comparable(suite, name) for suite in (one, other))
        for key in (key for key in a if a[key] != b[key]):
            raise ConfigError(
                f"{where}: {name} > {key} differs ({a[key]}; {b[key]}), so their scores are not "
                "comparable; report each suite separately"
            )


def _comparable(suite: Suite, name: str) -> dict[str, Any]:
    """Settings of a benchmark that merged suites have in common."""
    about = suite.protocol["benchmarks"][name]
    sweep = next(each.sweep for each in suite.benchmarks if each.name == name)
    main = sweep.objectives[0]
    data = {f"data > {key}": value for key, value in about["data"].items()}
    return {**data, "run": about["run"], "objective": f"{main.direction} {main.metric}"}


def _renamed(suites: Sequence[Suite]) -> list[dict[str, str]]:
    """New labels of each suite, by label."""
    labels = [label for suite in suites for label in suite.protocol["arms"]]
    shared = {label for label in labels if labels.count(label) > 1}
    clashing = {label for label in shared if len({_settings(s, label) for s in suites} - {()}) > 1}
    names = folder_names([suite.folders[0] for suite in suites])
    return [
        {
            label: f"{label} ({name})" if label in clashing else label
            for label in suite.protocol["arms"]
        }
        for suite, name in zip(suites, names, strict=True)
    ]


def _settings(suite: Suite, label: str) -> tuple[Any, ...]:
    """Overrides of an arm in every benchmark by name; empty if the suite does not have it."""
    if label not in suite.protocol["arms"]:
        return ()
    arms = {each.name: suite.arm(each.name, label) for each in suite.benchmarks}
    return tuple((name, arm and arm.overrides) for name, arm in sorted(arms.items()))


def _with_labels(suite: Suite, labels: Mapping[str, str]) -> Suite:
    """The suite with other labels, and its benchmarks by name."""

    def named(benchmark: Benchmark) -> Benchmark:
        known = [arm for arm in benchmark.sweep.arms if arm.label in labels]
        arms = tuple(replace(arm, label=labels[arm.label]) for arm in known)
        gaps = {labels[label]: reason for label, reason in benchmark.gaps.items()}
        return replace(benchmark, sweep=replace(benchmark.sweep, arms=arms), gaps=gaps)

    arms = {labels[label]: about for label, about in suite.protocol["arms"].items()}
    benchmarks = sorted(map(named, suite.benchmarks), key=lambda each: each.name)
    return replace(suite, benchmarks=tuple(benchmarks), protocol={**suite.protocol, "arms": arms})


def _joined(parts: Sequence[Benchmark]) -> Benchmark:
    """One benchmark with the arms of several suites."""
    first = parts[0]
    by_label: dict[str, list[ArmResults]] = {}
    for part in parts:
        for arm in part.sweep.arms:
            by_label.setdefault(arm.label, []).append(arm)
    sweep = replace(
        first.sweep,
        margin=max(part.sweep.margin for part in parts),
        arms=tuple(map(_pooled, by_label.values())),
        folders=tuple(folder for part in parts for folder in part.sweep.folders),
    )
    gaps = {label: reason for part in reversed(parts) for label, reason in part.gaps.items()}
    return replace(first, sweep=sweep, gaps=gaps)


def _pooled(arms: Sequence[ArmResults]) -> ArmResults:
    """An arm with the runs of several folders; the first run of a seed counts."""
    runs = {
        seed: (run, folder)
        for arm in reversed(arms)
        for seed, run, folder in zip(arm.seeds, arm.runs, arm.folders, strict=True)
    }
    seeds = tuple(sorted(runs))
    return replace(
        arms[0],
        planned=max(len(seeds), *(arm.planned for arm in arms)),
        seeds=seeds,
        runs=tuple(runs[seed][0] for seed in seeds),
        folders=tuple(runs[seed][1] for seed in seeds),
    )
