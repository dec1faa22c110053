"""Looks at growing numbers of seeds, power, and simulated suites."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from benchmarks.statistics.suites import Simulation, drawn_pilot, normal, read_pilot, skewed
from routers import OptionError
from sweeps import Objective
from sweeps.statistics import (
    LEVEL,
    OPPOSITE,
    SeedPlan,
    SimulatedScores,
    Word,
    compare_sequentially,
    holm,
    look_levels,
    obrien_fleming,
    power_of,
    seeds_for_each,
    smallest_detectable_difference,
)
from sweeps.statistics.paired_tests import p_different, p_equivalent
from sweeps.statistics.power import NUMBERS
from sweeps.statistics.verdicts import compare_pairs

ACCURACY = Objective("score.value", "maximize")
PLAN = SeedPlan(first=4, step=3, most=10)


def arms(draw: np.random.Generator, levels: list[float], seeds: int):
    values = np.array(levels)[:, None] + draw.standard_normal((len(levels), seeds))
    return {f"a{arm}": dict(enumerate(row)) for arm, row in enumerate(values.tolist())}


class TestLookLevels:
    def test_published_bounds(self):
        """Lan-DeMets bounds like O'Brien-Fleming, 5 equal looks, two-sided 0.05 (gsDesign)."""
        bounds = stats.norm.isf(look_levels(0.025, (0.2, 0.4, 0.6, 0.8, 1.0)))
        assert bounds == pytest.approx([4.8769, 3.3570, 2.6803, 2.2898, 2.0310], abs=1e-4)

    def test_one_look_has_the_whole_level(self):
        assert look_levels(0.05, (1.0,)) == pytest.approx((0.05,))

    @pytest.mark.parametrize("fractions", [(0.3, 0.5, 1.0), (0.1, 0.9, 0.95, 1.0)])
    def test_all_looks_together_keep_the_level(self, fractions):
        bounds = stats.norm.isf(look_levels(0.05, fractions))
        steps = np.sqrt(np.diff(fractions, prepend=0.0))
        sums = (np.random.default_rng(0).standard_normal((100_000, len(steps))) * steps).cumsum(1)
        crossed = (sums / np.sqrt(fractions) >= bounds).any(1).sum()
        assert stats.binomtest(crossed, 100_000, 0.05).pvalue > 1e-3

    def test_a_larger_level_is_larger_at_every_look(self):
        """As the graphical procedure demands."""
        fractions = (0.3, 0.6, 1.0)
        levels = [look_levels(level, fractions) for level in (0.05 / 595, 0.001, 0.01, 0.05)]
        assert all(
            a < b for small, large in pairwise(levels) for a, b in zip(small, large, strict=True)
        )
        assert obrien_fleming(0.05, 1.0) == pytest.approx(0.05)

    @pytest.mark.parametrize("fractions", [(), (0.5, 0.5), (0.0, 1.0), (0.5, 1.1)])
    def test_bad_fractions(self, fractions):
        with pytest.raises(OptionError, match="increasing"):
            look_levels(0.05, fractions)


class TestSeedPlan:
    def test_looks(self):
        assert SeedPlan(3, 2, 8).looks == (3, 5, 7, 8)
        assert SeedPlan(3, 9, 5).looks == (3, 5)
        assert SeedPlan.fixed(5).looks == (5,)

    @pytest.mark.parametrize(
        ("plan", "name"),
        [((2, 1, 5), "first"), ((0, 1, 0), "first"), ((3, 0, 5), "step"), ((5, 1, 4), "most")],
    )
    def test_bad_plans(self, plan, name):
        with pytest.raises(OptionError, match=f"{name}="):
            SeedPlan(*plan)


class TestCompareSequentially:
    @pytest.mark.parametrize("margin", [0.0, 2.0])
    @pytest.mark.parametrize("count", [1, 2, 6])
    def test_one_look_has_p_values_of_holm(self, count, margin):
        scores = arms(np.random.default_rng(count), [0.0, 3.0, 0.0, 3.0, 0.5, 9.0][:count], 6)
        pairs = compare_pairs(scores, range(6))
        found = compare_sequentially(scores, ACCURACY, margin, SeedPlan.fixed(6)).verdicts
        assert {names: each.pair for names, each in found.pairs.items()} == pairs
        assert [each.p for each in found.pairs.values()] == pytest.approx(
            holm([p_different(pair) for pair in pairs.values()]), rel=1e-6
        )
        assert [each.p_equivalent for each in found.pairs.values()] == pytest.approx(
            holm([p_equivalent(pair, margin) for pair in pairs.values()]), rel=1e-6
        )

    @pytest.mark.parametrize("seeds", [1, 2])
    def test_one_look_with_too_few_seeds(self, seeds):
        scores = arms(np.random.default_rng(0), [0.0, 9.0], seeds)
        found = compare_sequentially(scores, ACCURACY, 0.0, SeedPlan.fixed(seeds)).verdicts
        assert (found.pairs, found.seeds, found.groups) == ({}, (), {"a0": "", "a1": ""})

    def test_a_decided_pair_stays_decided(self):
        scores = arms(np.random.default_rng(0), [0.0, 40.0, 0.3], 4)
        early = compare_sequentially(scores, ACCURACY, 0.0, PLAN)
        assert early.verdicts.of("a1", "a0").word is Word.BETTER
        later = {
            name: {**runs, **dict.fromkeys(range(4, 10), 0.5)} for name, runs in scores.items()
        }
        found = compare_sequentially(later, ACCURACY, 0.0, PLAN)
        assert found.verdicts.of("a1", "a0").word is Word.BETTER
        assert found.seeds["a0", "a1"] == 4

    def test_open_pairs_want_the_seeds_of_the_next_look(self):
        scores = arms(np.random.default_rng(0), [0.0, 0.1, 90.0], 4)
        found = compare_sequentially(scores, ACCURACY, 0.0, PLAN)
        assert found.open == (("a0", "a1"),)
        assert found.wanted == {"a0": 7, "a1": 7}
        more = arms(np.random.default_rng(0), [0.0, 0.1], 10)
        done = compare_sequentially({**more, "a2": scores["a2"]}, ACCURACY, 0.0, PLAN)
        assert (done.seeds["a0", "a1"], done.wanted) == (10, {})
        assert done.verdicts.of("a0", "a1").word is Word.UNCLEAR

    def test_decided_pairs_pass_their_level_on(self):
        """At 7 seeds one hypothesis of three is left: it has the whole level of that look."""
        scores = arms(np.random.default_rng(0), [0.0, 0.1], 7)
        far = arms(np.random.default_rng(1), [0.0, 0.0, 90.0], 4)["a2"]
        found = compare_sequentially({**scores, "a2": far}, ACCURACY, 0.0, PLAN).verdicts
        one, other = (list(scores[name].values()) for name in ("a0", "a1"))
        bound = 2 * look_levels(LEVEL / 2, (0.4, 0.7, 1.0))[1]
        expected = min(1.0, stats.ttest_rel(one, other).pvalue * LEVEL / bound)
        assert found.pairs["a0", "a1"].p == pytest.approx(expected)
        assert expected < 1

    def test_before_the_first_look(self):
        scores = arms(np.random.default_rng(0), [0.0, 9.0], 3)
        found = compare_sequentially(scores, ACCURACY, 0.0, PLAN)
        assert found.verdicts.of("a0", "a1").word is Word.TOO_FEW
        assert found.wanted == {"a0": 4, "a1": 4}
        assert compare_sequentially({}, ACCURACY, 0.0, PLAN).open == ()

    def test_equivalence_stops(self):
        scores = arms(np.random.default_rng(0), [0.0, 0.0], 7)
        found = compare_sequentially(scores, ACCURACY, 40.0, PLAN)
        assert (found.verdicts.of("a0", "a1").word, found.open) == (Word.EQUIVALENT, ())
        assert found.seeds["a0", "a1"] == 4

    @pytest.mark.parametrize("count", [2, 4])
    def test_level_holds_over_all_looks(self, count):
        words = self.words(np.random.default_rng(count), [0.0] * count, margin=0.0)
        wrong = sum(any(word in OPPOSITE for word in each) for each in words)
        assert wrong <= stats.binom.ppf(0.999, len(words), LEVEL)

    def test_arms_as_far_apart_as_the_margin_are_seldom_equivalent_at_any_look(self):
        words = self.words(np.random.default_rng(5), [0.0, 2.0], margin=2.0)
        assert words.count([Word.EQUIVALENT]) <= stats.binom.ppf(0.999, len(words), LEVEL)

    def words(self, draw: np.random.Generator, levels: list[float], margin: float):
        """Results of 300 sweeps with a look at each number of seeds from 3 to 12."""
        plan = SeedPlan(3, 1, 12)
        found = [
            compare_sequentially(arms(draw, levels, 12), ACCURACY, margin, plan).verdicts
            for _ in range(300)
        ]
        return [[verdict.word for verdict in each.pairs.values()] for each in found]


class TestPower:
    def test_noise_of_a_pilot(self):
        draw = np.random.default_rng(0)
        pilot = arms(draw, [0.0, 5.0, 1.0], 200)
        luck = dict(enumerate(10 * draw.standard_normal(200)))  # of a seed: it does not count
        shifted = {name: {s: v + luck[s] for s, v in runs.items()} for name, runs in pilot.items()}
        for scores in (pilot, shifted):
            found = SimulatedScores.from_pilot(scores)
            assert list(found.deviations.values()) == pytest.approx([1.0] * 3, rel=0.15)
            assert found.residuals.std() == pytest.approx(1.0)

    def test_two_arms_need_what_the_t_test_needs(self):
        pilot = arms(np.random.default_rng(0), [0.0, 0.0], 100)
        noise = SimulatedScores.from_pilot(pilot).deviations["a0"] * np.sqrt(2)
        found = smallest_detectable_difference(pilot, SeedPlan.fixed(8))
        shift, critical = np.sqrt(8) * found / noise, stats.t.isf(0.025, 7)
        assert 0.78 < stats.nct.sf(critical, 7, shift) < 0.90
        assert power_of(found, SimulatedScores.from_pilot(pilot), SeedPlan.fixed(8)) >= 0.8

    def test_seeds_are_those_of_a_detectable_difference(self):
        pilot = arms(np.random.default_rng(1), [0.0, 0.0], 10)
        found = smallest_detectable_difference(pilot, SeedPlan.fixed(7))
        assert seeds_for_each([found, found / 100], pilot) == {found: 7, found / 100: None}

    def test_seeds_for_several_differences(self):
        pilot = arms(np.random.default_rng(1), [0.0, 0.0], 10)
        simulated = SimulatedScores.from_pilot(pilot)
        found = seeds_for_each([1.3, 6.0, 0.01, 2.0], pilot)
        assert found[6.0] < found[2.0] < found[1.3]
        assert found[0.01] is None
        enough = 0.8 + 2 * np.sqrt(0.8 * 0.2 / 400)
        assert found[1.3] == next(
            n for n in NUMBERS if power_of(1.3, simulated, SeedPlan.fixed(n)) >= enough
        )

    @pytest.mark.parametrize("plan", [SeedPlan.fixed(4), SeedPlan(3, 3, 6)])
    def test_power_without_a_test_of_equal_arms(self, plan):
        simulated = SimulatedScores.from_pilot(arms(np.random.default_rng(2), [0.0] * 5, 5))
        draw, names, found = np.random.default_rng(0), list(simulated.deviations), 0
        for turn in range(400):
            better, other = names[turn % 5], names[(turn + 1 + turn // 5 % 4) % 5]
            scores = simulated.draw(draw, plan.most)
            scores[better] = {seed: score + 3.0 for seed, score in scores[better].items()}
            verdicts = compare_sequentially(scores, ACCURACY, 0.0, plan).verdicts
            found += verdicts.of(better, other).word is Word.BETTER
        assert power_of(3.0, simulated, plan) == pytest.approx(found / 400, abs=0.02)

    def test_without_noise_and_without_a_pilot(self):
        same = {"x": dict.fromkeys(range(3), 1.0), "y": dict.fromkeys(range(3), 2.0)}
        assert smallest_detectable_difference(same, SeedPlan.fixed(5)) is None
        with pytest.raises(OptionError, match="1 arms with 3 shared seeds"):
            smallest_detectable_difference({"x": same["x"]}, SeedPlan.fixed(5))


class TestSimulatedSuites:
    """A small version of ``benchmarks/statistics/suites.py``."""

    SUITES = 40

    @pytest.mark.parametrize(("noise", "plan"), [(normal, PLAN), (skewed, SeedPlan.fixed(5))])
    def test_null_suites_are_seldom_called_different(self, noise, plan):
        pilot = drawn_pilot(noise)
        simulated = {name: SimulatedScores.from_pilot(each) for name, each in pilot.items()}
        errors = Simulation(simulated, plan).errors(self.SUITES)
        assert max(errors.values()) <= stats.binom.ppf(0.999, self.SUITES, LEVEL)

    def test_planted_differences_of_the_stated_size_are_found(self):
        pilot = {"images": drawn_pilot(normal)["images"]}
        gap = smallest_detectable_difference(pilot["images"], SeedPlan.fixed(5))
        simulated = {"images": SimulatedScores.from_pilot(pilot["images"])}
        found = Simulation(simulated, SeedPlan.fixed(5)).found(self.SUITES, {"images": gap})
        assert found["images"] >= stats.binom.ppf(0.001, self.SUITES, 0.8)

    def test_a_table_of_results(self, tmp_path):
        path = tmp_path / "results.csv"
        path.write_text("benchmark,arm,seed,score\nimages,topk,3,0.5\nimages,topk,4,0.75\n")
        assert read_pilot(path, "score") == {"images": {"topk": {3: 0.5, 4: 0.75}}}
