"""Aggregates and ranks compared with public implementations: ``pip install -e '.[oracles]'``."""

from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from sweeps import Objective
from sweeps.statistics import (
    Block,
    aggregate_improvement,
    aggregate_iqm,
    critical_difference,
    normalize,
    performance_profile,
)
from sweeps.statistics.ranks import noise_units

pytestmark = pytest.mark.filterwarnings("default")  # what those libraries warn of is theirs

CURE = "not installed; the extra [oracles] has it"


def needs(module: str) -> ModuleType:
    return pytest.importorskip(module, reason=f"{module.partition('.')[0]}: {CURE}")


def suite(draw: np.random.Generator, benchmarks: int, arms: int, seeds: int):
    """Scores where the first arm is the worst and the second the best, and their directions."""
    scores, objectives = {}, {}
    for number in range(benchmarks):
        sign = draw.choice([-1.0, 1.0])
        level = sign * np.concatenate([[4.0, -4.0], draw.normal(0, 1, arms - 2)])
        values = 10.0**number * (level[:, None] + draw.normal(0, 0.5, (arms, seeds)))
        scores[f"b{number}"] = {
            f"a{arm}": dict(enumerate(row)) for arm, row in enumerate(values.tolist())
        }
        direction = "minimize" if sign > 0 else "maximize"
        objectives[f"b{number}"] = Objective("score.value", direction)
    return scores, objectives


def runs_by_task(scores, arm: str) -> np.ndarray:
    """``(runs, tasks)``, as rliable has them."""
    return np.array([list(arms[arm].values()) for arms in scores.values()]).T


@pytest.mark.parametrize(("benchmarks", "seeds"), [(1, 5), (3, 3), (4, 5), (7, 10)])
def test_rliable(benchmarks, seeds):
    metrics, library = needs("rliable.metrics"), needs("rliable.library")
    scores, objectives = suite(np.random.default_rng(seeds), benchmarks, 4, seeds)
    normalized = normalize(scores, objectives, zero="a0", one="a1")
    assert len(normalized.anchors) == benchmarks
    found = aggregate_iqm(normalized)
    thresholds = [-0.5, 0.0, 0.25, 0.5, 1.0]
    profiles = performance_profile(normalized, thresholds)
    for arm in ("a0", "a1", "a2", "a3"):
        theirs = runs_by_task(normalized.scores, arm)
        assert found[arm].value == pytest.approx(metrics.aggregate_iqm(theirs), abs=1e-10)
        shares = library.score_distributions(theirs, np.array(thresholds))
        assert profiles[arm].share == pytest.approx(shares, abs=1e-10)
        other = runs_by_task(normalized.scores, "a3")
        improvement = aggregate_improvement(scores, objectives, arm, "a3").value
        assert improvement == pytest.approx(
            metrics.probability_of_improvement(theirs, other), abs=1e-10
        )


@pytest.mark.parametrize(("benchmarks", "arms", "seeds"), [(3, 6, 5), (12, 5, 3), (2, 4, 10)])
def test_scikit_posthocs(benchmarks, arms, seeds):
    posthocs, pandas = needs("scikit_posthocs"), needs("pandas")
    scores, objectives = suite(np.random.default_rng(arms), benchmarks, arms, seeds)
    found = critical_difference(scores, objectives)
    tables = [noise_units(each, objectives[name].sign) for name, each in scores.items()]
    if found.block is Block.BENCHMARK:
        tables = [table.mean(1, keepdims=True) for table in tables]
    table = pandas.DataFrame(np.concatenate(tables, axis=1).T, columns=list(scores["b0"]))
    assert found.blocks == len(table)
    ranks = table.rank(axis=1).mean()
    assert found.ranks == pytest.approx(ranks.to_dict(), abs=1e-10)
    melted = table.melt(var_name="arm", value_name="score")
    theirs = posthocs.posthoc_wilcoxon(melted, "score", "arm", p_adjust="holm", sort=False)
    for (first, second), p in found.p.items():
        assert p == pytest.approx(theirs.loc[first, second], abs=1e-10)
    bars = posthocs.critical_difference_diagram(ranks, theirs)["crossbars"]
    points = [list(bar.get_xdata()) for each in bars for bar in each]
    spans = sorted([min(each), max(each)] for each in points)
    ours = sorted([found.ranks[each[0]], found.ranks[each[-1]]] for each in found.cliques)
    assert len(ours) == len(spans)
    assert np.allclose(np.array(ours), np.array(spans), atol=1e-10, rtol=0)
    assert found.friedman == pytest.approx(stats.friedmanchisquare(*table.T.to_numpy()).pvalue)
