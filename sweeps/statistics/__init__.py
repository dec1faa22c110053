"""Statistics of comparisons: intervals, paired tests, multiple testing and Pareto fronts."""

from .intervals import Interval, mean_interval
from .multiple_testing import holm
from .pareto import pareto_front
from .verdicts import LEVEL, OPPOSITE, Verdict, Verdicts, Word, compare_all

__all__ = [
    "LEVEL",
    "OPPOSITE",
    "Interval",
    "Verdict",
    "Verdicts",
    "Word",
    "compare_all",
    "holm",
    "mean_interval",
    "pareto_front",
]
