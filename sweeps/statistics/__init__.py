"""Statistics of comparisons: intervals, paired tests, multiple testing, suites, power, fronts."""

from ..config.confirm import SeedPlan
from .aggregates import (
    Aggregate,
    Profile,
    aggregate_improvement,
    aggregate_iqm,
    performance_profile,
)
from .error_spending import look_levels, obrien_fleming
from .intervals import Interval, mean_interval
from .loss_law import Size, SizeSpeedup, size_speedup
from .multiple_testing import holm
from .normalization import Anchors, NormalizedScores, normalize
from .pareto import pareto_front
from .power import (
    SimulatedScores,
    power_of,
    seeds_for_each,
    smallest_detectable_difference,
)
from .ranks import Block, CriticalDifference, critical_difference
from .sequential import SequentialVerdicts, compare_all, compare_sequentially
from .speedup import Speedup, effective_speedup
from .suite_scores import CompleteScores, SuiteScores, complete_scores
from .suite_verdicts import SuiteVerdicts, compare_suite
from .verdicts import LEVEL, OPPOSITE, Scores, Verdict, Verdicts, Word

__all__ = [
    "LEVEL",
    "OPPOSITE",
    "Aggregate",
    "Anchors",
    "Block",
    "CompleteScores",
    "CriticalDifference",
    "Interval",
    "NormalizedScores",
    "Profile",
    "Scores",
    "SeedPlan",
    "SequentialVerdicts",
    "SimulatedScores",
    "Size",
    "SizeSpeedup",
    "Speedup",
    "SuiteScores",
    "SuiteVerdicts",
    "Verdict",
    "Verdicts",
    "Word",
    "aggregate_improvement",
    "aggregate_iqm",
    "compare_all",
    "compare_sequentially",
    "compare_suite",
    "complete_scores",
    "critical_difference",
    "effective_speedup",
    "holm",
    "look_levels",
    "mean_interval",
    "normalize",
    "obrien_fleming",
    "pareto_front",
    "performance_profile",
    "power_of",
    "seeds_for_each",
    "size_speedup",
    "smallest_detectable_difference",
]
