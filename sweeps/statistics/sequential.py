"""Verdicts while seeds are added: group sequential comparison of all pairs of arms."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from statistics import fmean
from typing import TypeVar

from ..config.confirm import MIN_SEEDS, SeedPlan
from ..config.objectives import Objective
from .error_spending import look_levels
from .paired_tests import Pair, p_different, p_equivalent
from .verdicts import (
    LEVEL,
    Scores,
    Verdict,
    Verdicts,
    Word,
    compare_pairs,
    judge,
    letters,
    shared_seeds,
)

Names = tuple[str, str]
#: Names a pair of arms in a family of comparisons.
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class SequentialVerdicts:
    """Verdicts so far.

    Attributes:
        verdicts: of all pairs, each at its last look; p-values are scaled so that `LEVEL` is the
            bound of that look and of Holm's correction.
        seeds: number of seeds at the last look of each pair; 0 before the first.
        plan: of the looks.
    """

    verdicts: Verdicts
    seeds: Mapping[Names, int]
    plan: SeedPlan

    @property
    def open(self) -> tuple[Names, ...]:
        """Pairs that are neither decided nor at the last look of the plan."""
        found = self.verdicts.pairs
        return tuple(
            names
            for names, seeds in self.seeds.items()
            if seeds < self.plan.most and (names not in found or is_open(found[names]))
        )

    @property
    def wanted(self) -> dict[str, int]:
        """Number of seeds that each arm of an open pair needs for the next look."""
        needed: dict[str, int] = {}
        for names in self.open:
            following = next(look for look in self.plan.looks if look > self.seeds[names])
            needed |= {arm: max(following, needed.get(arm, 0)) for arm in names}
        return needed


def compare_all(scores: Scores, objective: Objective, margin: float) -> Verdicts:
    """Compare all pairs of arms by moderated paired t tests with Holm's correction.

    All pairs are tested, not only those with the best arm: the same scores select the best arm, so
    the best against the last of ten is the largest of 45 differences. If no arms differ, any pair
    is called different in at most 5 % of sweeps; tests/sweeps checks that for normal and skewed
    scores. Two arms are compared by the plain paired t test.

    A pair is ``equivalent within margin`` if both one-sided tests reject after Holm's correction,
    even if the small difference is significant; else ``better`` or ``worse`` if the difference is
    significant; else ``not distinguishable``. The comparison is of the confirmed configurations:
    the variance over seeds does not include that of the search.

    Args:
        scores: by label, then by seed, of complete arms; with fewer than 3 shared seeds there are
            no verdicts.
        margin: the largest irrelevant difference; 0 calls no arms equivalent.

    >>> one = {1: 0.90, 2: 0.91, 3: 0.90, 4: 0.92, 5: 0.91}
    >>> other = {1: 0.95, 2: 0.96, 3: 0.94, 4: 0.96, 5: 0.95}
    >>> objective = Objective("score.value", "maximize")
    >>> compare_all({"x": one, "y": other}, objective, margin=0.01).of("x", "y").word
    <Word.WORSE: 'worse'>
    """
    plan = SeedPlan.fixed(max(1, len(shared_seeds(scores))))
    return compare_sequentially(scores, objective, margin, plan).verdicts


def compare_sequentially(
    scores: Scores, objective: Objective, margin: float, plan: SeedPlan
) -> SequentialVerdicts:
    """Compare all pairs of arms at each look of a plan, and stop pairs that are decided.

    All looks are computed again from the scores, with the seeds in the order of `first_seeds`, so
    the result depends on nothing else. At a look with n seeds, at least 3, those open pairs are
    tested whose two arms have the first n; the prior of the variance comes from the arms of these
    pairs. A pair that is better, worse or equivalent within the margin stays so, whatever further
    seeds show.

    If no arms differ, any pair is called different at any look in at most 5 % of sweeps: Holm's
    correction as a graphical procedure, where a hypothesis with local level ``LEVEL / m`` is tested
    at each look at the level that O'Brien-Fleming spending gives (Maurer and Bretz 2013,
    doi 10.1080/19466315.2013.807748). With one look it is `compare_all`. Arms added later change
    the family, so they may change earlier looks.

    Args:
        scores: by arm, then by seed; decided arms need no further seeds.
        margin: the largest irrelevant difference; 0 calls no arms equivalent.

    >>> one = {1: 0.90, 2: 0.91, 3: 0.90, 4: 0.92, 5: 0.91}
    >>> other = {1: 0.95, 2: 0.96, 3: 0.94, 4: 0.96, 5: 0.95}
    >>> accuracy = Objective("score.value", "maximize")
    >>> found = compare_sequentially({"x": one, "y": other}, accuracy, 0.01, SeedPlan(5, 2, 9))
    >>> found.verdicts.of("x", "y").word, found.open
    (<Word.WORSE: 'worse'>, ())
    """
    names = list(combinations(scores, 2))
    found, seeds = decide_in_looks(
        names,
        lambda pairs, count: first_seeds(scores, pairs, count),
        objective,
        dict.fromkeys(names, margin),
        plan,
    )
    common = shared_seeds(scores)[: min(seeds.values(), default=plan.most)]
    if len(common) < MIN_SEEDS:
        return SequentialVerdicts(Verdicts(found, dict.fromkeys(scores, ""), ()), seeds, plan)
    means = {arm: objective.sign * fmean(each.values()) for arm, each in scores.items()}
    groups = letters(sorted(means, key=means.__getitem__), found)
    return SequentialVerdicts(Verdicts(found, groups, common), seeds, plan)


def first_seeds(scores: Scores, pairs: Collection[Names], count: int) -> dict[Names, Pair]:
    """Those of some pairs whose arms have the first ``count`` seeds, `MIN_SEEDS` or more.

    Seeds that all arms have are first, then the others, each in ascending order. The prior of the
    variance comes from the arms of these pairs.
    """
    shared = shared_seeds(scores)
    seeds = [*shared, *sorted(set().union(*scores.values()) - set(shared))][:count]
    wanted = {arm for pair in pairs for arm in pair}
    arms = {a: each for a, each in scores.items() if a in wanted and each.keys() >= set(seeds)}
    found = compare_pairs(arms, seeds) if len(seeds) == count >= MIN_SEEDS else {}
    return {pair: found[pair] for pair in pairs if pair in found}


def decide_in_looks(
    family: Sequence[Key],
    pairs_at: Callable[[Collection[Key], int], Mapping[Key, Pair]],
    objective: Objective,
    margins: Mapping[Key, float],
    plan: SeedPlan,
) -> tuple[dict[Key, Verdict], dict[Key, int]]:
    """The verdict of each pair at its last look, and its number of seeds there, 0 without any.

    Args:
        family: all pairs that are ever tested.
        pairs_at: the differences of those given pairs that have a given number of seeds.
    """
    verdicts: dict[Key, Verdict] = {}
    seeds = dict.fromkeys(family, 0)
    differences = equivalences = len(family)  # hypotheses that no look has rejected
    for look, count in enumerate(plan.looks):
        open_pairs = [each for each in family if each not in verdicts or is_open(verdicts[each])]
        pairs = pairs_at(open_pairs, count)
        different = step_down(
            {each: p_different(pair) for each, pair in pairs.items()},
            differences,
            partial(two_sided, plan, look),
        )
        equivalent = step_down(
            {each: p_equivalent(pair, margins[each]) for each, pair in pairs.items()},
            equivalences,
            partial(one_sided, plan, look),
        )
        for each, pair in pairs.items():
            word = judge(objective, pair, different[each], equivalent[each])
            p, p_same = different[each], equivalent[each]
            verdicts[each] = Verdict(word, pair, p, p_same, LEVEL / len(family))
            seeds[each] = count
        differences -= sum(p <= LEVEL for p in different.values())
        equivalences -= sum(p <= LEVEL for p in equivalent.values())
    return verdicts, seeds


def one_sided(plan: SeedPlan, look: int, level: float) -> float:
    """Level of a one-sided test at a look, counted from 0, by the level of all looks.

    >>> round(one_sided(SeedPlan(5, 5, 10), 0, 0.025), 5)
    0.00153
    """
    return look_levels(level, tuple(count / plan.most for count in plan.looks))[look]


def two_sided(plan: SeedPlan, look: int, level: float) -> float:
    """Level of a two-sided test at a look, counted from 0, by the level of all looks.

    >>> round(two_sided(SeedPlan(5, 5, 10), 1, 0.05), 3)
    0.049
    """
    return 2 * one_sided(plan, look, level / 2)


def is_open(verdict: Verdict) -> bool:
    """Whether further seeds may still decide."""
    return verdict.word in (Word.UNCLEAR, Word.TOO_FEW)


def step_down(
    p_values: Mapping[Key, float], family: int, bound: Callable[[float], float]
) -> dict[Key, float]:
    """p-values after Holm's correction at one look, scaled so that `LEVEL` is their bound.

    Args:
        p_values: of the pairs that are tested at this look.
        family: number of hypotheses that are not rejected yet, whether tested at this look or not.
        bound: level of this look, at most its argument, by the level of all looks.

    >>> adjusted = step_down({("x", "y"): 0.004, ("x", "z"): 0.03}, 2, lambda level: level / 2)
    >>> [round(p, 4) for p in adjusted.values()]
    [0.016, 0.06]
    """
    adjusted: dict[Key, float] = {}
    running = 0.0
    for rank, each in enumerate(sorted(p_values, key=p_values.__getitem__)):
        level = LEVEL / (family - rank)
        # after the first that is not rejected, the exact bound changes nothing
        limit = bound(level) if running <= LEVEL else level
        running = max(running, min(1.0, p_values[each] * LEVEL / limit if limit else 1.0))
        adjusted[each] = running
    return {each: adjusted[each] for each in p_values}
