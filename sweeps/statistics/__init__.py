"""Statistics of comparisons: intervals, paired tests, multiple testing and Pareto fronts."""

from .compact_letter_display import compact_letter_display
from .intervals import (
    Interval,
    bootstrap_interval,
    interquartile_mean,
    mean_interval,
    student_interval,
)
from .multiple_testing import holm
from .paired_tests import (
    Pair,
    compare,
    p_different,
    p_equivalent,
    probability_of_improvement,
    sign_flip,
)
from .pareto import pareto_front
from .power import seeds_needed, t_test_power
from .variance_moderation import VariancePrior, estimate_prior
from .verdicts import LEVEL, OPPOSITE, Verdict, Verdicts, Word, compare_all

__all__ = [
    "LEVEL",
    "OPPOSITE",
    "Interval",
    "Pair",
    "VariancePrior",
    "Verdict",
    "Verdicts",
    "Word",
    "bootstrap_interval",
    "compact_letter_display",
    "compare",
    "compare_all",
    "estimate_prior",
    "holm",
    "interquartile_mean",
    "mean_interval",
    "p_different",
    "p_equivalent",
    "pareto_front",
    "probability_of_improvement",
    "seeds_needed",
    "sign_flip",
    "student_interval",
    "t_test_power",
]
