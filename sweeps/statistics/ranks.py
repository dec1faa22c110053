"""Mean ranks of arms over benchmarks, and groups that do not differ: critical differences."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..config.objectives import Objective
from .multiple_testing import cliques, holm
from .suite_scores import SuiteScores, shared_arms
from .verdicts import LEVEL, Scores, shared_seeds

Array = npt.NDArray[np.float64]

#: With fewer benchmarks, the signed-rank test over them can hardly reject after correction.
MIN_BENCHMARKS = 10


class Block(StrEnum):
    """The unit in which arms are ranked, and what a difference of ranks is evidence of."""

    BENCHMARK = "one block a benchmark, the mean over its seeds: about benchmarks like these"
    RUN = "one block a benchmark and seed: about further seeds of these benchmarks alone"


@dataclass(frozen=True)
class CriticalDifference:
    """Ranks of arms in blocks, for a critical-difference diagram (Demšar 2006, JMLR 7).

    Attributes:
        ranks: mean rank over blocks by arm, the best first; 1 is the best, ties share a mean.
        block: what the blocks are.
        blocks: number of blocks.
        friedman: p-value of Friedman's test that all arms have the same ranks; None for 2 arms.
        p: Wilcoxon's signed-rank p-value of each pair after Holm's correction.
        cliques: largest groups of at least 2 arms of which no pair is different, the best first;
            all arms if Friedman's test does not reject.
    """

    ranks: Mapping[str, float]
    block: Block
    blocks: int
    friedman: float | None
    p: Mapping[tuple[str, str], float]
    cliques: tuple[tuple[str, ...], ...]


def critical_difference(
    scores: SuiteScores, objectives: Mapping[str, Objective]
) -> CriticalDifference | None:
    """Rank the arms that every benchmark has; None for fewer than 2 arms or 2 blocks.

    Friedman's test, then Wilcoxon's signed-rank test of each pair with Holm's correction at 5 %
    (Benavoli et al. 2016, JMLR 17). From 10 benchmarks, a block is a benchmark. Fewer benchmarks
    cannot reject (of 6 benchmarks the smallest p-value is 1/32, before correction), so a block is
    then a seed of a benchmark: differences are evidence about further seeds of these benchmarks,
    not about other benchmarks. Blocks are independent as long as no arm differs in any benchmark.

    Differences of a block are in units of the noise of its benchmark, the pooled standard deviation
    over seeds without what a seed adds to all arms: the signed-rank test compares their sizes.

    Args:
        scores: of complete results.

    >>> runs = {"x": {1: 0.9, 2: 0.8, 3: 0.7}, "y": {1: 0.6, 2: 0.7, 3: 0.6}}
    >>> critical_difference({"images": runs}, {"images": Objective("a", "maximize")}).ranks
    {'x': 1.0, 'y': 2.0}
    """
    arms = shared_arms(scores)
    if len(arms) < 2:
        return None
    kept = {name: {arm: each[arm] for arm in arms} for name, each in scores.items()}
    tables = [noise_units(each, objectives[name].sign) for name, each in kept.items()]
    block = Block.BENCHMARK if len(tables) >= MIN_BENCHMARKS else Block.RUN
    if block is Block.BENCHMARK:
        tables = [table.mean(1, keepdims=True) for table in tables]
    table = np.concatenate(tables, axis=1)
    if table.shape[1] < 2:
        return None
    ranks = dict(zip(arms, stats.rankdata(table, axis=0).mean(1).tolist(), strict=True))
    best_first = sorted(arms, key=ranks.__getitem__)
    friedman = _friedman(table) if len(arms) > 2 else None
    pairs = list(combinations(range(len(arms)), 2))
    adjusted = holm([_signed_rank(table[i] - table[j]) for i, j in pairs])
    p = {(arms[i], arms[j]): value for (i, j), value in zip(pairs, adjusted, strict=True)}
    rejected = friedman is None or friedman <= LEVEL
    different = [names for names, value in p.items() if rejected and value <= LEVEL]
    groups = tuple(each for each in cliques(best_first, different) if len(each) > 1)
    ordered = {arm: ranks[arm] for arm in best_first}
    return CriticalDifference(ordered, block, table.shape[1], friedman, p, groups)


def noise_units(scores: Scores, sign: float) -> Array:
    """Scores to minimize, ``(arms, seeds)``, in units of their noise; as they are without any.

    >>> noise_units({"x": {1: 1.0, 2: 3.0}, "y": {1: 3.0, 2: 1.0}}, sign=1.0).tolist()
    [[0.5, 1.5], [1.5, 0.5]]
    """
    seeds = shared_seeds(scores)
    x = sign * np.array([[runs[seed] for seed in seeds] for runs in scores.values()])
    if min(x.shape) < 2:
        return x
    residuals = x - x.mean(1, keepdims=True) - x.mean(0) + x.mean()
    noise = np.sqrt((residuals**2).sum() / ((x.shape[0] - 1) * (x.shape[1] - 1)))
    return x / noise if noise > 1e-10 * np.abs(x).max() else x


def _friedman(table: Array) -> float:
    """Friedman's test of three or more arms; 1 if there is no difference anywhere."""
    return float(stats.friedmanchisquare(*table).pvalue) if np.ptp(table, axis=0).any() else 1.0


def _signed_rank(differences: Array) -> float:
    """Exact p-value of Wilcoxon's signed-rank test; 1 if there is no difference anywhere.

    Zeros are dropped and ties share a mean rank, as in ``scipy.stats.wilcoxon``, which resamples
    in their presence and takes a hundred times as long.
    """
    found = differences[differences != 0]
    doubled = np.rint(2 * stats.rankdata(np.abs(found))).astype(int)  # whole numbers
    share = np.ones(1)  # of sign patterns, by the sum of doubled positive ranks
    for rank in doubled:
        share = (np.pad(share, (0, rank)) + np.pad(share, (rank, 0))) / 2
    positive = doubled[found > 0].sum()
    return float(min(1.0, 2 * min(share[: positive + 1].sum(), share[positive:].sum())))
