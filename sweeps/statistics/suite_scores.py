"""Scores of arms in several benchmarks, and gaps where an arm has no complete result."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .verdicts import Scores

#: Scores by benchmark, then by arm, then by seed.
SuiteScores = Mapping[str, Scores]


@dataclass(frozen=True)
class CompleteScores:
    """Complete results of a suite.

    Attributes:
        scores: of the arms of each benchmark that have all planned seeds there.
        arms: those that are complete in every benchmark; aggregates rank them alone.
        gaps: by arm and benchmark, the reason for which the arm has no complete result.
    """

    scores: SuiteScores
    arms: tuple[str, ...]
    gaps: Mapping[tuple[str, str], str]


def complete_scores(
    scores: SuiteScores,
    planned: Mapping[str, Sequence[int]],
    reasons: Mapping[tuple[str, str], str] | None = None,
) -> CompleteScores:
    """Separate complete results from gaps.

    Args:
        scores: as far as known; arms may be absent.
        planned: seeds by benchmark; results with other seeds are left out.
        reasons: by arm and benchmark, for gaps that are known in advance.

    >>> scores = {"images": {"x": {1: 0.9, 2: 0.8}, "y": {1: 0.7}}, "text": {"x": {1: 0.5, 2: 0.6}}}
    >>> found = complete_scores(scores, {"images": [1, 2], "text": [1, 2]})
    >>> found.arms, found.gaps
    (('x',), {('y', 'images'): 'seeds 2 are missing', ('y', 'text'): 'no runs'})
    """
    reasons = reasons or {}
    arms = list(dict.fromkeys(arm for each in planned for arm in scores.get(each, {})))
    arms += [arm for arm, _ in reasons if arm not in arms]
    complete: dict[str, dict[str, dict[int, float]]] = {each: {} for each in planned}
    gaps: dict[tuple[str, str], str] = {}
    for benchmark, seeds in planned.items():
        for arm in arms:
            runs = scores.get(benchmark, {}).get(arm, {})
            problem = reasons.get((arm, benchmark)) or _problem(runs, seeds)
            if problem:
                gaps[arm, benchmark] = problem
            else:
                complete[benchmark][arm] = {seed: runs[seed] for seed in seeds}
    return CompleteScores(complete, tuple(shared_arms(complete)), gaps)


def _problem(runs: Mapping[int, float], seeds: Sequence[int]) -> str:
    if not runs:
        return "no runs"
    missing = [seed for seed in seeds if seed not in runs]
    if missing:
        return f"seeds {', '.join(map(str, missing))} are missing"
    broken = [seed for seed in seeds if not math.isfinite(runs[seed])]
    return f"scores of seeds {', '.join(map(str, broken))} are not finite" if broken else ""


def shared_arms(scores: SuiteScores) -> list[str]:
    """Arms that every benchmark has, in the order of the first.

    >>> shared_arms({"images": {"x": {}, "y": {}}, "text": {"y": {}, "z": {}}})
    ['y']
    """
    return [arm for arm in all_arms(scores) if all(arm in each for each in scores.values())]


def all_arms(scores: SuiteScores) -> list[str]:
    """Arms that any benchmark has, in the order in which they first appear.

    >>> all_arms({"images": {"x": {}, "y": {}}, "text": {"y": {}, "z": {}}})
    ['x', 'y', 'z']
    """
    return list(dict.fromkeys(arm for each in scores.values() for arm in each))
